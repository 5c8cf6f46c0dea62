"""A number of times that something may happen within a period."""

from __future__ import annotations


class Allowance:
    """Counts what happens in a period, which begins with the first time after the last one."""

    __slots__ = ("_began", "_count")

    def __init__(self) -> None:
        self._began = 0.0
        self._count = 0

    def take(self, limit: int, seconds: float, now: float) -> bool:
        """Count one more time.

        Args:
            limit: how often it may happen in the period.
            seconds: of the period.
            now: seconds of any clock; when it is set back, a new period begins.

        Returns:
            Whether it may happen.
        """
        if not self._count or not 0 <= now - self._began < seconds:
            self._began = now
            self._count = 0
        if self._count >= limit:
            return False
        self._count += 1
        return True
