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

    def rotate(self) -> None:
        """Rename the files and open a new one; until then, lines go to the old one."""
        if self._is_rotating:
            return
        self._is_rotating = True
        file = self._file
        self._file = kept = _Open(file)
        try:
            super().rotate()  # type: ignore[no-untyped-call]
        finally:
            self._is_rotating = False
            if self._file is kept:  # the rotation failed, for lack of a permission
                self._file = file


class _Open:
    """A file that stays open until its last reference is gone."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def close(self) -> None:
        """Do nothing: another thread may be about to write."""
