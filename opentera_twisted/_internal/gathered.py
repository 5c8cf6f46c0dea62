"""Results of several Deferreds together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from twisted.internet.defer import Deferred, FirstError, gatherResults
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


def _first(failure: Failure) -> Failure:
    first = failure.value
    return first.subFailure if isinstance(first, FirstError) else failure
