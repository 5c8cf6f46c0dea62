"""Calls from the reactor's thread to an event loop of another thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from inspect import isawaitable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of the calling coroutine.

    Raises:
        RuntimeError: no asyncio loop runs in this thread.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "no asyncio loop runs here; await AsyncioBus in a coroutine of asyncio, or use "
            "BlockingBus in a thread"
        ) from None


def in_loop(
    reactor: Any, loop: asyncio.AbstractEventLoop, function: Callable[..., Any]
) -> Callable[..., Deferred[Any]]:
    """Make a function that calls another in an event loop, and returns a Deferred of its result.

    Cancelling the Deferred cancels the other function's coroutine, and the other way round.
    """

    def call(*arguments: Any) -> Deferred[Any]:
        call = _Call(reactor, loop, function, arguments)
        try:
            loop.call_soon_threadsafe(call.start)
        except RuntimeError:  # the loop is closed
            call.fire(Failure())
        return call.outcome

    return call


class _Call:
    def __init__(
        self,
        reactor: Any,
        loop: asyncio.AbstractEventLoop,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
    ) -> None:
        self.outcome: Deferred[Any] = Deferred(self._cancelled)
        self._reactor = reactor
        self._loop = loop
        self._function = function
        self._arguments = arguments
        self._is_cancelled = False
        self._running: asyncio.Future[Any] | None = None

    def start(self) -> None:
        """Call the function, in the event loop."""
        if self._is_cancelled:
            return
        try:
            result = self._function(*self._arguments)
            if not isawaitable(result):
                self._end(result)
                return
            self._running = asyncio.ensure_future(result)
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 (passed to the reactor)
            self._end(Failure())
            return
        self._running.add_done_callback(self._done)

    def _done(self, running: asyncio.Future[Any]) -> None:
        if running.cancelled():
            self._end(Failure(CancelledError()))
            return
        error = running.exception()
        self._end(running.result() if error is None else Failure(error))

    def _end(self, value: Any) -> None:
        self._reactor.callFromThread(self.fire, value)

    def fire(self, value: Any) -> None:
        """Fire the Deferred, in the reactor's thread."""
        if not self.outcome.called:
            self.outcome.callback(value)

    def _cancelled(self, _: object) -> None:
        self._is_cancelled = True
        try:
            self._loop.call_soon_threadsafe(self._cancel)
        except RuntimeError:  # the loop is closed, and its tasks have ended
            return

    def _cancel(self) -> None:
        if self._running is not None:
            self._running.cancel()
