"""A log stream that cannot block the reactor, though nobody reads it."""

from __future__ import annotations

import atexit
import os
import stat
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from selectors import EVENT_WRITE, DefaultSelector
from threading import Condition, Thread
from typing import Any, Final

from opentera_twisted._internal.printable import ERRORS

MOST: Final = 1_048_576
"""Bytes that wait to be written; further lines are dropped."""

PATIENCE: Final = 2.0
"""Seconds that the end of the program waits for what is left to be written."""

CHECKS: Final = 20
"""Waits in that time. They count, not seconds: a process that stood still has had no time."""

_streams: list[Unblocked] = []


class Unblocked:
    """Writes lines to a pipe or terminal in a thread of its own.

    Lines that come while too much waits are dropped. Their number is written once there is room.

    Args:
        descriptor: of the stream.
        encoding: of the stream; what it lacks is escaped.
        lost: makes the line that tells how many were dropped.
    """

    def __init__(self, descriptor: int, encoding: str, lost: Callable[[int], str | None]) -> None:
        self._descriptor = descriptor
        self._encoding = encoding
        self._lost = lost
        self._dropped = 0
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._changed = Condition()
        self._thread: Thread | None = None
        self._is_stuck = False
        self._is_last = False
        _streams.append(self)
        atexit.register(self.drain)

    def write(self, text: str) -> None:
        """Have a line written soon."""
        line = self._encoded(text)
        with self._changed:
            if self._size + len(line) > MOST:
                self._dropped += 1
                return
            if self._dropped:
                self._put(self._encoded(self._lost(self._dropped) or ""))
                self._dropped = 0
            self._put(line)
            if self._thread is None:
                self._thread = Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        if self._is_last:
            self.drain()

    def finish(self) -> None:
        """Wait for each line from now on: a signal may end the process right behind it."""
        self._is_last = True
        self.drain()

    def flush(self) -> None:
        """Do nothing: lines are written without being asked for."""

    def drain(self) -> None:
        """Wait until everything is written; not for long, and once only if nobody reads."""
        with self._changed:
            left = 0 if self._is_stuck else CHECKS
            while self._size and left:
                self._changed.wait(PATIENCE / CHECKS)
                left -= 1
            self._is_stuck = bool(self._size)

    def _encoded(self, text: str) -> bytes:
        return text.encode(self._encoding, errors=ERRORS)

    def _put(self, line: bytes) -> None:
        self._lines.append(line)
        self._size += len(line)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines)
                lines, self._lines = self._lines, deque()
            data = b"".join(lines)
            # Not through Python's stream: its lock, held here, would abort the interpreter's end.
            with suppress(OSError):  # the reader is gone
                self._write_all(memoryview(data))
            with self._changed:
                self._size -= len(data)
                self._changed.notify_all()

    def _write_all(self, left: memoryview) -> None:
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # a program that shares the stream has set it so
                with DefaultSelector() as selector:
                    selector.register(self._descriptor, EVENT_WRITE)
                    selector.select()


def unblocked(stream: Any, lost: Callable[[int], str | None]) -> Any:
    """The stream, or one in front of it that cannot block where it could: at pipes and terminals.

    Args:
        stream: to write text to.
        lost: makes the line that tells how many lines were dropped.
    """
    try:
        descriptor = stream.fileno()
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
    except (AttributeError, OSError, ValueError):
        return stream
    return stream if is_file else Unblocked(descriptor, stream.encoding, lost)


def finish() -> None:
    """Wait for each line from now on, as the program ends."""
    for stream in _streams:
        stream.finish()


def drain() -> None:
    """Wait for what is left to be written, at the end of the program."""
    for stream in _streams:
        stream.drain()
