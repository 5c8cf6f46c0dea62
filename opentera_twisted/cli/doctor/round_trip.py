"""The way to Redis: its clock beside ours, and how long an answer takes."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Final

from opentera_twisted.program.redis_checks.finding import Finding, Verdict

CLOCK_WARNING: Final = 2.0
"""Seconds between the clocks that people notice when they compare events."""

CLOCK_WRONG: Final = 60.0
"""Seconds between the clocks from which one of them is wrong."""

SLOW: Final = 0.02
"""Seconds of a round trip that make each login and call slow."""

TOO_SLOW: Final = 0.2
"""Seconds of a round trip that are near the timeouts of what needs several."""


def clock(offset: float, uncertainty: float) -> Finding:
    """Judge Redis's clock.

    Args:
        offset: seconds that it is ahead of ours.
        uncertainty: seconds that this may be wrong by.
    """
    apart = max(0.0, abs(offset) - uncertainty)
    ahead = "ahead of" if offset > 0 else "behind"
    if apart < CLOCK_WARNING:
        return Finding("clock", "ok", f"within {abs(offset) + uncertainty:.3f} s of this machine's")
    verdict: Verdict = "wrong" if apart >= CLOCK_WRONG else "warning"
    reason = f"{abs(offset):.1f} s {ahead} this machine's: times of events do not compare"
    return Finding("clock", verdict, reason, "synchronise both machines with NTP")


def latency(seconds: Sequence[float]) -> Finding:
    """Judge round trips, made one after another."""
    middle = median(seconds)
    reason = f"{middle * 1e3:.2f} ms a round trip, {max(seconds) * 1e3:.2f} ms the longest"
    if middle < SLOW:
        return Finding("latency", "ok", reason)
    verdict: Verdict = "wrong" if middle >= TOO_SLOW else "warning"
    remedy = "look at the network, and for slow commands: SLOWLOG GET"
    return Finding("latency", verdict, reason, remedy)
