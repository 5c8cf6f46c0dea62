"""Threads of existing OpenTera programs: the reactor's thread, and others."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from attrs import Factory, define
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.logger import Logger
from twisted.python.threadable import isInIOThread

from opentera_twisted.errors import ForkedProcess, InReactorThread
from opentera_twisted.reactor_thread import check_not_forked, running_reactor


def global_reactor() -> Any:
    """Return the reactor of the process; importing it installs it."""
    from twisted.internet import reactor  # noqa: PLC0415 (not before it is needed)

    return reactor


def is_running() -> bool:
    """Return True if the reactor runs in this process; the parent's reactor does not count."""
    return running_reactor() is not None


def in_reactor_thread() -> bool:
    """Return True if the reactor runs in this thread."""
    return is_running() and isInIOThread()


def in_reactor(function: Callable[[], Any]) -> Deferred[Any]:
    """Call a function in the reactor's thread, now or as soon as the reactor runs.

    Returns:
        Fires there with the function's result.

    Fails with:
        ForkedProcess: the reactor's thread stayed in the parent of this process.
    """
    try:
        check_not_forked()
    except ForkedProcess:
        return fail()
    result: Deferred[Any] = Deferred()

    def call() -> None:
        maybeDeferred(function).chainDeferred(result)

    if not is_running():
        global_reactor().callWhenRunning(call)
    elif isInIOThread():
        call()
    else:
        global_reactor().callFromThread(call)
    return result


@define
class _BlockingCalls:
    """Settings for blocking calls in the reactor's thread.

    Attributes:
        are_allowed: run them with a warning instead of refusing them.
        places: files and lines with a warning in the log.
    """

    are_allowed: bool = False
    places: set[tuple[str, int]] = Factory(set)


blocking_calls: Final = _BlockingCalls()
"""Set by `install`."""

_log = Logger()


def check_may_block(what: str, instead: str) -> None:
    """Refuse a blocking call in the reactor's thread, or warn once for each place.

    Args:
        what: name of the call.
        instead: a call that does not block.

    Raises:
        InReactorThread: this is the reactor's thread, and it must not block.
    """
    if not in_reactor_thread():
        return
    if not blocking_calls.are_allowed:
        raise InReactorThread(
            f"{what} waits, and would block the reactor; use {instead} instead, "
            "or call it with deferToThread"
        )
    place = _caller()
    if place not in blocking_calls.places:
        blocking_calls.places.add(place)
        file, line = place
        _log.warn(
            "{file}:{line}: {what} blocks the reactor; use {instead} instead, or call it with "
            "deferToThread",
            file=file,
            line=line,
            what=what,
            instead=instead,
        )


def _caller() -> tuple[str, int]:
    """Return the file and line of the program that called this package or redis-py."""
    frame = sys._getframe(1)  # noqa: SLF001 (as in logging and warnings)
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in {"opentera_twisted", "redis"}
