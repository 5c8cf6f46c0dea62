"""Durations, counted by classes: cheap to add to."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5, 10)
"""Upper bounds of the classes in seconds; the last class has none."""


class Exemplar(NamedTuple):
    """A duration with its trace, in hexadecimal digits; see `Histogram.exemplars`."""

    trace_id: str
    span_id: str
    seconds: float
    timestamp: float


class Histogram:
    """Counts of durations.

    Attributes:
        counts: number of durations in each class of `BOUNDS`, and above the last bound.
        total: sum of all durations in seconds.
        exemplars: latest traced duration of each class, by its number; empty without tracing.
    """

    __slots__ = ("counts", "total")

    exemplars: Mapping[int, Exemplar] = MappingProxyType({})

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count a duration."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Iterate over the bounds, up to infinity, with the number of durations within each."""
        count = 0
        for bound, more in zip((*BOUNDS, float("inf")), self.counts, strict=True):
            count += more
            yield bound, count
