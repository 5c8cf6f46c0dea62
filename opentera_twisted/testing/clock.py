"""A clock for tests, which runs functions for threads at once, in the calling thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure


class _Immediate(Executor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 (as a thread does)
            future.set_exception(error)
        return future


class MemoryClock(Clock):
    """``Clock`` with a thread pool that runs functions at once, in the calling thread.

    Example:
        >>> bus = MemoryBus()
        >>> result_of(bus.variables.set("greeting", "hello", ttl=60))
        True
        >>> bus.clock.advance(60)
        >>> result_of(bus.variables.get("greeting"))
    """

    def getThreadPool(self) -> MemoryClock:
        """Return this object."""
        return self

    def callInThreadWithCallback(
        self,
        onResult: Callable[[bool, Any], object],
        func: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Call a function and pass on its result."""
        try:
            result = func(*args, **kwargs)
        except Exception:  # noqa: BLE001 (as a thread of the pool does)
            onResult(False, Failure())
        else:
            onResult(True, result)

    def make_executor(self, size: int, name: str) -> Executor:
        """Make an executor that runs functions at once."""
        return _Immediate()

    def callFromThread(self, callable: Callable[..., Any], *args: Any, **kwargs: Any) -> None:  # noqa: A002 (Twisted's name)
        """Call a function."""
        callable(*args, **kwargs)
