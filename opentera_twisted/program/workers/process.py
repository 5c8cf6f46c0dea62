"""One worker, as its parent sees it: its process, its channel, and what it has said last."""

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

START: Final = Path(__file__).with_name("start.py")

State = Literal["starting", "listening", "ended"]


class Worker(ProcessProtocol):
    """A process that serves clients.

    Args:
        number: from 1 on; one that takes another's place has its number.
        settings: what it is to do.
        changed: called when its state, or whether it is ready, changes.
        has_ended: called, with how, when its process has ended and all that it said was read.

    Attributes:
        pid: of its process.
        state: as far as it has come.
        is_ready: whether clients can log in there.
        lease: its gateway's name in Redis, once it listens.
        told: what the admin endpoint shows of it; empty until it has said so.
        silent: reports that it owes.
        idle: of these, the latest ones, in whose time its process did nothing.
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
        self.told: Mapping[str, Any] = {}
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
        """Start it, with listening sockets.

        Raises:
            OSError: the system does not start a process now.
        """
        here, there = socket.socketpair()
        with here, there:
            here.setblocking(False)
            there.setblocking(False)
            factory = Factory.forProtocol(lambda: self._channel)
            factory.noisy = False
            # First what may fail here, such as for want of descriptors: then there is no process.
            reactor.adoptStreamConnection(here.fileno(), socket.AF_UNIX, factory)
            inherited = enumerate([there.fileno(), *descriptors], start=DESCRIPTOR)
            module = type(reactor).__module__
            try:
                reactor.spawnProcess(
                    self,
                    sys.executable,
                    [sys.executable, "-P", str(START), str(self.number), module],
                    # Twisted's own folder of plugins is found through the path, too.
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                    childFDs={0: "w", 1: "r", 2: "r", **dict(inherited)},
                )
            except OSError:
                self._channel.close()
                raise
        self._channel.tell("begin", asdict(self._settings), len(descriptors))

    def stop(self) -> None:
        """Have it send its clients away and end."""
        self._channel.tell("stop")

    def reload(self) -> None:
        """Have it read its certificate again."""
        self._channel.tell("reload")

    def metrics(self) -> Deferred[Any]:
        """What Prometheus reads of it."""
        return self._channel.ask("metrics")

    def owes_a_report(self) -> None:
        """Count a report that is due, and notice when the process did nothing meanwhile."""
        before, self._used = self._used, cpu_time(self.pid)
        self.silent += 1
        self.idle = min(self.idle, 0) if self._used > before else self.idle + 1

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessExitedAlready):
            self.transport.signalProcess(signal.SIGKILL)

    def _listening(self, lease: str) -> None:
        self.lease = lease
        self.state = "listening"
        self._changed()

    def _report(self, is_ready: bool, told: Mapping[str, Any]) -> None:
        self.silent = self.idle = 0
        self.told = told
        if is_ready != self.is_ready:
            self.is_ready = is_ready
            self._changed()

    def _logged(self, text: str) -> None:
        globalLogPublisher(from_text(text, self.number))

    def connectionMade(self) -> None:
        """Its process has started."""
        pid: Any = self.transport.pid
        self.pid = pid
        self.transport.closeStdin()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Log what it writes beside its log: what Python says before it dies, for example."""
        lines, self._unfinished[childFD] = split_lines(self._unfinished[childFD] + data)
        for line in filter(None, lines):
            self._last_line = line.decode(errors="replace")
            self._log.warn("worker {worker}: {line}", worker=self.number, line=self._last_line)

    def processEnded(self, reason: Failure) -> None:
        """Remember how it ended."""
        for descriptor in self._unfinished:
            self.childDataReceived(descriptor, b"\n")
        how = exit_text(reason)
        if self._last_line and self.state == "starting":
            how += f", saying {self._last_line!r}"
        self._how = how
        self._look_whether_it_has_ended()

    def _said_all(self) -> None:
        self._has_said_all = True
        self._look_whether_it_has_ended()

    def _look_whether_it_has_ended(self) -> None:
        """What it said last, its counts among it, may be read after its process has ended."""
        if self._how is not None and self._has_said_all:
            self.state = "ended"
            self.is_ready = False
            self._has_ended(self, self._how)


def cpu_time(pid: int) -> float:
    """Read the CPU time that a process has used; 0 where the system has no ``/proc``.

    Args:
        pid: of a child, which is not reaped yet.

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
