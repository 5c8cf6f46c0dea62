"""Redis's clock offset, and the latency of its replies."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Final

from opentera_twisted.program.redis_checks.finding import Finding, Verdict

CLOCK_WARNING: Final = 2.0
"""Seconds of clock offset that matter when people compare events."""

CLOCK_WRONG: Final = 60.0
"""Seconds of clock offset from which one clock is wrong."""

SLOW: Final = 0.02
"""Seconds of a round trip that make each login and call slow."""

TOO_SLOW: Final = 0.2
"""Seconds of a round trip that bring operations of several near their timeouts."""


def clock(offset: float, uncertainty: float) -> Finding:
    """Judge Redis's clock.

    Args:
        offset: seconds that it is ahead of this machine's.
        uncertainty: possible error of the offset in seconds.
    """
    apart = max(0.0, abs(offset) - uncertainty)
    ahead = "ahead of" if offset > 0 else "behind"
    if apart < CLOCK_WARNING:
        return Finding("clock", "ok", f"within {abs(offset) + uncertainty:.3f} s of this machine's")
    verdict: Verdict = "wrong" if apart >= CLOCK_WRONG else "warning"
    reason = f"{abs(offset):.1f} s {ahead} this machine's; times of events are not comparable"
    return Finding("clock", verdict, reason, "synchronise both machines with NTP")


def latency(seconds: Sequence[float]) -> Finding:
    """Judge the durations of consecutive round trips, in seconds."""
    middle = median(seconds)
    reason = f"{middle * 1e3:.2f} ms a round trip, {max(seconds) * 1e3:.2f} ms the longest"
    if middle < SLOW:
        return Finding("latency", "ok", reason)
    verdict: Verdict = "wrong" if middle >= TOO_SLOW else "warning"
    remedy = "check the network, and slow commands with SLOWLOG GET"
    return Finding("latency", verdict, reason, remedy)
