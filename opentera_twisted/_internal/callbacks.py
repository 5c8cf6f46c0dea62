"""Calls of the user's functions: the one place that handles their exceptions."""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutine
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from opentera_twisted._internal.signatures import signature

_log: Final = Logger()


def run(what: object, function: Callable[..., Any], *arguments: Any) -> Deferred[Any] | None:
    """Call a function and run a coroutine or Deferred that it returns.

    Any exception, at once or later, is logged and not raised.

    Args:
        what: description of the function; converted to text only for the log.
        function: function of the user.
        arguments: arguments of the function.

    Returns:
        Fires when the returned coroutine or Deferred has ended; None if there is none.
    """
    try:
        result = function(*arguments)
    except BaseException:  # noqa: BLE001 (sys.exit() in a handler would end the connection)
        _failed(Failure(), what)
        return None
    return _follow(what, result)


def run_in_thread(
    reactor: Any, what: object, function: Callable[..., Any], *arguments: Any
) -> None:
    """Call a function in this thread; run a returned coroutine in the reactor's thread."""
    try:
        result = function(*arguments)
    except BaseException:  # noqa: BLE001 (the thread has more work)
        _failed(Failure(), what)
        return
    if result is not None:
        reactor.callFromThread(_follow, what, result)


def outcome(result: Any) -> Any:
    """Return a function's result; start a coroutine as a Deferred, in the reactor's thread."""
    return Deferred.fromCoroutine(result) if iscoroutine(result) else result


def accepts(function: Callable[..., Any], count: int) -> bool:
    """Check if a function accepts that many arguments; True if its signature is unknown."""
    try:
        declared = signature(function)
    except (TypeError, ValueError):  # such as some functions written in C
        return True
    try:
        declared.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _follow(what: object, result: Any) -> Deferred[Any] | None:
    if result is None:  # a plain function, as in most calls
        return None
    result = outcome(result)
    if not isinstance(result, Deferred):
        return None
    return result.addErrback(_failed, what)


def _failed(failure: Failure, what: object) -> None:
    _log.failure("{what} failed", failure, what=what)
