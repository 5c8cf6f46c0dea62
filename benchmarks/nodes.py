"""Personal events and calls through clusters of 1, 3 and 6 nodes, and the price of their link.

The nodes share the cores, so more of them cannot be faster here. Compare the processor time of all
nodes together for one message, and that of the busiest node.

A node takes most of its time for system calls, so a message costs less if the node reads and
writes many at a time. Messages for all nodes at once would come in smaller batches to each of six
than to a single one. Six processes that alternate also find the core's caches cold. So the
senders have a fixed number of messages in flight, and send to one sixth of the hash slots after
another. The node of that sixth works as on a machine of its own, whatever the number of nodes.
Its reads for one message show whether the batches are alike.

All programs are connected and warm before the measurement, and the time of idle nodes is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import count
from typing import Any, Final

from attrs import Factory, define, frozen

from benchmarks.children import Child, measured, program, redis_cluster
from benchmarks.figures import Figure, Point, Rival, Series, Target
from benchmarks.processes import processor_time, spent
from benchmarks.programs.our_sender import PARTS, part_of
from benchmarks.scenario import SERVICE, Setting, rotated
from opentera_twisted import topics
from tools.cluster import Cluster

NAME: Final = "nodes"
ROUNDS: Final = 2
NODES: Final = (1, 3, 6)
FLAT: Final = Target("below", 1.25)
PRICE: Final = Target("below", 1.05)

RECEIVERS: Final = 3
SENDERS: Final = 2
TOPICS: Final = 600
"""All receivers have the topics and the services in equal parts."""

EVENTS: Final = 15
"""Events of each sender to each topic."""

CALLS: Final = 750
"""Calls of each sender to each service; each sixth of the slots has a service."""

WARM_UP: Final = 3
"""A third of the messages is sent once before the measurement."""

IN_FLIGHT: Final = 64
"""Messages in flight at each sender."""

PRICE_CALLS: Final = 10_000
PRICE_IN_FLIGHT: Final = 32
PRICES: Final = 3
"""Measurements of either link in a round; one alone varies by more than the limit."""

_SHARDED: Final = "sharded topics"
_CLASSIC: Final = "classic topics"


@define
class _Costs:
    """Samples of one number of nodes and one kind of topics."""

    who: str
    series: dict[str, Series] = Factory(dict)

    def add(self, what: str, sample: float) -> None:
        self.series.setdefault(what, Series(self.who)).samples.append(sample)

    def last(self, what: str) -> float:
        return self.series[what].samples[-1]


@frozen
class _Work:
    """One kind of message, and the names of its figures.

    Attributes:
        message: name of the message.
        receivers: number of topics or services that receive it.
        times: messages of each sender to each of these.
    """

    message: str
    receivers: int
    times: int
    per_second: str
    all_nodes: str
    busiest: str
    reads: str
    growth: str

    @classmethod
    def of(cls, message: str, receivers: int, times: int) -> _Work:
        return cls(
            message,
            receivers,
            times,
            f"{message}s per second",
            f"processor time of all nodes for one {message}",
            f"processor time of the busiest node for one {message}",
            f"reads of all nodes for one {message}",
            f"processor time of all nodes for one {message}: {NODES[-1]} nodes to 1",
        )


_WORKS: Final = (_Work.of("event", TOPICS, EVENTS), _Work.of("call", PARTS, CALLS))


def run(setting: Setting) -> list[Figure]:
    """Measure all numbers of nodes in each round, each round in another order."""
    kinds = {_SHARDED: "", _CLASSIC: "/?pubsub=classic"}
    costs = {(nodes, kind): _Costs(f"ours with {kind}") for nodes in NODES for kind in kinds}
    growth = {kind: _Costs(f"ours with {kind}") for kind in kinds}
    price = {who: Series(who) for who in ("ours: redis+cluster://", "ours: redis://")}
    with ExitStack() as stack:
        clusters = {nodes: stack.enter_context(redis_cluster(nodes)) for nodes in NODES}
        for number in setting.each_round(NAME):
            for nodes in rotated(NODES, number):
                cluster = clusters[nodes]
                for kind, query in rotated(list(kinds.items()), number):
                    _measure(setting, cluster, cluster.url + query, costs[nodes, kind])
            sides = list(zip(price.values(), [clusters[1].url, setting.url], strict=True))
            for turn in range(PRICES):
                for series, url in rotated(sides, number + turn):
                    series.samples.append(_cost_of_a_call(setting, url))
            for work in _WORKS:
                for kind in kinds:
                    first, *_, last = (costs[nodes, kind].last(work.all_nodes) for nodes in NODES)
                    growth[kind].add(work.growth, last / first)
    figures = []
    for work in _WORKS:
        for what, unit in (
            (work.per_second, "/s"),
            (work.all_nodes, "µs"),
            (work.busiest, "µs"),
            (work.reads, "reads"),
        ):
            figures += [
                Figure(
                    NAME,
                    f"{nodes} node{'s' if nodes > 1 else ''}: {what}",
                    unit,
                    costs[nodes, _SHARDED].series[what],
                    [Rival(costs[nodes, _CLASSIC].series[what])],
                    point=Point(what, "nodes", nodes),
                )
                for nodes in NODES
            ]
        sharded, classic = (growth[kind].series[work.growth] for kind in kinds)
        figures.append(Figure(NAME, work.growth, "times", sharded, [Rival(classic)], FLAT))
    cluster_link, plain = price.values()
    name = "1 node: processor time of caller and server for a call"
    return [*figures, Figure(NAME, name, "µs", cluster_link, [Rival(plain, PRICE)])]


def _measure(setting: Setting, cluster: Cluster, url: str, costs: _Costs) -> None:
    """Send each kind of message from several processes to several others."""
    services = _services()
    options: dict[str, Any] = {"url": url, "topics": TOPICS}
    with ExitStack() as stack:
        receivers = [
            stack.enter_context(
                program(
                    "our_receiver",
                    **options,
                    first=number,
                    step=RECEIVERS,
                    services=",".join(services[number::RECEIVERS]),
                )
            )
            for number in range(RECEIVERS)
        ]
        for receiver in receivers:
            receiver.report()
        options["in_flight"] = IN_FLIGHT
        options["services"] = ",".join(services)
        senders = [stack.enter_context(program("our_sender", **options)) for _ in range(SENDERS)]
        for sender in senders:
            sender.report()
        for work in _WORKS:
            times = max(WARM_UP, setting.amount(work.times))
            _send(work, times // WARM_UP, senders, receivers)
            pids, reads = [node.pid for node in cluster.nodes], _reads(cluster)
            with spent(pids) as seconds:
                took = _send(work, times, senders, receivers)
            total = times * work.receivers * SENDERS
            costs.add(work.reads, (_reads(cluster) - reads) / total)
            costs.add(work.all_nodes, 1e6 * sum(seconds) / total)
            costs.add(work.busiest, 1e6 * max(seconds) / total)
            costs.add(work.per_second, total / took)


def _send(work: _Work, times: int, senders: Sequence[Child], receivers: Sequence[Child]) -> float:
    """Have each sender send to all, so many times; return the seconds until all has arrived."""
    are_counted = work.message == "event"
    if are_counted:
        for receiver in receivers:
            receiver.ask({"events": times * work.receivers * len(senders) // len(receivers)})
    for sender in senders:
        sender.tell({work.message: times})
    reports = [sender.report() for sender in senders]
    if are_counted:
        ended = [receiver.report()["last"] for receiver in receivers]
    else:
        ended = [report["ended"] for report in reports]
    return float(max(ended) - min(report["began"] for report in reports))


def _services() -> list[str]:
    """Names of services: one for each part of the slots that the senders visit."""
    names: dict[int, str] = {}
    for number in count():
        name = f"{SERVICE}{number}"
        names.setdefault(part_of(topics.service_rpc(name)), name)
        if len(names) == PARTS:
            break
    return [names[part] for part in range(PARTS)]


def _reads(cluster: Cluster) -> int:
    """Number of times that the nodes have read from a client."""
    reads = 0
    for node in cluster.nodes:
        lines = node.execute("INFO", "stats").decode().splitlines()
        reads += next(int(line[22:]) for line in lines if line.startswith("total_reads_processed:"))
    return reads


def _cost_of_a_call(setting: Setting, url: str) -> float:
    """Microseconds of processor time that caller and server take for one call."""
    calls = setting.amount(PRICE_CALLS)
    options: dict[str, Any] = {"url": url, "service": SERVICE, "in_flight": PRICE_IN_FLIGHT}
    with program("our_server", url=url, service=SERVICE) as server:
        server.report()
        measured("our_caller", calls=calls // 10, warm_up=PRICE_IN_FLIGHT, **options)
        before = processor_time([server.pid])
        report = measured("our_caller", calls=calls, warm_up=PRICE_IN_FLIGHT, **options)
        served = processor_time([server.pid]) - before
        return float(report["cost"] + 1e6 * served / (calls + PRICE_IN_FLIGHT))
