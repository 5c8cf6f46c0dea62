"""What other threads have done in the reactor's thread, and wait for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from opentera_twisted._internal import callbacks
from opentera_twisted.errors import BusUnavailable


class ThreadCall:
    """Something to be done in the reactor's thread, for which another thread waits.

    Args:
        on_over: called there when it is over, to let the other thread go on.
        function: called there; it may return a Deferred or a coroutine.
        arguments: for it.
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
        self._over = threading.Lock()  # held until it is: the lightest thing to wait for
        self._over.acquire()

    def start(self) -> None:
        """Begin, in the reactor's thread."""
        if self._is_over:
            return
        try:
            result = self._function(*self._arguments)
        except BaseException:  # noqa: BLE001 (goes to the thread that waits)
            self.end(Failure())
            return
        result = callbacks.outcome(result)
        if isinstance(result, Deferred):
            self._outcome = result
            result.addBoth(self.end)
        else:
            self.end(result)

    def end(self, value: Any) -> None:
        """It is over, with a value or a ``Failure``."""
        if not self._is_over:
            self._is_over = True
            self._value = value
            self._on_over(self)

    def release(self) -> None:
        """Let the thread that waits go on."""
        self._over.release()

    def give_up(self) -> None:
        """End it, in the reactor's thread; what comes of it interests nobody any more."""
        self.end(None)
        if self._outcome is not None:
            self._outcome.cancel()

    def wait(self, seconds: float = -1) -> Any:
        """Wait in another thread until it is over; its value.

        Raises:
            TimeoutError: it was not over in that time.
            Exception: what the function raised.
        """
        if not self._over.acquire(timeout=seconds):
            raise TimeoutError
        if isinstance(self._value, Failure):
            self._value.raiseException()
        return self._value

    @property
    def is_over(self) -> bool:
        """Whether the thread may go on."""
        return self._is_over


class ReactorThread:
    """The reactor that runs, and the calls that are for it.

    Many begin in one turn of the reactor, for one wake-up; and of those that end in one turn the
    threads go on together, after it.

    Args:
        reactor: running, or about to.
    """

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self._new: deque[ThreadCall] = deque()
        self._teller: int | None = None  # the thread that tells, or has told, the reactor of them
        self._over: list[ThreadCall] = []
        self._under_way: set[ThreadCall] = set()
        self._is_stopped = False
        reactor.addSystemEventTrigger("before", "shutdown", self._stop)

    @property
    def is_running(self) -> bool:
        """Whether the reactor runs."""
        return bool(self.reactor.running)

    def run(self, function: Callable[..., Any], *arguments: Any, within: float = -1) -> Any:
        """Have something done, and wait for what comes of it; called in any other thread.

        Args:
            function: it may return a Deferred or a coroutine.
            arguments: for it.
            within: seconds; negative waits for ever.

        Raises:
            BusUnavailable: the reactor was stopped.
            TimeoutError: it was not over in that time.
            Exception: whatever the function raised, or its Deferred failed with.
        """
        call = ThreadCall(self._ended, function, *arguments)
        try:
            self._begin(call)
            return call.wait(within)
        finally:
            self._under_way.discard(call)
            if not call.is_over:
                self.reactor.callFromThread(self._give_up, call)

    def _begin(self, call: ThreadCall) -> None:
        # Without a lock: a finalizer, or Ctrl-C, may come between any two lines.
        self._under_way.add(call)
        if self._is_stopped:  # asked last: what was added before is ended by `_stop`
            raise stopped()
        self._new.append(call)
        me = threading.get_ident()
        if self._teller in (None, me):  # itself: in a finalizer, it might never come to tell
            self._teller = me
            self.reactor.callFromThread(self._begin_all)

    def _begin_all(self) -> None:
        """Begin all that has come, in one turn of the reactor."""
        self._teller = None  # first: who comes later tells again
        while self._new:
            self._new.popleft().start()

    def _give_up(self, call: ThreadCall) -> None:
        call.give_up()
        self._begin_all()  # it may have been interrupted before it told of others

    def _ended(self, call: ThreadCall) -> None:
        # Threads go on together, when all that has come was handled: each would take the
        # interpreter from the reactor with its next system call.
        if not self._over:
            self.reactor.callLater(0, self._release_all)
        self._over.append(call)

    def _release_all(self) -> None:
        over, self._over = self._over, []
        for call in over:
            call.release()

    def _stop(self) -> None:
        """Let nobody wait for ever."""
        self._is_stopped = True
        for call in list(self._under_way):
            call.end(Failure(stopped()))
        self._release_all()


def stopped() -> BusUnavailable:
    """What is raised for whoever comes after the reactor's end."""
    return BusUnavailable("the reactor of this process was stopped, and cannot run again")
