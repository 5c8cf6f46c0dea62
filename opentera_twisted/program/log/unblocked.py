"""A log stream that cannot block the reactor, even if its reader stalls."""

from __future__ import annotations

import atexit
import os
import stat
from collections import deque
from collections.abc import Callable, Mapping
from selectors import EVENT_WRITE, DefaultSelector
from threading import Condition, Thread
from typing import Any, Final, Literal

from opentera_twisted._internal.printable import ERRORS

MOST: Final = 1_048_576
"""Bytes queued to be written; further lines are dropped."""

PATIENCE: Final = 2.0
"""Seconds that the program's end waits for queued lines."""

CHECKS: Final = 20
"""Waits within `PATIENCE`. Count waits, not seconds, so that a stalled process gets its time."""

Log = Literal["program", "audit"]

_streams: list[Unblocked] = []


class Unblocked:
    """Writes lines to a pipe or terminal in its own thread.

    When the queue is full, it drops lines, and writes their number once there is room.

    Args:
        descriptor: file descriptor of the stream.
        encoding: encoding of the stream; other characters are escaped.
        lost: makes the line that reports the number of dropped lines.
        log: log that the lines belong to.

    Attributes:
        log: log that the lines belong to.
        lost_lines: number of lines lost so far.
    """

    def __init__(
        self,
        descriptor: int,
        encoding: str,
        lost: Callable[[int], str | None],
        log: Log = "program",
    ) -> None:
        self.log: Log = log
        self.lost_lines = 0
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
        """Queue a line."""
        line = self._encoded(text)
        with self._changed:
            if self._size + len(line) > MOST:
                self._dropped += 1
                self.lost_lines += 1
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
        """Do nothing: the thread writes lines at once."""

    def drain(self) -> None:
        """Wait a short time until the queue is empty; do not wait again for a stalled reader."""
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
            # Bypass Python's stream: its lock, held here, would abort the interpreter's exit.
            refused = 0
            try:
                self._write_all(memoryview(data))
            except OSError:  # the reader is gone, or the disk is full
                refused = data.count(b"\n")
            with self._changed:
                self.lost_lines += refused
                self._size -= len(data)
                self._changed.notify_all()

    def _write_all(self, left: memoryview) -> None:
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # another program has made the stream non-blocking
                with DefaultSelector() as selector:
                    selector.register(self._descriptor, EVENT_WRITE)
                    selector.select()


class UnblockedFile(Unblocked):
    """Writes lines to a file in its own thread, so that a slow disk does not block the reactor.

    Args:
        file: file with a method ``write`` for bytes; used by this thread alone.
        lost: makes the line that reports the number of dropped lines.
        log: log that the lines belong to.
    """

    def __init__(self, file: Any, lost: Callable[[int], str | None], log: Log = "program") -> None:
        super().__init__(-1, "utf-8", lost, log)
        self._file = file
        self._refused = 0

    def _write_all(self, left: memoryview) -> None:
        report = self._encoded(self._lost(self._refused) or "") if self._refused else b""
        try:
            self._file.write(report + left)
        except OSError:  # such as of a full disk
            self._refused += bytes(left).count(b"\n")
            raise
        else:
            self._refused = 0


def unblocked(stream: Any, lost: Callable[[int], str | None], log: Log = "program") -> Any:
    """Wrap a pipe or terminal so that it cannot block; return other streams unchanged."""
    try:
        descriptor = stream.fileno()
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
    except (AttributeError, OSError, ValueError):
        return stream
    return stream if is_file else Unblocked(descriptor, stream.encoding, lost, log)


def lost_by_log() -> Mapping[str, int]:
    """Count the lines lost so far, by log."""
    counts: dict[str, int] = {"program": 0, "audit": 0}
    for stream in _streams:
        counts[stream.log] += stream.lost_lines
    return counts


def finish() -> None:
    """Wait for each line from now on, as the program ends."""
    for stream in _streams:
        stream.finish()


def drain() -> None:
    """Wait for queued lines at the end of the program."""
    for stream in _streams:
        stream.drain()
