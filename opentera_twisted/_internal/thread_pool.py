"""`ThreadPool`: a bounded number of threads for one purpose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Final

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from opentera_twisted._internal import callbacks
from opentera_twisted._internal.clock import clock_of
from opentera_twisted._internal.timeouts import check_positive

THREADS: Final = 32
"""Default number of threads in a pool."""

PATIENCE: Final = 5.0
"""Seconds until a function that waits for a thread is refused, or a warning is logged."""


class NoThread(Exception):
    """No thread became free in time; the message names the functions that occupy them."""


class ThreadPool:
    """Threads of one owner, whose blocking functions do not delay those of other owners.

    Args:
        owner: name for warnings, such as ``procedures of Sum``.
        size: maximum number of threads; they start when needed.

    Raises:
        InvalidArgument: the size is not an integer above 0.
    """

    _log = Logger()

    def __init__(self, owner: str, size: int = THREADS) -> None:
        check_positive("a number of threads", size)
        self._owner = owner
        self._size = size
        self._executor: Executor | None = None
        self._pending: dict[Future[Any], str] = {}
        self._has_warned = False
        self._is_stopped = False

    def run(
        self,
        reactor: Any,
        name: str,
        function: Callable[..., Any],
        *arguments: Any,
        refuse: bool = False,
    ) -> Deferred[Any]:
        """Call a function in a thread; must be called in the reactor's thread.

        Args:
            reactor: reactor of the calling thread.
            name: name of the function, for warnings.
            function: may block; a coroutine or Deferred that it returns runs in the reactor.
            arguments: arguments of the function.
            refuse: fail if no thread is free for `PATIENCE` seconds; otherwise keep waiting.

        Returns:
            Fires with the function's result. Cancelling it removes a function that waits for a
            thread.

        Fails with:
            NoThread: all threads are busy, none can start, or the pool was stopped; the function
                does not run.
        """
        executor = self._executor
        if executor is None:
            # A test's reactor has no threads, and provides its own executor.
            make = getattr(reactor, "make_executor", ThreadPoolExecutor)
            executor = self._executor = make(self._size, self._owner)
        if self._is_stopped:  # checked last: another thread may stop the pool meanwhile
            self.stop()
            return fail(NoThread(f"no thread for {self._owner}: the pool was stopped"))

        def cancel(_: object) -> None:
            future.cancel()

        result: Deferred[Any] = Deferred(cancel)
        calls = [function]
        try:
            future = executor.submit(lambda: calls.pop()(*arguments))
        except RuntimeError as error:  # no thread is available, or the program is exiting
            calls.clear()  # the executor keeps a function that has no thread
            return fail(NoThread(f"no thread for {self._owner}: {error}"))
        self._pending[future] = name
        late = None
        if len(self._pending) > self._size:
            late = clock_of(reactor).callLater(PATIENCE, self._late, future, result, refuse)

        def over() -> None:
            if late is not None and late.active():
                late.cancel()
            self._over(future, result)

        future.add_done_callback(lambda _: reactor.callFromThread(over))
        return result

    def stop(self) -> None:
        """End the threads after the functions that are running or waiting; accept no more."""
        self._is_stopped = True
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False)

    def _over(self, future: Future[Any], result: Deferred[Any]) -> None:
        self._pending.pop(future, None)
        if len(self._pending) <= self._size:
            self._has_warned = False
        if result.called or future.cancelled():
            return
        error = future.exception()
        if error is not None:
            result.errback(Failure(error, exc_tb=error.__traceback__))
            return
        value = callbacks.outcome(future.result())
        if isinstance(value, Deferred):
            value.chainDeferred(result)
        else:
            result.callback(value)

    def _late(self, future: Future[Any], result: Deferred[Any], refuse: bool) -> None:
        if future.running() or future.done():
            return
        held = Counter(name for pending, name in self._pending.items() if pending.running())
        names = ", ".join(f"{count} by {name}" for name, count in held.most_common(10))
        if not self._has_warned:
            self._has_warned = True
            self._log.warn(
                "all {size} threads for {owner} have been busy for {seconds:g} seconds: {names}",
                size=self._size,
                owner=self._owner,
                seconds=PATIENCE,
                names=names,
            )
        if refuse and future.cancel():
            result.errback(NoThread(f"all {self._size} threads are busy: {names}"))


class ContextThreadPool(ThreadPool):
    """Threads whose functions run in the context variables of their caller."""

    def run(
        self,
        reactor: Any,
        name: str,
        function: Callable[..., Any],
        *arguments: Any,
        refuse: bool = False,
    ) -> Deferred[Any]:
        """Call a function in a thread, with a copy of the current context."""
        run = copy_context().run
        return super().run(reactor, name, run, function, *arguments, refuse=refuse)
