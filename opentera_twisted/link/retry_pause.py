"""Retry what Redis refused, after a pause; log each cause once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from opentera_twisted.errors import BusError, CommandFailed, PermissionDenied

RETRY_DELAY: Final = 1.0
"""Seconds between attempts."""


class Retry:
    """Pauses between repeated attempts at an operation."""

    def __init__(self, clock: IReactorTime, log: Logger) -> None:
        self._clock = clock
        self._log = log
        self._logged = ""
        self._pause: Deferred[None] | None = None

    def succeeded(self) -> None:
        """Note a success, so that the next failure is logged, whatever its cause."""
        self._logged = ""

    def pause(self, what: str, error: BusError) -> Deferred[None]:
        """Wait after a failed attempt; log its cause unless it was the last one logged.

        Args:
            what: description of the delayed operation, for the log.
            error: error of the attempt.

        Returns:
            Fires when the next attempt is due.
        """
        cause = _cause(error)
        if cause != self._logged:
            self._logged = cause
            self._log.warn("{what}, trying again: {reason}", what=what, reason=str(error))
        pause: Deferred[None] = deferLater(self._clock, RETRY_DELAY)
        return pause

    def later(self, what: str, error: BusError, attempt: Callable[[], object]) -> None:
        """Schedule the next attempt in place of a scheduled one; otherwise like `pause`."""
        self.stop()
        self._pause = self.pause(what, error)
        self._pause.addCallbacks(lambda _: attempt(), lambda _: None)

    def stop(self) -> None:
        """Cancel the attempt that `later` has scheduled."""
        pause, self._pause = self._pause, None
        if pause is not None:
            pause.cancel()


def _cause(error: BusError) -> str:
    """Identify the cause of an error; its text also names the command.

    A script is sent as EVALSHA, or as EVAL if Redis does not have it yet.
    """
    if isinstance(error, PermissionDenied):
        return f"{error.code} {error.needs}"  # after one right is granted, another may be missing
    return error.code if isinstance(error, CommandFailed) else str(error)
