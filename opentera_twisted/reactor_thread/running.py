"""The reactor's thread: started when it is needed first, and asked from all others.

A program that runs the reactor itself keeps it; any other gets one from crochet, which ends it
with the main thread. Nothing is started before it is needed: so a program may be loaded, and then
forked, by gunicorn, uWSGI or Celery.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from inspect import iscoroutine
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.python.threadable import isInIOThread

from opentera_twisted.errors import BusUnavailable, ForkedProcess, InReactorThread
from opentera_twisted.extras import explained

try:
    import crochet
except ModuleNotFoundError as error:
    raise explained(error) from None

START_WITHIN: Final = 10.0
"""Seconds in which a reactor that is to be running has to answer."""

POOL_SIZE: Final = 32
"""Threads in which handlers and procedures run."""


class Errand:
    """Something to be done in the reactor's thread, for which another thread waits.

    Args:
        on_over: called there when it is over, to let the other thread go on.
        function: called there; it may return a Deferred or a coroutine.
        arguments: for it.
    """

    def __init__(
        self, on_over: Callable[[Errand], None], function: Callable[..., Any], *arguments: Any
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
        if iscoroutine(result):
            result = Deferred.fromCoroutine(result)
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
    """The reactor that runs, and the errands that are for it.

    Args:
        reactor: running, or about to.
    """

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self._new: deque[Errand] = deque()
        self._teller: int | None = None  # the thread that tells, or has told, the reactor of them
        self._over: list[Errand] = []
        self._under_way: set[Errand] = set()
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
        errand = Errand(self._ended, function, *arguments)
        try:
            self._begin(errand)
            return errand.wait(within)
        finally:
            self._under_way.discard(errand)
            if not errand.is_over:
                self.reactor.callFromThread(self._give_up, errand)

    def _begin(self, errand: Errand) -> None:
        # Without a lock: a finalizer, or Ctrl-C, may come between any two lines.
        self._under_way.add(errand)
        if self._is_stopped:  # asked last: what was added before is ended by `_stop`
            raise _stopped()
        self._new.append(errand)
        me = threading.get_ident()
        if self._teller in (None, me):  # itself: in a finalizer, it might never come to tell
            self._teller = me
            self.reactor.callFromThread(self._begin_all)

    def _begin_all(self) -> None:
        """Begin all that has come, in one turn of the reactor."""
        self._teller = None  # first: who comes later tells again
        while self._new:
            self._new.popleft().start()

    def _give_up(self, errand: Errand) -> None:
        errand.give_up()
        self._begin_all()  # it may have been interrupted before it told of others

    def _ended(self, errand: Errand) -> None:
        # Threads go on together, when all that has come was handled: each would take the
        # interpreter from the reactor with its next system call.
        if not self._over:
            self.reactor.callLater(0, self._release_all)
        self._over.append(errand)

    def _release_all(self) -> None:
        over, self._over = self._over, []
        for errand in over:
            errand.release()

    def _stop(self) -> None:
        """Let nobody wait for ever."""
        self._is_stopped = True
        for errand in list(self._under_way):
            errand.end(Failure(_stopped()))
        self._release_all()


class _Process:
    """What is known of this process.

    Attributes:
        lock: held while the reactor is started.
        thread: the reactor's, once it was needed.
        is_forked: whether its parent had a running reactor, which did not come along.
        inherited: a reactor that its parent had made, and not run: txredisapi makes one as it is
            imported.
    """

    def __init__(self, is_forked: bool = False, inherited: Any = None) -> None:
        self.lock = threading.Lock()
        self.thread: ReactorThread | None = None
        self.is_forked = is_forked
        self.inherited = inherited


_process = _Process()


def run(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function in the reactor's thread, and wait for what comes of it.

    Args:
        function: it may return a Deferred or a coroutine.
        arguments: for it.

    Returns:
        Its result. An exception that interrupts the waiting, such as Ctrl-C, gives it up.

    Raises:
        InReactorThread: this is the reactor's thread.
        ForkedProcess: the reactor stayed in the parent of this process.
        BusUnavailable: the reactor was stopped, or does not run.
        Exception: whatever the function raised, or its Deferred failed with.
    """
    thread = _process.thread
    if thread is None or not thread.is_running:
        thread = _start()
    if isInIOThread():
        raise InReactorThread(
            "this call blocks, and the reactor's thread must not wait for itself: use Bus and "
            "await its Deferreds, or call from another thread (deferToThread)"
        )
    return thread.run(function, *arguments)


def check_not_forked() -> None:
    """See that this process has a reactor, or can have one.

    Raises:
        ForkedProcess: the reactor stayed in the parent of this process.
    """
    if _process.is_forked:
        raise ForkedProcess(
            "this process was forked after the bus had been used: the reactor's thread stayed in "
            "the parent. Use the bus only after the fork (a BlockingBus connects with its first "
            "call, so it may be made before), or start processes with spawn instead of fork"
        )


def _start() -> ReactorThread:
    """See that the reactor runs, in whatever thread."""
    check_not_forked()
    with _process.lock:
        from twisted.internet import reactor  # noqa: PLC0415 (importing it installs it)

        is_running = reactor.running
        if not is_running:
            if getattr(reactor, "_startedBefore", False):
                raise _stopped()
            if reactor is _process.inherited:
                _renew(reactor)
            crochet.setup()
        thread = _process.thread
        if thread is None:
            thread = _process.thread = ReactorThread(reactor)
        if not is_running:
            _wait_for(thread)
        return thread


def _renew(reactor: Any) -> None:
    """Make a reactor anew that has come through a fork: what was to be called stays.

    Otherwise all children of a parent have its epoll and its pipe for wake-ups in common, and each
    takes wake-ups that are meant for another.
    """
    kept = ("threadCallQueue", "_eventTriggers", "_pendingTimedCalls", "_newTimedCalls")
    calls = {name: getattr(reactor, name) for name in kept}
    reactor.__init__()
    vars(reactor).update(calls)


def _wait_for(thread: ReactorThread) -> None:
    """See that a reactor that has just been started answers."""
    try:
        thread.run(thread.reactor.suggestThreadPoolSize, POOL_SIZE, within=START_WITHIN)
    except TimeoutError:
        raise BusUnavailable(
            f"the reactor did not answer for {START_WITHIN:g} seconds: a program that has called "
            "crochet.no_setup() has to run it; uWSGI needs --enable-threads",
            seconds=START_WITHIN,
        ) from None


def _stopped() -> BusUnavailable:
    return BusUnavailable("the reactor of this process was stopped, and cannot run again")


def _after_fork() -> None:
    global _process  # noqa: PLW0603 (a child is another process)
    was_starting = _process.lock.locked()
    reactor = sys.modules.get("twisted.internet.reactor")
    had_reactor = was_starting or getattr(reactor, "running", False)
    _process = _Process(_process.is_forked or had_reactor, inherited=reactor)


os.register_at_fork(after_in_child=_after_fork)
