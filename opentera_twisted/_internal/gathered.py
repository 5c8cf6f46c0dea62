"""Results of several Deferreds together, and a set of those that are pending."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredList, FirstError, gatherResults
from twisted.python.failure import Failure

T = TypeVar("T")


def gathered(deferreds: Iterable[Deferred[T]]) -> Deferred[list[T]]:
    """Wait for several Deferreds; log none of their failures.

    Returns:
        Fires with their results, in order.

    Fails with:
        The first error itself, not wrapped in Twisted's ``FirstError``.
    """
    return gatherResults(list(deferreds), consumeErrors=True).addErrback(_first)


async def all_fired(deferreds: Iterable[Deferred[Any]]) -> None:
    """Wait until each of several Deferreds has fired, also after a failure of one.

    Raises:
        The first error; no failure is logged.
    """
    for _, result in await DeferredList(list(deferreds), consumeErrors=True):
        if isinstance(result, Failure):
            result.raiseException()


def keep_until_fired(deferred: Deferred[T], pending: set[Deferred[T]]) -> Deferred[T]:
    """Keep a Deferred in a set until it has fired; return the Deferred."""

    def fired(result: T | Failure) -> T | Failure:
        pending.discard(deferred)
        return result

    pending.add(deferred)
    return deferred.addBoth(fired)


def _first(failure: Failure) -> Failure:
    first = failure.value
    return first.subFailure if isinstance(first, FirstError) else failure
