"""Limits of a server, and fair shares of its callers."""

from __future__ import annotations

from collections import Counter
from typing import Final

from attrs import frozen

from opentera_twisted._internal.thread_pool import THREADS


@frozen
class Limits:
    """Limits of a server; a call beyond one is answered with an error.

    Attributes:
        concurrent: calls that run at a time.
        request: bytes of a request.
        reply: bytes of a reply.
        threads: threads for procedures that block; a call that waits 5 seconds for one is refused.

    Example:
        >>> procedures = Procedures()
        >>> limits = Limits(concurrent=10, threads=2)
        >>> server = await bus.serve_service("Careful", procedures, limits=limits)
    """

    concurrent: int = 1000
    request: int = 8 * 2**20
    reply: int = 8 * 2**20
    threads: int = THREADS


DEFAULT_LIMITS: Final = Limits()


class FairSlots:
    """Slots for running calls, shared fairly among callers.

    Once half the slots are taken, a caller above its fair share is refused. So no caller can shut
    out the others.

    Args:
        limit: number of slots.

    Attributes:
        taken: number of slots taken now.
    """

    def __init__(self, limit: int) -> None:
        self.taken = 0
        self._limit = limit
        self._callers: Counter[str] = Counter()

    def has_one_for(self, caller: str) -> bool:
        """Return True if another call of a caller may run."""
        wanted = self.taken + 1
        if wanted > self._limit:
            return False
        if 2 * wanted <= self._limit:
            return True
        callers = len(self._callers) + (caller not in self._callers)
        return (self._callers[caller] + 1) * callers <= self._limit

    def take(self, caller: str) -> None:
        """Take a slot for a caller."""
        self.taken += 1
        self._callers[caller] += 1

    def leave(self, caller: str) -> None:
        """Release a slot of a caller."""
        self.taken -= 1
        self._callers[caller] -= 1
        if not self._callers[caller]:
            del self._callers[caller]

    def keep(self) -> None:
        """Take a slot for the rest of an answered call that cannot be stopped."""
        self.taken += 1

    def give_up(self) -> None:
        """Release a slot taken by `keep`."""
        self.taken -= 1
