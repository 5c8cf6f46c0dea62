"""Durations with exemplars: for each class, the trace of its latest duration."""

from __future__ import annotations

from bisect import bisect_left
from time import time

from opentelemetry.context import Context
from opentelemetry.trace import get_current_span

from opentera_twisted._internal.histogram import BOUNDS, Exemplar, Histogram


class TracedHistogram(Histogram):
    """Counts of durations, with exemplars of sampled traces.

    Attributes:
        context: context of the next duration; None uses the current one.
        exemplars: latest duration of each class, by its number.
    """

    __slots__ = ("context", "exemplars")

    def __init__(self) -> None:
        super().__init__()
        self.context: Context | None = None
        self.exemplars: dict[int, Exemplar] = {}

    def add(self, seconds: float) -> None:
        """Count a duration, and keep its trace."""
        super().add(seconds)
        context, self.context = self.context, None
        traced = get_current_span(context).get_span_context()
        if traced.trace_flags.sampled:
            self.exemplars[bisect_left(BOUNDS, seconds)] = Exemplar(
                f"{traced.trace_id:032x}", f"{traced.span_id:016x}", seconds, time()
            )
