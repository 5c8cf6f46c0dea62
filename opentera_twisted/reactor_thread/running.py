"""The reactor's thread: started when it is first needed, and called from all other threads.

A program that runs the reactor keeps it. Any other program gets one from crochet, which ends it
with the main thread. Nothing is started, and crochet is not imported, before it is needed. So
gunicorn, uWSGI or Celery can load a program and then fork it. Under Python 3.13, a thread that
crochet created before a fork cannot start after it, and the child would not end.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextvars import copy_context
from importlib.util import find_spec
from inspect import currentframe
from typing import Any, Final

from twisted.python.threadable import isInIOThread

from opentera_twisted._internal import callbacks
from opentera_twisted._internal.clock import make_steady
from opentera_twisted._internal.extras import explained
from opentera_twisted.errors import BusUnavailable, ForkedProcess, InReactorThread
from opentera_twisted.reactor_thread.real_threads import check_threads
from opentera_twisted.reactor_thread.thread_calls import ReactorThread, stopped

if find_spec("crochet") is None:
    raise explained(ModuleNotFoundError(name="crochet"))
check_threads()

START_WITHIN: Final = 10.0
"""Seconds until a started reactor must answer."""

_RUN_THE_REACTOR: Final = {
    ("twisted.application.app", "run"),
    ("twisted.internet.task", "react"),
}
"""Functions that call the program first, and then run the reactor in the same thread."""


class _Process:
    """State of this process.

    Attributes:
        lock: locked while the reactor is started.
        thread: the reactor's thread, once it was needed.
        is_forked: True if the parent had a running reactor, which a fork does not copy.
        inherited: unused reactor of the parent, or None.
    """

    def __init__(self, is_forked: bool = False, inherited: Any = None) -> None:
        self.lock = threading.Lock()
        self.thread: ReactorThread | None = None
        self.is_forked = is_forked
        self.inherited = inherited


_process = _Process()


def run(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function in the reactor's thread and wait for its result.

    Args:
        function: function that may return a Deferred or a coroutine.
        arguments: arguments of the function.

    Returns:
        Its result. An exception that interrupts the wait, such as Ctrl-C, abandons the call.

    Raises:
        InReactorThread: this is the reactor's thread.
        ForkedProcess: the reactor stayed in the parent of this process.
        PatchedThreads: gevent or eventlet has replaced the threads of this process.
        BusUnavailable: the reactor was stopped, or does not run.
        Exception: error of the function or of its Deferred.
    """
    thread = _process.thread
    if thread is None or not thread.is_running:
        thread = _start()
    if isInIOThread():
        raise InReactorThread(
            "this call blocks, and the reactor's thread must not wait for itself; use Bus and "
            "await its Deferreds, or call from another thread (deferToThread)"
        )
    return thread.run(function, *arguments)


async def run_in_loop(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function in the reactor's thread and await its result, in any event loop.

    The first call of a process starts the reactor, and blocks the loop until it runs.

    Args:
        function: function that may return a Deferred or a coroutine.
        arguments: arguments of the function.

    Returns:
        Its result. Cancelling the coroutine cancels the Deferred.

    Raises:
        ForkedProcess, PatchedThreads, BusUnavailable: as `run` raises.
        Exception: error of the function or of its Deferred.
    """
    thread = _process.thread
    if thread is None or not thread.is_running:
        thread = _start()
    return await thread.run_in_loop(function, *arguments)


def run_in_context(function: Callable[[], Any]) -> Any:
    """Run a function with a copy of this thread's context variables; otherwise like `run`."""
    return run(copy_context().run, _start_in_context, function)


async def run_in_loop_in_context(function: Callable[[], Any]) -> Any:
    """Run a function with a copy of the context variables; otherwise like `run_in_loop`."""
    return await run_in_loop(copy_context().run, _start_in_context, function)


def _start_in_context(function: Callable[[], Any]) -> Any:
    return callbacks.outcome(function())


def check_not_forked() -> None:
    """Check that this process has a reactor, or can have one.

    Raises:
        ForkedProcess: the reactor stayed in the parent of this process.
    """
    if _process.is_forked:
        raise ForkedProcess(
            "this process was forked after the bus was used, and the reactor's thread stayed in "
            "the parent. Use the bus only after the fork (a BlockingBus connects with its first "
            "call, so it may be made before), or start processes with spawn instead of fork"
        )


def running_reactor() -> Any:
    """Return the reactor while it runs in this process, in any thread; else None."""
    reactor = sys.modules.get("twisted.internet.reactor")
    is_running = not _process.is_forked and getattr(reactor, "running", False)
    return reactor if is_running else None


def _start() -> ReactorThread:
    """Start the reactor unless it is running."""
    check_not_forked()
    check_threads()
    with _process.lock:
        from twisted.internet import reactor  # noqa: PLC0415 (importing it installs it)

        is_running = reactor.running
        if not is_running:
            _check_no_caller_runs_it()
            if getattr(reactor, "_startedBefore", False):
                raise stopped()
            _check_not_inherited(reactor)
            import crochet  # noqa: PLC0415 (only after a fork)

            make_steady(reactor)
            crochet.setup()
        thread = _process.thread
        if thread is None:
            thread = _process.thread = ReactorThread(reactor)
        if not is_running:
            _wait_for(thread)
        return thread


def _check_no_caller_runs_it() -> None:
    """Check that no calling function runs the reactor next, which would already be running.

    Raises:
        InReactorThread: the call comes from a function given to ``react``, or from a twistd plugin.
    """
    frame = currentframe()
    while frame is not None:
        place = (frame.f_globals.get("__name__"), frame.f_code.co_name)
        if place in _RUN_THE_REACTOR:
            raise InReactorThread(
                f"this call blocks before {place[0]}.{place[1]} runs the reactor, and would "
                "start it in another thread; use Bus and await its Deferreds, or call from another "
                "thread once the reactor runs (deferToThread)"
            )
        frame = frame.f_back


def _check_not_inherited(reactor: Any) -> None:
    """Check that the reactor was made in this process.

    All children of a parent would share its epoll and its wake-up pipe, and take each other's
    wake-ups. Importing the bus makes no reactor.

    Raises:
        ForkedProcess: the parent made it.
    """
    if reactor is _process.inherited:
        raise ForkedProcess(
            "this process was forked after something had imported twisted.internet.reactor, and "
            "the reactor would be shared with the parent. Import it only after the fork, or start "
            "processes with spawn instead of fork"
        )


def _wait_for(thread: ReactorThread) -> None:
    """Wait until a started reactor answers."""
    try:
        thread.run(lambda: None, within=START_WITHIN)
    except TimeoutError:
        raise BusUnavailable(
            f"the reactor did not answer for {START_WITHIN:g} seconds; a program that has called "
            "crochet.no_setup() must run it, and uWSGI needs --enable-threads",
            seconds=START_WITHIN,
        ) from None


def _after_fork() -> None:
    global _process  # noqa: PLW0603 (a child is another process)
    was_starting = _process.lock.locked()
    reactor = sys.modules.get("twisted.internet.reactor")
    had_reactor = was_starting or getattr(reactor, "running", False)
    _process = _Process(_process.is_forked or had_reactor, inherited=reactor)


os.register_at_fork(after_in_child=_after_fork)
