"""Warnings of forgotten awaits: results that nobody uses."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Generator
from typing import Any, TypeVar
from weakref import ref

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
        RuntimeWarning: when it is deleted, with the line that called the method.
    """
    # One that has fired could be taken by a chain unseen. Other versions of Twisted lack the list.
    if not result.called and "_callbacks" in vars(result):
        caller = sys._getframe(2)  # noqa: SLF001 (later, the calling line is unknown)
        result.__class__ = _NeedsUse
        watched: Any = result
        watched.watch((what, caller.f_code.co_filename, caller.f_lineno))
    return result


class _Callbacks(list[Any]):
    """Callbacks of a Deferred; one more is a use, such as ``addCallback`` or a chain."""

    def __init__(self, owner: _NeedsUse, callbacks: list[Any]) -> None:
        super().__init__(callbacks)
        self._owner = ref(owner)

    def append(self, item: Any) -> None:
        owner = self._owner()
        if owner is not None:
            owner.use()
        super().append(item)


class _NeedsUse(Deferred[Any]):
    """A Deferred that warns when it is deleted before anybody has used it."""

    _place: tuple[str, str, int] | None = None

    def watch(self, place: tuple[str, str, int]) -> None:
        """Note the call that made it, and watch its callbacks."""
        self._place = place
        self._callbacks = _Callbacks(self, self._callbacks)

    def use(self) -> None:
        """Note a use."""
        self._place = None

    def __iter__(self) -> Generator[Deferred[Any], None, Any]:
        self._place = None
        return super().__iter__()

    __await__ = __iter__

    def cancel(self) -> None:
        """Note the use."""
        self._place = None
        super().cancel()

    def __del__(self) -> None:
        # A chain takes the result away, and leaves None.
        is_lost = self.called and self.result is not None
        if self._place is not None and is_lost and not sys.is_finalizing():
            what, file, line = self._place
            message = f"the result of {what} was never used: write await before it"
            warnings.warn_explicit(message, RuntimeWarning, file, line)
