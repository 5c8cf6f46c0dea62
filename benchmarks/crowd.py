"""Our gateway with very many websockets: logins, memory, delays, bursts.

A process holds as many websockets as it may have files open. More need several workers.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from attrs import frozen

from benchmarks.children import Child, allow_files, program
from benchmarks.comparison import Comparison, Measured
from benchmarks.deliveries import PATIENCE
from benchmarks.events import MARK, event
from benchmarks.figures import Figure
from benchmarks.gateways import Audience, Side, Start, ours, with_workers
from benchmarks.gateways.ours import issue_paths
from benchmarks.gateways.side import published_in_redis, publishing
from benchmarks.presence_reports import awaiting_reports, forget_everyone
from benchmarks.processes import processor_time, resident
from benchmarks.scenario import Setting

NAME: Final = "crowd"
ROUNDS: Final = 1
IN_ONE_PROCESS: Final = 20_000
IN_WORKERS: Final = 50_000
"""Numbers of websockets."""

SPARE: Final = 500
"""Open files of a process that are not websockets."""

WATCHED: Final = 500
"""Events of one client that is open before the others log in."""

PACE: Final = 0.01
"""Seconds between these events."""

_LOGINS: Final = "logins until subscribed and reported"
_COST: Final = "processor time of a login"
_MEMORY: Final = "memory each"
_P99: Final = "another client's event during the logins, p99"
_LONGEST: Final = "another client's event during the logins, longest"
_ON_A_TOPIC: Final = 20
_OF_ITS_OWN: Final = 2
"""Events for each websocket, in one burst."""

_TOPIC: Final = "one topic, burst"
_PERSONAL: Final = "personal topics, burst"

_UNITS: Final = {
    _LOGINS: "logins/s",
    _COST: "µs/login",
    _MEMORY: "KiB",
    _P99: "ms",
    _LONGEST: "ms",
    _TOPIC: "events/s",
    _PERSONAL: "events/s",
}


@frozen
class _Crowd:
    """A gateway and the load generators of its websockets.

    Attributes:
        side: the gateway.
        loads: load generators.
        shares: indices of each load generator's websockets.
    """

    side: Side
    loads: Sequence[Child]
    shares: Sequence[slice]

    def open(self, topics: Sequence[str]) -> float:
        """Open all websockets; return the time of the first."""
        for load, share in zip(self.loads, self.shares, strict=True):
            load.tell({"open": {"paths": self.side.paths[share], "topics": topics[share]}})
        return float(min(load.report()["started"] for load in self.loads))

    def burst(self, publisher: Child, published: int, each: int) -> tuple[float, bool]:
        """Publish events at once; return deliveries per second, and true if all arrived."""
        for load in self.loads:
            load.ask({"count": {"mark": MARK, "each": each, "within": PATIENCE}})
        sent = publisher.ask({"count": published * each, "pace": 0.0})
        reports = [load.report() for load in self.loads]
        took = max(report["last"] for report in reports) - sent["started"]
        delivered = sum(report["delivered"] for report in reports)
        return delivered / took, all(report["complete"] for report in reports)


def run(setting: Setting) -> list[Figure]:
    """Measure a new gateway for the logins, and one for each kind of burst."""
    allow_files()
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = files - SPARE
    alone = setting.amount(min(IN_ONE_PROCESS, most))
    many = setting.amount(IN_WORKERS)
    workers = many // most + 2  # the system does not share connections equally
    return [
        *_figures(setting, ours, alone, most, f"{alone:,} websockets"),
        *_figures(setting, with_workers(workers), many, most, f"{many:,}, {workers} workers"),
    ]


def _figures(setting: Setting, start: Start, count: int, most: int, what: str) -> list[Figure]:
    comparison = Comparison({"ours": start})
    comparison.run(
        setting, f"{NAME}, {what}", lambda _, start: _measure(setting, start, count, most, what)
    )
    return [comparison.figure(NAME, f"{what}: {name}", unit) for name, unit in _UNITS.items()]


def _measure(setting: Setting, start: Start, count: int, most: int, what: str) -> Measured:
    values: dict[str, float] = {}
    who = _log_in(setting, start, count, most, values)
    is_complete = True
    for name, audience, each in (
        (_TOPIC, Audience.shared(count), _ON_A_TOPIC),
        (_PERSONAL, Audience.personal(count), _OF_ITS_OWN),
    ):
        forget_everyone(setting)
        with _crowd(setting, start, audience, most) as crowd, crowd.side.publisher() as publisher:
            crowd.open(audience.topics)
            for _ in range(2):  # the first is the warm-up
                values[name], has_all = crowd.burst(publisher, len(audience.published), each)
                is_complete = is_complete and has_all
    named = {f"{what}: {name}": value for name, value in values.items()}
    return Measured(who, named, "" if is_complete else "not all was delivered")


@contextmanager
def _crowd(setting: Setting, start: Start, audience: Audience, most: int) -> Iterator[_Crowd]:
    count = len(audience.topics)
    shares = [slice(first, min(first + most, count)) for first in range(0, count, most)]
    with ExitStack() as stack:
        side = stack.enter_context(start(setting, audience))
        options: dict[str, Any] = {"port": side.port, "dialect": side.dialect}
        loads = [stack.enter_context(program("websocket_load", **options)) for _ in shares]
        yield _Crowd(side, loads, shares)


def _log_in(setting: Setting, start: Start, count: int, most: int, values: dict[str, float]) -> str:
    """Log in, while another client receives events; wait until all are reported."""
    audience = Audience.personal(count)
    watched = Audience.personal(count + 1).topics[-1]
    command = published_in_redis(watched, event(watched).SerializeToString())
    forget_everyone(setting)
    with ExitStack() as stack:
        crowd = stack.enter_context(_crowd(setting, start, audience, most))
        side = crowd.side
        witness = stack.enter_context(
            program("websocket_load", port=side.port, dialect=side.dialect)
        )
        publisher = stack.enter_context(publishing(setting.port, [command]))
        witness.ask({"open": {"paths": issue_paths(setting, [watched]), "topics": [watched]}})
        reported = stack.enter_context(awaiting_reports(setting, count))
        witness.ask({"time": {"mark": MARK, "each": WATCHED, "within": WATCHED * PACE + PATIENCE}})
        memory, cost = resident(side.pids), processor_time(side.pids)
        publisher.tell({"count": WATCHED, "pace": PACE})
        started = crowd.open(audience.topics)
        values[_LOGINS] = count / (reported() - started)
        values[_COST] = 1e6 * (processor_time(side.pids) - cost) / count
        values[_MEMORY] = (resident(side.pids) - memory) / count
        sent = publisher.report()["sent"]
        (arrivals,) = witness.report()["arrivals"]
        delays = sorted(
            1e3 * (arrived - began) for began, arrived in zip(sent, arrivals, strict=True)
        )
        values[_P99] = delays[len(delays) * 99 // 100]
        values[_LONGEST] = delays[-1]
        return side.who
