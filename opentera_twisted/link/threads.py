"""A check that a link is used in the thread that runs its reactor."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from threading import current_thread, get_ident
from typing import Any

from twisted.internet.interfaces import IReactorFromThreads
from twisted.python import threadable

from opentera_twisted.errors import ForkedProcess, NotInReactorThread


class _Process:
    """State of this process.

    Attributes:
        inherited: reactor that ran in the parent of this process, or None.
    """

    inherited: Any = None


def thread_check(reactor: Any) -> Callable[[], None]:
    """Make a check for the users of a reactor, cheap enough for each command.

    Returns:
        Raises `NotInReactorThread` in another thread while the reactor runs, and `ForkedProcess`
        where it ran in the parent. A clock has no thread to check.
    """
    if not IReactorFromThreads.providedBy(reactor):
        return _nothing

    def check() -> None:
        if threadable.ioThread != get_ident() or _Process.inherited is not None:
            _explain(reactor)

    return check


def _nothing() -> None:
    pass


def _explain(reactor: Any) -> None:
    """Raise the error that names the mistake, if it is one."""
    if reactor is _Process.inherited:
        raise ForkedProcess(
            "this process was forked while the reactor ran, and the reactor stayed in the parent. "
            "Fork before the reactor runs, or start processes with spawn instead of fork"
        )
    if reactor.running and threadable.ioThread not in {None, get_ident()}:
        raise NotInReactorThread(
            f"a Bus works only in the reactor's thread, and this is {current_thread().name}; use "
            "BlockingBus in threads, or reactor.callFromThread(function) with a function that "
            "uses the Bus"
        )


def _after_fork() -> None:
    reactor = sys.modules.get("twisted.internet.reactor")
    if getattr(reactor, "running", False):
        _Process.inherited = reactor


os.register_at_fork(after_in_child=_after_fork)
