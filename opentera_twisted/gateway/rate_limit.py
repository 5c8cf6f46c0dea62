"""A limit on how often something may happen within a period."""

from __future__ import annotations


class RateLimit:
    """Counts events in fixed periods; the first event after a period begins the next."""

    __slots__ = ("_began", "_count")

    def __init__(self) -> None:
        self._began = 0.0
        self._count = 0

    def allows(self, limit: int, seconds: float, now: float) -> bool:
        """Count an event, if it is within the limit.

        Args:
            limit: events allowed in a period.
            seconds: length of a period.
            now: current time in seconds, of any clock. A clock set back begins a new period.

        Returns:
            True if the event is within the limit.
        """
        if not self._count or not 0 <= now - self._began < seconds:
            self._began = now
            self._count = 0
        if self._count >= limit:
            return False
        self._count += 1
        return True
