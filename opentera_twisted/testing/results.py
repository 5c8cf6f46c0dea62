"""`result_of`: the value that a Deferred has fired with."""

from __future__ import annotations

from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


def result_of(deferred: Deferred[T]) -> T:
    """Return what a Deferred has fired with.

    Args:
        deferred: From a method of `MemoryBus`, whose Deferreds usually fire at once. Its result is
            consumed.

    Raises:
        Exception: what the Deferred failed with.
        AssertionError: it has not fired; advance the clock of the bus first.
    """
    outcome: list[T | Failure] = []
    deferred.addBoth(outcome.append)
    if not outcome:
        raise AssertionError(
            "the Deferred has not fired: advance the clock, with bus.clock.advance(seconds)"
        )
    result = outcome[0]
    if isinstance(result, Failure):
        result.raiseException()
    return result
