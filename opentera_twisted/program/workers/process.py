"""The process of one worker, as the parent sees it: start, channel, latest report and end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from attrs import asdict
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.logger import Logger, globalLogPublisher
from twisted.python.failure import Failure

from opentera_twisted._internal.child_process import exit_text, split_lines
from opentera_twisted.program.workers.channel import DESCRIPTOR, Channel, WorkerSettings
from opentera_twisted.program.workers.log import from_text

BOOTSTRAP: Final = Path(__file__).with_name("bootstrap.py")

State = Literal["starting", "listening", "ended"]


class Worker(ProcessProtocol):
    """A process that serves clients.

    Args:
        number: number from 1; a replacement has the number of the dead worker.
        settings: settings of the worker.
        changed: called when the state or readiness changes.
        has_ended: called with the cause when the process has ended and its output is read.

    Attributes:
        number: number from 1.
        pid: process ID.
        state: stage of the process's life.
        is_ready: True if clients can log in.
        lease: the gateway's name in Redis, once it listens.
        report: state for the admin endpoint; empty before the first report.
        silent: consecutive missed reports.
        idle: latest of the missed reports during which the process used no CPU.
    """

    _log = Logger()
    transport: IProcessTransport

    def __init__(
        self,
        number: int,
        settings: WorkerSettings,
        changed: Callable[[], None],
        has_ended: Callable[[Worker, str], None],
    ) -> None:
        self.number = number
        self.pid = 0
        self.state: State = "starting"
        self.is_ready = False
        self.lease: str | None = None
        self.report: Mapping[str, Any] = {}
        self.silent = 0
        self.idle = 0
        self._used = 0.0
        self._settings = settings
        self._changed = changed
        self._has_ended = has_ended
        self._unfinished = {1: b"", 2: b""}
        self._last_line = ""
        self._how: str | None = None
        self._has_said_all = False
        self._channel = Channel(
            {"listening": self._listening, "report": self._report, "log": self._logged},
            self._said_all,
        )

    def spawn(self, reactor: Any, descriptors: Sequence[int]) -> None:
        """Start the process with listening sockets.

        Raises:
            OSError: the system cannot start a process now.
        """
        here, there = socket.socketpair()
        with here, there:
            here.setblocking(False)
            there.setblocking(False)
            factory = Factory.forProtocol(lambda: self._channel)
            factory.noisy = False
            # First the steps that may fail here, such as for lack of descriptors.
            reactor.adoptStreamConnection(here.fileno(), socket.AF_UNIX, factory)
            inherited = enumerate([there.fileno(), *descriptors], start=DESCRIPTOR)
            module = type(reactor).__module__
            try:
                reactor.spawnProcess(
                    self,
                    sys.executable,
                    [sys.executable, "-P", str(BOOTSTRAP), str(self.number), module],
                    # Twisted also finds its plugins through the path.
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                    childFDs={0: "w", 1: "r", 2: "r", **dict(inherited)},
                )
            except OSError:
                self._channel.close()
                raise
        self._channel.tell("begin", asdict(self._settings), len(descriptors))

    def stop(self) -> None:
        """Request that the worker closes its clients and ends."""
        self._channel.tell("stop")

    def reload(self) -> None:
        """Request that the worker reloads its certificate."""
        self._channel.tell("reload")

    def metrics(self) -> Deferred[Any]:
        """Request the worker's metrics."""
        return self._channel.ask("metrics")

    def owes_a_report(self) -> None:
        """Count a due report, and check if the process used the CPU since the last one."""
        before, self._used = self._used, cpu_time(self.pid)
        self.silent += 1
        self.idle = min(self.idle, 0) if self._used > before else self.idle + 1

    def kill(self) -> None:
        """Kill the process."""
        with contextlib.suppress(ProcessExitedAlready):
            self.transport.signalProcess(signal.SIGKILL)

    def _listening(self, lease: str) -> None:
        self.lease = lease
        self.state = "listening"
        self._changed()

    def _report(self, is_ready: bool, report: Mapping[str, Any]) -> None:
        self.silent = self.idle = 0
        self.report = report
        if is_ready != self.is_ready:
            self.is_ready = is_ready
            self._changed()

    def _logged(self, text: str) -> None:
        globalLogPublisher(from_text(text, self.number))

    def connectionMade(self) -> None:
        """Note the process ID."""
        pid: Any = self.transport.pid
        self.pid = pid
        self.transport.closeStdin()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Log output outside the worker's log, such as Python's last words."""
        lines, self._unfinished[childFD] = split_lines(self._unfinished[childFD] + data)
        for line in filter(None, lines):
            self._last_line = line.decode(errors="replace")
            self._log.warn("worker {worker}: {line}", worker=self.number, line=self._last_line)

    def processEnded(self, reason: Failure) -> None:
        """Note the exit status."""
        for descriptor in self._unfinished:
            self.childDataReceived(descriptor, b"\n")
        how = exit_text(reason)
        if self._last_line and self.state == "starting":
            how += f", last line {self._last_line!r}"
        self._how = how
        self._check_end()

    def _said_all(self) -> None:
        self._has_said_all = True
        self._check_end()

    def _check_end(self) -> None:
        """End when both the process and its channel have: the last counts may arrive late."""
        if self._how is not None and self._has_said_all:
            self.state = "ended"
            self.is_ready = False
            self._has_ended(self, self._how)


def cpu_time(pid: int) -> float:
    """Read the CPU time that a process has used; 0 on a system without ``/proc``.

    Args:
        pid: process ID of a child that is not reaped yet.

    Returns:
        Ticks of the system's clock.

    Source: proc(5), ``/proc/pid/stat``, fields 14 and 15.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return 0.0
    user, system = text.rpartition(")")[2].split()[11:13]
    return float(user) + float(system)
