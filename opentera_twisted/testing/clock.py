"""A clock of tests: what is to run in threads runs at once, in the same one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure


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

    def callFromThread(self, callable: Callable[..., Any], *args: Any, **kwargs: Any) -> None:  # noqa: A002 (Twisted's name)
        """Call a function."""
        callable(*args, **kwargs)
