"""Latency of one event from its publication to otherwise idle websockets."""

from __future__ import annotations

from functools import partial
from typing import Final

from benchmarks.comparison import Comparison, Measured
from benchmarks.deliveries import connected
from benchmarks.figures import Figure
from benchmarks.gateways import Audience, Start
from benchmarks.programs.timing import percentiles
from benchmarks.scenario import Setting

NAME: Final = "event-latency"
ROUNDS: Final = 3
WEBSOCKETS: Final = (1, 100)
EVENTS: Final = 200
PACE: Final = 0.01
"""Seconds between events: a hundred a second, so that none waits for the one before it."""


def run(setting: Setting) -> list[Figure]:
    """Measure new gateways each round, all with as many websockets on one topic."""
    figures = []
    for count in WEBSOCKETS:
        comparison = Comparison.of(setting, ceiling=True)
        comparison.run(setting, f"{NAME}, {_of(count)}", partial(_measure, setting, count))
        figures += [
            comparison.figure(NAME, f"{_of(count)}: {percentile}", "µs")
            for percentile in ("p50", "p99")
        ]
    return figures


def _of(count: int) -> str:
    return f"{count:,} websocket{'s' if count > 1 else ''}"


def _measure(setting: Setting, count: int, _: str, start: Start) -> Measured:
    events = max(setting.amount(EVENTS), 50)
    with connected(start, setting, Audience.shared(count)) as gateway:
        seconds = gateway.latencies(events, PACE)
        return Measured(
            gateway.side.who,
            {f"{_of(count)}: {name}": value for name, value in percentiles(seconds).items()},
        )
