"""Our gateway with very many websockets: logins, memory, delays, bursts.

A process holds as many websockets as it may have files open. More need several workers.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from attrs import astuple

from benchmarks.children import allow_files, program
from benchmarks.comparison import Comparison, Measured
from benchmarks.crowds import crowd
from benchmarks.deliveries import PATIENCE
from benchmarks.events import MARK
from benchmarks.figures import Figure
from benchmarks.gateways import Audience, Side, Start, ours, with_workers
from benchmarks.gateways.ours import issue_paths
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


def run(setting: Setting) -> list[Figure]:
    """Measure one process, and several workers."""
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
    with crowd(setting, start, count, most) as gateway:
        with _watching(setting, gateway.side, count, values):
            logins = gateway.log_in(setting)
        values[_LOGINS], values[_COST], values[_MEMORY] = astuple(logins)
        values[_TOPIC], has_shared = gateway.burst([gateway.audience.common], _ON_A_TOPIC)
        values[_PERSONAL], has_own = gateway.burst(gateway.audience.topics, _OF_ITS_OWN)
        who = gateway.side.who
    named = {f"{what}: {name}": value for name, value in values.items()}
    return Measured(who, named, "" if has_shared and has_own else "not all was delivered")


@contextmanager
def _watching(setting: Setting, side: Side, count: int, values: dict[str, float]) -> Iterator[None]:
    """Send events to one more client meanwhile, and measure how long they take."""
    watched = Audience(Audience.personal(count + 1).topics[-1:])
    with (
        program("websocket_load", port=side.port, dialect=side.dialect) as witness,
        side.publisher(watched.topics) as publisher,
    ):
        paths = issue_paths(setting, watched)
        witness.ask({"open": {"paths": paths, "topics": watched.followed}})
        witness.ask({"time": {"mark": MARK, "each": WATCHED, "within": WATCHED * PACE + PATIENCE}})
        publisher.tell({"count": WATCHED, "pace": PACE})
        yield
        sent = publisher.report()["sent"]
        (arrivals,) = witness.report()["arrivals"]
        delays = sorted(
            1e3 * (arrived - began) for began, arrived in zip(sent, arrivals, strict=True)
        )
        values[_P99] = delays[len(delays) * 99 // 100]
        values[_LONGEST] = delays[-1]
