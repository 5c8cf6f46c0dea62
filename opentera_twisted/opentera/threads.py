"""Where existing programs call from: the reactor's thread, another one, or before it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.python.threadable import isInIOThread

from opentera_twisted.errors import ForkedProcess
from opentera_twisted.reactor_thread import check_not_forked


def global_reactor() -> Any:
    """The reactor of the process; whoever imports it installs it."""
    from twisted.internet import reactor  # noqa: PLC0415 (not before it is needed)

    return reactor


def is_running() -> bool:
    """Whether the reactor runs, in whatever thread."""
    return bool(global_reactor().running)


def in_reactor_thread() -> bool:
    """Whether the reactor runs, in this thread."""
    return is_running() and isInIOThread()


def in_reactor(function: Callable[[], Any]) -> Deferred[Any]:
    """Call a function in the reactor's thread, now or as soon as that runs.

    Returns:
        Fires there with what comes of it.

    Fails with:
        ForkedProcess: that thread stayed in the parent of this process.
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
