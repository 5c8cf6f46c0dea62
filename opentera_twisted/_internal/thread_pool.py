"""`ThreadPool`: a bounded number of threads for one purpose, which says what holds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, Final

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from opentera_twisted._internal import callbacks
from opentera_twisted._internal.clock import clock_of
from opentera_twisted.errors import InvalidArgument

THREADS: Final = 32
"""Threads of a pool, unless its owner asks for another number."""

PATIENCE: Final = 5.0
"""Seconds until a function that waits for a thread is refused, or warned of."""


class NoThread(Exception):
    """No thread became free in time; the message says what holds them."""


class ThreadPool:
    """Threads of one owner: what blocks there delays no other owner's functions.

    Args:
        owner: named in warnings, such as ``procedures of Sum``.
        size: number of threads; they start when they are needed.

    Raises:
        InvalidArgument: the size is no integer ≥ 1.
    """

    _log = Logger()

    def __init__(self, owner: str, size: int = THREADS) -> None:
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise InvalidArgument(f"expected a number of threads ≥ 1, not {size!r}")
        self._owner = owner
        self._size = size
        self._executor: Executor | None = None
        self._pending: dict[Future[Any], str] = {}
        self._has_warned = False

    def run(
        self,
        reactor: Any,
        name: str,
        function: Callable[..., Any],
        *arguments: Any,
        refuse: bool = False,
    ) -> Deferred[Any]:
        """Call a function in a thread; called in the reactor's thread.

        Args:
            reactor: of the thread that calls.
            name: of the function, for warnings.
            function: may block; a coroutine or Deferred that it returns ends in the reactor.
            arguments: for the function.
            refuse: fail when no thread is free for `PATIENCE` seconds; otherwise wait on.

        Returns:
            Fires with the result.

        Fails with:
            NoThread: all threads are busy, or none can start; the function does not run.
        """
        if self._executor is None:
            # A reactor of tests has no threads, and brings its own executor.
            make = getattr(reactor, "make_executor", ThreadPoolExecutor)
            self._executor = make(self._size, self._owner)
        result: Deferred[Any] = Deferred()
        calls = [function]
        try:
            future = self._executor.submit(lambda: calls.pop()(*arguments))
        except RuntimeError as error:  # the system has no thread to spare, or the program ends
            calls.clear()  # the executor keeps what it has no thread for
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
        """Let the threads end once their functions have returned."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False)

    def _over(self, future: Future[Any], result: Deferred[Any]) -> None:
        self._pending.pop(future, None)
        if len(self._pending) <= self._size:
            self._has_warned = False
        if result.called:
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
        held = Counter(name for one, name in self._pending.items() if one.running())
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
