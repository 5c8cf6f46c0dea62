"""The log's destination: the one that twistd would have used."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping
from typing import IO, Any

from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LegacyLogObserverWrapper,
    LogEvent,
    LogLevel,
)
from zope.interface import implementer

from opentera_twisted._internal.printable import escape_unencodable
from opentera_twisted.program.log.audit_destination import is_audit
from opentera_twisted.program.log.bounded import Bounded
from opentera_twisted.program.log.line_format import classic_line, json_line, lost_lines
from opentera_twisted.program.log.log_file import RotatedFile
from opentera_twisted.program.log.unblocked import finish, unblocked


def has_own_format(twistd: Mapping[str, Any]) -> bool:
    """Return True if twistd's own options determine the log's format."""
    return bool(twistd.get("logger") or twistd.get("syslog"))


@implementer(ILogObserver)
class Selected:
    """Passes on the events of a level and above, without those of the audit log.

    Events of Twisted's old logging interface, such as the start of a factory, count as debug.

    Args:
        observer: receives the events.
        level: name of the lowest level.
    """

    def __init__(self, observer: Callable[[LogEvent], None], level: str) -> None:
        self._observer = observer
        self._least = LogLevel.levelWithName(level)

    def __call__(self, event: LogEvent) -> None:
        """Pass an event on, or drop it."""
        level = event.get("log_level", LogLevel.info)
        if level is LogLevel.info and event.get("log_namespace") == "log_legacy":
            level = LogLevel.debug
        if level >= self._least and not is_audit(event):
            self._observer(event)


def log_observer(
    twistd: Mapping[str, Any], log_format: str, log_level: str, reactor: Any
) -> ILogObserver | None:
    """Make the observer that writes the log; None leaves it to twistd."""
    if twistd.get("logger") or (twistd.get("logfile") == "-" and not twistd.get("nodaemon")):
        return None
    observer: Any
    if twistd.get("syslog"):
        from twisted.python import syslog  # noqa: PLC0415 (not on every system)

        emit: Any = syslog.SyslogObserver(twistd["prefix"]).emit
        observer = LegacyLogObserverWrapper(emit)
    else:
        form = json_line if log_format == "json" else classic_line
        file = unblocked(_file(twistd, reactor), lambda count: form(lost_lines(count)))
        observer = FileLogObserver(file, form)
    bounded = Bounded(
        observer, lambda seconds, call: reactor.callFromThread(reactor.callLater, seconds, call)
    )

    def end() -> None:
        bounded.flush()
        finish()  # twistd ends with the signal that stopped it, and runs no exit handler

    reactor.addSystemEventTrigger("after", "shutdown", end)
    return Selected(bounded, log_level)


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
