"""A clock of tests: what is to run in threads runs at once, in the same one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure


class _AtOnce(Executor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 (as a thread does)
            future.set_exception(error)
        return future


class MemoryClock(Clock):
    """``Clock``, with a pool that has no threads: what should run in one runs at once."""

    def getThreadPool(self) -> MemoryClock:
        """Itself."""
        return self

    def callInThreadWithCallback(
        self,
        onResult: Callable[[bool, Any], object],
        func: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Call a function and hand over what comes of it."""
        try:
            result = func(*args, **kwargs)
        except Exception:  # noqa: BLE001 (as a thread of the pool does)
            onResult(False, Failure())
        else:
            onResult(True, result)

    def make_executor(self, size: int, name: str) -> Executor:
        """An executor that runs everything at once."""
        return _AtOnce()

    def callFromThread(self, callable: Callable[..., Any], *args: Any, **kwargs: Any) -> None:  # noqa: A002 (Twisted's name)
        """Call a function."""
        callable(*args, **kwargs)
