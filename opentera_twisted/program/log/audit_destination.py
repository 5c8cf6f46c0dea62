"""The destination of the audit log: a rotated file or standard error, written in its own thread."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any, Final

from twisted.logger import FileLogObserver, LogEvent

from opentera_twisted._internal.printable import escape_unencodable
from opentera_twisted.gateway.audit import NAMESPACE
from opentera_twisted.program.log.line_format import classic_line, json_line, lost_lines
from opentera_twisted.program.log.log_file import RotatedFile
from opentera_twisted.program.log.unblocked import UnblockedFile, unblocked

LENGTH: Final = 10_000_000
"""Bytes after which the file is rotated."""

KEPT: Final = 10
"""Rotated files that are kept."""

_PRIVATE: Final = 0o600
"""Permissions of a new file, which has addresses and UUIDs of people."""


class _Audit:
    """Passes on the events of the audit log."""

    def __init__(self, observer: FileLogObserver) -> None:
        self._observer = observer

    def __call__(self, event: LogEvent) -> None:
        """Write an event of the audit log."""
        if is_audit(event):
            self._observer(event)


def audit_observer(destination: str, log_format: str, reactor: Any) -> Any:
    """Make the observer that writes the audit log.

    Args:
        destination: path of a file, or ``stderr``.
        log_format: ``text`` or ``json``.
        reactor: reactor of the program, in which SIGUSR1 rotates the file.

    Raises:
        OSError: the file cannot be opened.
    """
    form = json_line if log_format == "json" else classic_line

    def lost(count: int) -> str | None:
        return form(lost_lines(count))

    if destination == "stderr":
        escape_unencodable(sys.stderr)
        return _Audit(FileLogObserver(unblocked(sys.stderr, lost, "audit"), form))
    mode = None if Path(destination).exists() else _PRIVATE
    make: Any = RotatedFile.fromFullPath
    file: Any = make(destination, LENGTH, mode, KEPT)
    _rotate_on_signal(file, reactor)
    unblocked_file: Any = UnblockedFile(file, lost, "audit")
    return _Audit(FileLogObserver(unblocked_file, form))


def _rotate_on_signal(file: Any, reactor: Any) -> None:
    """Rotate a file on SIGUSR1, besides what the signal does already."""
    before = signal.getsignal(signal.SIGUSR1)

    def rotate(number: int, frame: Any) -> None:
        reactor.callFromThread(file.rotate)
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGUSR1, rotate)


def is_audit(event: LogEvent) -> bool:
    """Return True for an event of the audit log."""
    return event.get("log_namespace") == NAMESPACE
