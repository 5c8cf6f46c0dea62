"""Calls that other threads and event loops make in the reactor's thread, and wait for."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from opentera_twisted._internal import callbacks
from opentera_twisted.errors import BusUnavailable


class ThreadCall:
    """A call in the reactor's thread, for which another thread waits.

    Args:
        on_over: called in the reactor's thread when it has ended, to release the waiting thread.
        function: function to call; it may return a Deferred or a coroutine.
        arguments: arguments of the function.
    """

    def __init__(
        self, on_over: Callable[[ThreadCall], None], function: Callable[..., Any], *arguments: Any
    ) -> None:
        self._on_over = on_over
        self._function = function
        self._arguments = arguments
        self._outcome: Deferred[Any] | None = None
        self._value: Any = None
        self._is_over = False
        self._over = threading.Lock()  # locked until it has ended: the cheapest way to wait
        self._over.acquire()

    def start(self) -> None:
        """Call the function, in the reactor's thread."""
        if self._is_over:
            return
        try:
            result = self._function(*self._arguments)
        except BaseException:  # noqa: BLE001 (passed to the waiting thread)
            self.end(Failure())
            return
        result = callbacks.outcome(result)
        if isinstance(result, Deferred):
            self._outcome = result
            result.addBoth(self.end)
        else:
            self.end(result)

    def end(self, value: Any) -> None:
        """End the call with a value or a ``Failure``."""
        if not self._is_over:
            self._is_over = True
            self._value = value
            self._on_over(self)

    def release(self) -> None:
        """Release the waiting thread."""
        self._over.release()

    def give_up(self) -> None:
        """End the call without a result, in the reactor's thread."""
        self.end(None)
        if self._outcome is not None:
            self._outcome.cancel()

    def wait(self, seconds: float = -1) -> Any:
        """Wait for the result in another thread.

        Returns:
            The result.

        Raises:
            TimeoutError: it did not end in time.
            Exception: error of the function.
        """
        if not self._over.acquire(timeout=seconds):
            raise TimeoutError
        if isinstance(self._value, Failure):
            self._value.raiseException()
        return self._value

    @property
    def is_over(self) -> bool:
        """True when the call has ended."""
        return self._is_over


class LoopCall(ThreadCall):
    """A call in the reactor's thread, for which a coroutine of the running event loop waits.

    Args:
        on_over: as in `ThreadCall`.
        function: as in `ThreadCall`.
        arguments: as in `ThreadCall`.

    Attributes:
        future: future of the event loop, for the result.
    """

    def __init__(
        self, on_over: Callable[[ThreadCall], None], function: Callable[..., Any], *arguments: Any
    ) -> None:
        super().__init__(on_over, function, *arguments)
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self._loop.create_future()

    def release(self) -> None:
        """Continue the waiting coroutine, unless its event loop is closed."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._resolve)

    def _resolve(self) -> None:
        if self.future.done():
            return
        if not isinstance(self._value, Failure):
            self.future.set_result(self._value)
        elif self._value.check(CancelledError):
            self.future.cancel()
        else:
            error = self._value.value
            self.future.set_exception(error or RuntimeError(self._value.getErrorMessage()))


class ReactorThread:
    """The running reactor, and the calls to make in it.

    One wake-up starts many calls in one reactor iteration. Threads whose calls end in one iteration
    continue together, after it.
    """

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self._new: deque[ThreadCall] = deque()
        self._waker: int | None = None  # thread that wakes, or has woken, the reactor for new calls
        self._over: list[ThreadCall] = []
        self._under_way: set[ThreadCall] = set()
        self._is_stopped = False
        reactor.addSystemEventTrigger("before", "shutdown", self._stop)

    @property
    def is_running(self) -> bool:
        """True while the reactor runs."""
        return bool(self.reactor.running)

    def run(self, function: Callable[..., Any], *arguments: Any, within: float = -1) -> Any:
        """Make a call and wait for its result, in any other thread.

        Args:
            function: function to call; it may return a Deferred or a coroutine.
            arguments: arguments of the function.
            within: seconds; a negative number waits indefinitely.

        Returns:
            The result.

        Raises:
            BusUnavailable: the reactor was stopped.
            TimeoutError: it did not end in time.
            Exception: error of the function or of its Deferred.
        """
        call = ThreadCall(self._ended, function, *arguments)
        try:
            self._begin(call)
            return call.wait(within)
        finally:
            self._under_way.discard(call)
            if not call.is_over:
                self.reactor.callFromThread(self._give_up, call)

    async def run_in_loop(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Make a call and await its result, in any event loop; fails like `run`.

        Cancelling the coroutine cancels the function's Deferred, and the other way round.
        """
        call = LoopCall(self._ended, function, *arguments)
        try:
            self._begin(call)
            return await call.future
        finally:
            self._under_way.discard(call)
            if not call.is_over:
                self.reactor.callFromThread(self._give_up, call)

    def _begin(self, call: ThreadCall) -> None:
        # Without a lock: a finalizer, or Ctrl-C, may interrupt between any two lines.
        self._under_way.add(call)
        if self._is_stopped:  # checked last: `_stop` ends calls added earlier
            raise stopped()
        self._new.append(call)
        current = threading.get_ident()
        # A finalizer may have interrupted this thread's own wake-up.
        if self._waker in (None, current):
            self._waker = current
            self.reactor.callFromThread(self._begin_all)

    def _begin_all(self) -> None:
        """Start all new calls, in one reactor iteration."""
        self._waker = None  # first, so that later calls wake the reactor again
        while self._new:
            self._new.popleft().start()

    def _give_up(self, call: ThreadCall) -> None:
        call.give_up()
        self._begin_all()  # the interrupted thread may not have woken the reactor

    def _ended(self, call: ThreadCall) -> None:
        # Release threads together, after handling all calls: each would take the interpreter from
        # the reactor with its next system call.
        if not self._over:
            self.reactor.callLater(0, self._release_all)
        self._over.append(call)

    def _release_all(self) -> None:
        over, self._over = self._over, []
        for call in over:
            call.release()

    def _stop(self) -> None:
        """End all pending calls, so that no thread waits indefinitely."""
        self._is_stopped = True
        for call in list(self._under_way):
            call.end(Failure(stopped()))
        self._release_all()


def stopped() -> BusUnavailable:
    """Make the error for calls after the reactor's end."""
    return BusUnavailable("the reactor of this process was stopped, and cannot run again")
