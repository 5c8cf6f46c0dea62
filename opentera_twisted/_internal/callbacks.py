"""Calling what a user has given us: the one place where its exceptions end."""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutine, signature
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
    return _follow(what, result)


def run_in_thread(
    reactor: Any, what: object, function: Callable[..., Any], *arguments: Any
) -> None:
    """Call a function in this thread; a coroutine that it returns runs in the reactor's."""
    try:
        result = function(*arguments)
    except BaseException:  # noqa: BLE001 (the thread has more to do)
        _failed(Failure(), what)
        return
    if result is not None:
        reactor.callFromThread(_follow, what, result)


def outcome(result: Any) -> Any:
    """Return a function's result; begin a coroutine, in the reactor's thread, as a Deferred."""
    return Deferred.fromCoroutine(result) if iscoroutine(result) else result


def accepts(function: Callable[..., Any], count: int) -> bool:
    """Tell if a function can be called with that many arguments; True when nobody can know."""
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
    result = outcome(result)
    if not isinstance(result, Deferred):
        return None
    return result.addErrback(_failed, what)


def _failed(failure: Failure, what: object) -> None:
    _log.failure("{what} failed", failure, what=what)
