"""Handlers of a program, called in threads, where they may block."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from inspect import iscoroutinefunction
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from opentera_twisted._internal import callbacks
from opentera_twisted._internal.clock import clock_of
from opentera_twisted._internal.thread_pool import ThreadPool

MOST_WAITING: Final = 10_000
"""Maximum number of deliveries that wait for a handler; above it, the oldest are dropped."""

PAUSE: Final = 1.0
"""Seconds until a handler without a thread tries again."""


def in_thread(
    reactor: Any, threads: ThreadPool, what: str, function: Callable[..., Any]
) -> Callable[..., Any]:
    """Make a function that calls another in a thread, and returns a Deferred of its result.

    A coroutine function is returned as it is: it runs in the reactor's thread.
    """
    if iscoroutinefunction(function):
        return function

    def call(*arguments: Any) -> Deferred[Any]:
        return threads.run(reactor, what, function, *arguments)

    return call


class SerialQueue:
    """Call a handler in a thread, for one item at a time, in order.

    Args:
        reactor: provides the clock.
        threads: threads of the handler.
        what: description of the handler, for the log.
        handler: the handler, which may block.
        on_dropped: called once when deliveries were dropped and the queue is empty again.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        threads: ThreadPool,
        what: str,
        handler: Callable[..., Any],
        on_dropped: Callable[[], Any] | None = None,
    ) -> None:
        self._reactor = reactor
        self._threads = threads
        self._what = what
        self._handler = handler
        self._on_dropped = on_dropped
        self._waiting: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._is_running = False
        self._has_dropped = False
        self._is_ended = False

    def __call__(self, *arguments: Any) -> None:
        """Queue a call of the handler, in the reactor's thread."""
        self.call(self._handler, *arguments)

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Queue a call of another function, in order, unless the queue has ended."""
        if self._is_ended:
            return
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
            self._dropped()
        self._waiting.append((function, arguments))
        self._work()

    def end(self) -> None:
        """Stop calling functions."""
        self._is_ended = True
        self._waiting.clear()

    def _dropped(self) -> None:
        if self._has_dropped:
            return
        self._has_dropped = True
        self._log.warn(
            "{what} is too slow: more than {most} deliveries wait; dropping the oldest",
            what=self._what,
            most=MOST_WAITING,
        )

    def _work(self) -> None:
        if not self._is_running and self._waiting:
            self._is_running = True
            working = self._threads.run(self._reactor, self._what, self._call_all)
            working.addBoth(self._done)

    def _call_all(self) -> None:
        """Call the queued functions, in a thread."""
        while not self._is_ended:
            try:
                function, arguments = self._waiting.popleft()
            except IndexError:
                return
            callbacks.run_in_thread(self._reactor, self._what, function, *arguments)

    def _done(self, result: object) -> None:
        self._is_running = False
        if self._is_ended:
            return
        if isinstance(result, Failure):
            self._log.error("{what} waits: {cause}", what=self._what, cause=result.value)
            clock_of(self._reactor).callLater(PAUSE, self._work)
            return
        if self._has_dropped:
            self._has_dropped = False
            if self._on_dropped is not None:
                self._waiting.append((self._on_dropped, ()))
        self._work()


class ContextQueue(SerialQueue):
    """Call a handler in a thread, with the context variables of each delivery."""

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Queue a call of a function, in order, with a copy of the current context."""
        super().call(copy_context().run, function, *arguments)
