"""What a caller reports of its calls."""

from __future__ import annotations


def summary(seconds: list[float], total: float) -> dict[str, float]:
    """Median and 99th percentile of a call in microseconds, and calls per second."""
    ordered = sorted(seconds)
    return {
        "p50": 1e6 * ordered[len(ordered) // 2],
        "p99": 1e6 * ordered[len(ordered) * 99 // 100],
        "per_second": len(ordered) / total,
    }
