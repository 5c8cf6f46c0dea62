"""How long something took, counted by classes: cheap to add to, read when somebody asks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5, 10)
"""Seconds at which the classes end; the last class has no end."""


class Histogram:
    """Counts durations.

    Attributes:
        counts: how many were of each class of `BOUNDS`, and above the last.
        total: seconds of all together.
    """

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Each bound, at last infinity, and how many took no longer."""
        count = 0
        for bound, more in zip((*BOUNDS, float("inf")), self.counts, strict=True):
            count += more
            yield bound, count
