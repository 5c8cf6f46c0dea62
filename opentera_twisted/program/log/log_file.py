"""A log file whose rotation loses no line."""

from __future__ import annotations

from typing import Any

from twisted.python.logfile import LogFile


class RotatedFile(LogFile):
    """A log file to which threads and signal handlers may write during a rotation.

    Twisted closes the old file before it opens the new one, and would lose a line in between.
    """

    _file: Any
    _is_rotating = False

    def _openFile(self) -> None:
        super()._openFile()  # type: ignore[no-untyped-call]
        self._file = _Open(self._file)

    def rotate(self) -> None:
        """Rename the files and open a new one; until then, lines go to the old one."""
        if self._is_rotating:
            return
        self._is_rotating = True
        file = self._file
        file.is_kept = True
        try:
            super().rotate()  # type: ignore[no-untyped-call]
        finally:
            self._is_rotating = False
            file.is_kept = False


class _Open:
    """An open file, closed at the latest when its last reference is gone.

    Attributes:
        is_kept: True while `close` does nothing, because another thread may be about to write.
    """

    is_kept = False

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, data: bytes) -> None:
        """Write bytes; refers to this object meanwhile, which keeps the file open."""
        self._file.write(data)

    def flush(self) -> None:
        """Flush the file."""
        self._file.flush()

    def close(self) -> None:
        """Close the file, unless it is kept."""
        if not self.is_kept:
            self._file.close()

    def __del__(self) -> None:
        """Close the file."""
        self._file.close()
