"""Calls from threads that wait: `BlockingBus` against existing callers, one in each thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from benchmarks.children import measured, program
from benchmarks.figures import Figure, Rival, Series, Target
from benchmarks.scenario import SERVICE, TOPIC, Setting, rotated

NAME: Final = "blocking-calls"
ROUNDS: Final = 3
TARGET: Final = Target("at least", 5.0)
THREADS: Final = 8
OUR_CALLS: Final = 16_000
EXISTING_CALLS: Final = 4_000


def run(setting: Setting) -> list[Figure]:
    """Measure calls per second, with the same server process."""
    ours = Series(f"ours: BlockingBus, {THREADS} threads")
    rival = Series(f"existing: redis-py, a caller in each of {THREADS} threads")
    our_options = {"url": setting.url, "service": SERVICE}
    rival_options = {"port": setting.port, "topic": TOPIC}
    sides: list[tuple[Series, str, Mapping[str, object], int]] = [
        (ours, "our_threads", our_options, setting.amount(OUR_CALLS)),
        (rival, "existing_threads", rival_options, setting.amount(EXISTING_CALLS)),
    ]
    with program("our_server", **our_options) as server:
        server.report()
        for number in setting.each_round(NAME):
            for series, caller, options, calls in rotated(sides, number):
                amount = {"calls": calls, "warm_up": calls // 10, "threads": THREADS}
                series.samples.append(measured(caller, **options, **amount)["per_second"])
    return [Figure(NAME, f"{THREADS} threads", "calls/s", ours, [Rival(rival, TARGET)])]
