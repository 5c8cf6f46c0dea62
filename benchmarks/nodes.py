"""Personal events and calls through clusters of 1, 3 and 6 nodes, and the price of their link.

The nodes share the cores, so more of them cannot be faster here. Compare the processor time of all
nodes together for one message, and that of the busiest node.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from attrs import Factory, define, frozen

from benchmarks.children import measured, program, redis_cluster
from benchmarks.figures import Figure, Point, Rival, Series, Target
from benchmarks.processes import processor_time, spent
from benchmarks.scenario import SERVICE, Setting, rotated
from tools.cluster import Cluster

NAME: Final = "nodes"
ROUNDS: Final = 2
NODES: Final = (1, 3, 6)
FLAT: Final = Target("below", 1.25)
PRICE: Final = Target("below", 1.05)

SUBSCRIBERS: Final = 3
PUBLISHERS: Final = 2
TOPICS: Final = 600
EVENTS: Final = 6_000
"""All subscribers have the topics, and all publishers the events, in equal parts."""

SERVERS: Final = 3
CALLS: Final = 2_000
"""For each server, which has a caller of its own."""

PRICE_CALLS: Final = 10_000
IN_FLIGHT: Final = 32
"""At each program, for each node."""

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
    """Names of the figures of one kind of message."""

    per_second: str
    all_nodes: str
    busiest: str
    growth: str
    target: Target | None

    @classmethod
    def of(cls, message: str, target: Target | None) -> _Work:
        return cls(
            f"{message}s per second",
            f"processor time of all nodes for one {message}",
            f"processor time of the busiest node for one {message}",
            f"processor time of all nodes for one {message}: {NODES[-1]} nodes to 1",
            target,
        )


_EVENT: Final = _Work.of("event", FLAT)
_CALL: Final = _Work.of("call", FLAT)


def run(setting: Setting) -> list[Figure]:
    """Measure all numbers of nodes in each round, each round in another order."""
    kinds = {_SHARDED: "", _CLASSIC: "/?pubsub=classic"}
    costs = {(count, kind): _Costs(f"ours: {kind}") for count in NODES for kind in kinds}
    growth = {kind: _Costs(f"ours: {kind}") for kind in kinds}
    price = {who: Series(who) for who in ("ours: redis+cluster://", "ours: redis://")}
    for number in setting.each_round(NAME):
        for count in rotated(NODES, number):
            with redis_cluster(count) as cluster:
                for kind, query in kinds.items():
                    _events(setting, cluster, cluster.url + query, costs[count, kind])
                    _calls(setting, cluster, cluster.url + query, costs[count, kind])
                if count == 1:
                    urls = [cluster.url, setting.url]
                    sides = list(zip(price.values(), urls, strict=True))
                    for series, url in rotated(sides, number):
                        series.samples.append(_cost_of_a_call(setting, url))
        for work in (_EVENT, _CALL):
            for kind in kinds:
                first, *_, last = (costs[count, kind].last(work.all_nodes) for count in NODES)
                growth[kind].add(work.growth, last / first)
    figures = []
    for work in (_EVENT, _CALL):
        for what, unit in ((work.per_second, "/s"), (work.all_nodes, "µs"), (work.busiest, "µs")):
            figures += [
                Figure(
                    NAME,
                    f"{count} node{'s' if count > 1 else ''}: {what}",
                    unit,
                    costs[count, _SHARDED].series[what],
                    [Rival(costs[count, _CLASSIC].series[what])],
                    point=Point(what, "nodes", count),
                )
                for count in NODES
            ]
        sharded, classic = (growth[kind].series[work.growth] for kind in kinds)
        figures.append(Figure(NAME, work.growth, "times", sharded, [Rival(classic)], work.target))
    cluster_link, plain = price.values()
    name = "1 node: processor time of caller and server for a call"
    return [*figures, Figure(NAME, name, "µs", cluster_link, [Rival(plain, PRICE)])]


def _events(setting: Setting, cluster: Cluster, url: str, costs: _Costs) -> None:
    """Publish events of users from several processes to several that follow their topics."""
    each = TOPICS // SUBSCRIBERS
    count = setting.amount(EVENTS) // PUBLISHERS // TOPICS * TOPICS
    total = count * PUBLISHERS
    options: dict[str, Any] = {"url": url, "topics": TOPICS, "count": count}
    options["in_flight"] = IN_FLIGHT * len(cluster.nodes)
    with ExitStack() as stack:
        followers = [
            stack.enter_context(program("our_followers", url=url, first=number * each, topics=each))
            for number in range(SUBSCRIBERS)
        ]
        for follower in followers:
            follower.report()
        for follower in followers:
            follower.ask({"events": total // SUBSCRIBERS})
        with _costing(cluster, total, _EVENT, costs):
            publishers = [
                stack.enter_context(program("our_personal_publisher", **options))
                for _ in range(PUBLISHERS)
            ]
            began = min(publisher.report()["began"] for publisher in publishers)
            ended = max(follower.report()["last"] for follower in followers)
        costs.add(_EVENT.per_second, total / (ended - began))


def _calls(setting: Setting, cluster: Cluster, url: str, costs: _Costs) -> None:
    """Call several servers, each from a process of its own."""
    calls, in_flight = setting.amount(CALLS), IN_FLIGHT * len(cluster.nodes)
    services = [f"{SERVICE}{number}" for number in range(SERVERS)]
    options: dict[str, Any] = {"url": url, "calls": calls, "in_flight": in_flight}
    options["warm_up"] = in_flight
    with ExitStack() as stack:
        for service in services:
            stack.enter_context(program("our_server", url=url, service=service)).report()
        with _costing(cluster, (calls + in_flight) * SERVERS, _CALL, costs):
            callers = [
                stack.enter_context(program("our_caller", service=service, **options))
                for service in services
            ]
            reports = [caller.report() for caller in callers]
        costs.add(_CALL.per_second, sum(report["per_second"] for report in reports))


@contextmanager
def _costing(cluster: Cluster, messages: int, work: _Work, costs: _Costs) -> Iterator[None]:
    """Add the processor time of the nodes for each message."""
    with spent([node.pid for node in cluster.nodes]) as seconds:
        yield
    costs.add(work.all_nodes, 1e6 * sum(seconds) / messages)
    costs.add(work.busiest, 1e6 * max(seconds) / messages)


def _cost_of_a_call(setting: Setting, url: str) -> float:
    """Microseconds of processor time that caller and server take for one call."""
    calls = setting.amount(PRICE_CALLS)
    options: dict[str, Any] = {"url": url, "service": SERVICE, "in_flight": IN_FLIGHT}
    with program("our_server", url=url, service=SERVICE) as server:
        server.report()
        measured("our_caller", calls=calls // 10, warm_up=IN_FLIGHT, **options)
        before = processor_time([server.pid])
        report = measured("our_caller", calls=calls, warm_up=IN_FLIGHT, **options)
        served = processor_time([server.pid]) - before
        return float(report["cost"] + 1e6 * served / (calls + IN_FLIGHT))
