"""`result_of`: the result of a Deferred that has fired."""

from __future__ import annotations

from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


def result_of(deferred: Deferred[T]) -> T:
    """Return the result of a Deferred that has fired, and consume it.

    Args:
        deferred: result of a method of `MemoryBus`, whose Deferreds usually fire at once.

    Raises:
        Exception: error of the Deferred.
        AssertionError: it has not fired; advance the clock of the bus first.

    Example:
        >>> result_of(bus.call_service("Sum", "add", 1, 2))
        3
    """
    outcome: list[T | Failure] = []
    deferred.addBoth(outcome.append)
    if not outcome:
        raise AssertionError(
            "the Deferred has not fired; advance the clock with bus.clock.advance(seconds)"
        )
    result = outcome[0]
    if isinstance(result, Failure):
        result.raiseException()
    return result
