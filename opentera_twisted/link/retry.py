"""What Redis did not take is tried again after a while, which is told once and not each time."""

from __future__ import annotations

from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from opentera_twisted.errors import BusError, CommandFailed, PermissionDenied

RETRY_DELAY: Final = 1.0
"""Seconds before what Redis did not take is tried again."""


class Retry:
    """The pauses between one's attempts at something.

    Args:
        clock: for the pauses.
        log: of the one who tries.
    """

    def __init__(self, clock: IReactorTime, log: Logger) -> None:
        self._clock = clock
        self._log = log
        self._told = ""

    def succeeded(self) -> None:
        """An attempt succeeded: the next failure is told, whatever it is."""
        self._told = ""

    def pause(self, what: str, error: BusError) -> Deferred[None]:
        """Wait after an attempt that failed, and say why unless that was said last.

        Args:
            what: is not done for now, for the log.
            error: why.

        Returns:
            Fires when it is time for the next attempt.
        """
        cause = _cause(error)
        if cause != self._told:
            self._told = cause
            self._log.warn("{what}, trying again: {reason}", what=what, reason=str(error))
        pause: Deferred[None] = deferLater(self._clock, RETRY_DELAY)
        return pause


def _cause(error: BusError) -> str:
    """What tells one cause from another: an error's text also names the command.

    A script is sent as EVALSHA, but as EVAL when Redis does not have it yet.
    """
    if isinstance(error, PermissionDenied):
        return f"{error.code} {error.needs}"  # when one right is given, another may be missing
    return error.code if isinstance(error, CommandFailed) else str(error)
