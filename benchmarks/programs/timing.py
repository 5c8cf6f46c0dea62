"""Summaries of the durations of calls and events."""

from __future__ import annotations


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Median and 99th percentile in microseconds."""
    ordered = sorted(seconds)
    return {
        "p50": 1e6 * ordered[len(ordered) // 2],
        "p99": 1e6 * ordered[len(ordered) * 99 // 100],
    }


def summary(seconds: list[float], total: float) -> dict[str, float]:
    """Percentiles of a call, and calls per second."""
    return {**percentiles(seconds), "per_second": len(seconds) / total}
