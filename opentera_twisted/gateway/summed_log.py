"""A log for lines that unauthenticated peers cause: the first of each kind, then a count."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger, LogLevel

INTERVAL: Final = 60.0
"""Seconds between two summaries."""

KINDS: Final = 1000
"""Kinds that are counted separately in an interval; all further kinds count as one."""


class SummedLog:
    """Logs the first line of each kind, and each minute the number of further ones."""

    def __init__(self, log: Logger, clock: IReactorTime) -> None:
        self._log = log
        self._more: dict[Hashable, int] = {}
        self._last: dict[Hashable, tuple[LogLevel, str, dict[str, Any]]] = {}
        self._flushing = LoopingCall(self.flush)
        self._flushing.clock = clock

    def start(self) -> None:
        """Start to log the summaries."""
        if not self._flushing.running:
            self._flushing.start(INTERVAL, now=False)

    def stop(self) -> None:
        """Log the last summaries, and stop."""
        if self._flushing.running:
            self._flushing.stop()
        self.flush()

    def add(self, kind: Hashable, level: LogLevel, text: str, /, **fields: Any) -> None:
        """Log a line, or count it.

        Args:
            kind: lines of one kind are summed up, such as those of an address and a reason.
            level: log level of the line.
            text: format of the line.
            fields: values of the format.
        """
        if kind not in self._more:
            if len(self._more) < KINDS:
                self._more[kind] = 0
                self._log.emit(level, text, **fields)
                return
            kind = None
        self._more[kind] = self._more.get(kind, 0) + 1
        self._last[kind] = (level, text, fields)

    def flush(self) -> None:
        """Log the number of further lines of each kind, with the last of them."""
        more, last = self._more, self._last
        self._more, self._last = {}, {}
        for kind, (level, text, fields) in last.items():
            self._log.emit(
                level, "{count} more within a minute, the last: " + text, count=more[kind], **fields
            )
