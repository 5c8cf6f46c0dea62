"""The log's destination: the one that twistd would have used."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Mapping
from typing import IO, Any

from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LegacyLogObserverWrapper,
    LogEvent,
    LogLevel,
    formatEventAsClassicLogText,
)

from opentera_twisted._internal.printable import escape_unencodable, printable
from opentera_twisted.program.log.bounded import Bounded
from opentera_twisted.program.log.lines import json_line
from opentera_twisted.program.log.log_file import RotatedFile
from opentera_twisted.program.log.unblocked import finish, unblocked


def has_own_format(twistd: Mapping[str, Any]) -> bool:
    """Return True if twistd's own options determine the log's format."""
    return bool(twistd.get("logger") or twistd.get("syslog"))


def log_observer(twistd: Mapping[str, Any], log_format: str, reactor: Any) -> ILogObserver | None:
    """Make the observer that writes the log; None leaves it to twistd."""
    if twistd.get("logger") or (twistd.get("logfile") == "-" and not twistd.get("nodaemon")):
        return None
    observer: Any
    if twistd.get("syslog"):
        from twisted.python import syslog  # noqa: PLC0415 (not on every system)

        emit: Any = syslog.SyslogObserver(twistd["prefix"]).emit
        observer = LegacyLogObserverWrapper(emit)
    else:
        form = json_line if log_format == "json" else _line
        file = unblocked(_file(twistd, reactor), lambda count: form(_lost(count)))
        observer = FileLogObserver(file, form)
    bounded = Bounded(
        observer, lambda seconds, call: reactor.callFromThread(reactor.callLater, seconds, call)
    )

    def end() -> None:
        bounded.flush()
        finish()  # twistd ends with the signal that stopped it, and runs no exit handler

    reactor.addSystemEventTrigger("after", "shutdown", end)
    return bounded


def _line(event: LogEvent) -> str | None:
    """Format an event as twistd does, with text from other programs made printable."""
    text = formatEventAsClassicLogText(event)
    return None if text is None else printable(text)


def _lost(count: int) -> LogEvent:
    return {
        "log_time": time.time(),
        "log_level": LogLevel.warn,
        "log_namespace": __name__,
        "log_format": "lost {count} lines of the log: the reader was too slow",
        "count": count,
    }


def _file(twistd: Mapping[str, Any], reactor: Any) -> IO[Any]:
    """Open the log: standard output, or a file that SIGUSR1 rotates."""
    name = twistd.get("logfile")
    if name == "-" or (not name and twistd.get("nodaemon")):
        escape_unencodable(sys.stdout)
        return sys.stdout
    path = name or "twistd.log"
    file: Any = RotatedFile.fromFullPath(path)  # type: ignore[no-untyped-call]
    if not signal.getsignal(signal.SIGUSR1):
        signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(file.rotate))
    return file  # type: ignore[no-any-return]
