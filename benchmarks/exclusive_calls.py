"""The cost of ``exclusive=True``: the same server with and without it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

from benchmarks.children import measured, program
from benchmarks.figures import Figure, Rival, Series
from benchmarks.scenario import SERVICE, Setting, rotated

NAME: Final = "exclusive-calls"
ROUNDS: Final = 3
CALLS: Final = 4_000
CALLS_IN_FLIGHT: Final = 20_000
IN_FLIGHT: Final = 64

_SHARED: Final = "exclusive: each call claimed in Redis first"
_PLAIN: Final = "plain server"


def run(setting: Setting) -> list[Figure]:
    """Measure one call after another, and many in flight."""
    latency = Figure(NAME, "p50", "µs", Series(_SHARED), [Rival(Series(_PLAIN))])
    throughput = Figure(
        NAME, f"{IN_FLIGHT} in flight", "calls/s", Series(_SHARED), [Rival(Series(_PLAIN))]
    )
    loads = (
        (latency, "p50", setting.amount(CALLS), 1),
        (throughput, "per_second", setting.amount(CALLS_IN_FLIGHT), IN_FLIGHT),
    )
    plain = {"url": setting.url, "service": SERVICE}
    shared = {"url": setting.url, "service": f"{SERVICE}-shared"}
    with ExitStack() as stack:
        stack.enter_context(program("our_server", **plain)).report()
        stack.enter_context(program("our_server", **shared, exclusive=1)).report()
        for number in setting.each_round(NAME):
            for figure, what, calls, in_flight in loads:
                amount = {"calls": calls, "warm_up": calls // 10, "in_flight": in_flight}
                sides = [(figure.ours, shared), (figure.rivals[0].series, plain)]
                for series, options in rotated(sides, number):
                    series.samples.append(measured("our_caller", **options, **amount)[what])
    return [latency, throughput]
