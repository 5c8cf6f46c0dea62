"""Latency of one event from its publication to otherwise idle websockets."""

from __future__ import annotations

from functools import partial
from typing import Final

from benchmarks.comparison import Comparison, Measured
from benchmarks.deliveries import connected
from benchmarks.figures import Figure, Target
from benchmarks.gateways import Audience, Start
from benchmarks.programs.timing import percentiles
from benchmarks.scenario import Setting

NAME: Final = "event-latency"
ROUNDS: Final = 3
WEBSOCKETS: Final = (1, 100)
EVENTS: Final = {1: 200, 100: 100}
"""To each websocket."""

FLOOR_TARGET: Final = Target("below", 1.5)
PACE: Final = 0.01
"""Seconds between events: a hundred a second, so that none waits for the one before it."""


def run(setting: Setting) -> list[Figure]:
    """Measure new gateways each round: with one websocket, then with all, on one topic."""
    comparison = Comparison.of(setting, ceiling=True, floor=True)
    comparison.run(setting, NAME, partial(_measure, setting))
    return [
        comparison.figure(NAME, f"{_of(count)}: {percentile}", "µs", above_floor=target)
        for count in WEBSOCKETS
        for percentile, target in (("p50", FLOOR_TARGET if count == 1 else None), ("p99", None))
    ]


def _of(count: int) -> str:
    return f"{count:,} websocket{'s' if count > 1 else ''}"


def _measure(setting: Setting, _: str, start: Start) -> Measured:
    values = {}
    few, many = WEBSOCKETS
    with connected(start, setting, Audience.shared(many), at_first=few) as gateway:
        for count in WEBSOCKETS:
            if count == many:
                gateway.open_others()
            events = max(setting.amount(EVENTS[count]), 50)
            found = percentiles(gateway.latencies(events, PACE))
            values.update({f"{_of(count)}: {name}": value for name, value in found.items()})
        return Measured(gateway.side.who, values)
