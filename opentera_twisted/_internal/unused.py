"""Warnings of forgotten awaits: results that nobody uses."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Generator
from types import CodeType
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


def needs_use(result: Deferred[T], what: str) -> Deferred[T]:
    """Warn if a Deferred that a public method returns is never used.

    Args:
        result: the Deferred; its class changes, as another Deferred would cost time.
        what: the method, such as ``bus.variables.get``.

    Returns:
        The same Deferred.

    Warns:
        RuntimeWarning: when it is deleted unused, after it fired with a result other than None. The
            warning names the line that called the method.
    """
    # A fired Deferred is not watched: a chain could take its result unnoticed. Some Twisted
    # versions have no _callbacks list.
    callbacks = getattr(result, "_callbacks", None)
    if not result.called and isinstance(callbacks, list):
        caller = sys._getframe(2)  # noqa: SLF001 (later, the calling line is unknown)
        result.__class__ = _NeedsUse
        watched: Any = result
        watched._callbacks = watching = _Callbacks(callbacks)  # noqa: SLF001
        watching.call = (what, caller.f_code, caller.f_lasti)
    return result


_Call = tuple[str, CodeType, int]
"""Name of a method, and the code and instruction that called it; lines take longer to find."""


class _Callbacks(list[Any]):
    """Callbacks of a Deferred; one more is a use, such as ``addCallback`` or a chain."""

    __slots__ = ("call",)

    call: _Call | None

    def append(self, item: Any) -> None:
        self.call = None
        super().append(item)


class _NeedsUse(Deferred[Any]):
    """A Deferred that warns when it is deleted before anybody has used it."""

    _callbacks: _Callbacks

    def __iter__(self) -> Generator[Deferred[Any], None, Any]:
        self._callbacks.call = None
        return super().__iter__()

    __await__ = __iter__

    def cancel(self) -> None:
        """Note the use."""
        self._callbacks.call = None
        super().cancel()

    def __del__(self) -> None:
        call = self._callbacks.call
        # A chain takes the result away, and leaves None.
        is_lost = self.called and self.result is not None
        if call is not None and is_lost and not sys.is_finalizing():
            what, code, instruction = call
            message = f"the result of {what} was never used: write await before it"
            warnings.warn_explicit(
                message, RuntimeWarning, code.co_filename, _line(code, instruction)
            )


def _line(code: CodeType, instruction: int) -> int:
    """Return the line of an instruction."""
    lines = (line for begin, end, line in code.co_lines() if begin <= instruction < end)
    return next(lines, None) or code.co_firstlineno
