"""Calling what a user has given us: the one place where its exceptions end."""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutine
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

_log: Final = Logger()


def run(what: object, function: Callable[..., Any], *arguments: Any) -> Deferred[Any] | None:
    """Call a function, and see a coroutine or Deferred that it returns to its end.

    What it raises, then or later, is logged and goes no further.

    Args:
        what: whose function it is; made text only when it is logged.
        function: of the user.
        arguments: for it.

    Returns:
        Fires with anything when what the function has begun is over; None when it is already.
    """
    try:
        result = function(*arguments)
    except BaseException:  # noqa: BLE001 (sys.exit() of a handler would end the connection)
        _failed(Failure(), what)
        return None
    if result is None:
        return None
    if iscoroutine(result):
        result = Deferred.fromCoroutine(result)
    if not isinstance(result, Deferred):
        return None
    return result.addErrback(_failed, what)


def _failed(failure: Failure, what: object) -> None:
    _log.failure("{what} failed", failure, what=what)
