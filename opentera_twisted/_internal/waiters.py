"""`Waiters`: Deferreds that wait for one event."""

from __future__ import annotations

from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


class Waiters(Generic[T]):
    """Deferreds that fire together, once each; a cancelled one is removed."""

    def __init__(self) -> None:
        self._waiting: dict[Deferred[T], None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self) -> Deferred[T]:
        """Return a Deferred that fires at the next `fire` or `fail`."""
        waiter: Deferred[T] = Deferred(lambda cancelled: self._waiting.pop(cancelled, None))
        self._waiting[waiter] = None
        return waiter

    def fire(self, result: T | Failure) -> None:
        """Fire all current waiters; a Deferred that a callback adds waits for the next event."""
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting:
            if not waiter.called:  # an earlier callback may have cancelled it
                waiter.callback(result)

    def fail(self, error: BaseException) -> None:
        """Fail all current waiters, each with its own ``Failure``."""
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting:
            if not waiter.called:
                waiter.errback(error)
