"""Run a Redis-compatible server as a child process that ends with this process.

::

    stopped --startService--> starting --"Ready to accept connections"--> ready
    starting --"Server initialized"--> loading its data --"Ready to accept connections"--> ready
    starting, loading --ends--> failed (`EmbeddedServer.ready` says why)
    ready --ends--> waiting, 1 s to 10 s --> starting, now without "failed"
    any --stopService--> stopping --ends--> stopped

``guard.py`` starts the server, and ends it when this process ends for any reason. Only
`EmbeddedServer.startService` starts it, because twistd daemonizes before that call.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IProcessProtocol, IProcessTransport
from twisted.logger import Logger

from opentera_twisted._internal.clock import clock_of
from opentera_twisted._internal.waiters import Waiters
from opentera_twisted.embedded.process import (
    EmbeddedServerError,
    GuardMode,
    ServerProcess,
    find_server,
    free_port,
    guarded,
)
from opentera_twisted.errors import InvalidArgument

LOOKED: Final = 15.0
"""Seconds between looks at a server that is not ready, each with a line in the log."""

LOOKS: Final = 20
"""Looks at a server that is not loading data, until `EmbeddedServer.ready` fails.

A busy machine makes a server late, and its end is noticed without a look.
"""

KILL_AFTER: Final = 10.0
"""Seconds from SIGTERM to SIGKILL when the server is stopped."""

RESTART_AFTER: Final = 1.0
"""Seconds from the server's death to its restart; the delay doubles with each death."""

RESTART_AFTER_AT_MOST: Final = 10.0
"""Longest delay; a server that was ready for as long restarts with the shortest delay."""

GUARD_MODE: GuardMode = "prctl" if sys.platform == "linux" else "pipe"
"""Way in which ``guard.py`` detects the end of this process."""

_NAMED_LINES: Final = 3

_log = Logger()


class ProcessReactor(Protocol):
    """Required methods of the reactor, from ``IReactorProcess`` and ``IReactorTime``."""

    def seconds(self) -> float:
        """Return the time in seconds since an arbitrary moment."""

    def callLater(
        self,
        delay: float,
        callable: Callable[..., object],  # noqa: A002 - Twisted's name
        *args: object,
        **kwargs: object,
    ) -> IDelayedCall:
        """Call a function after a delay in seconds."""

    def spawnProcess(
        self,
        processProtocol: IProcessProtocol,
        executable: bytes | str,
        args: Sequence[bytes | str],
        *,
        env: Mapping[str, str] | None = None,
        childFDs: Mapping[int, int | str] | None = None,
    ) -> IProcessTransport:
        """Start a process."""


class EmbeddedServer(Service):
    """A Redis-compatible child process of this program, which restarts it when it dies.

    Args:
        reactor: starts the process and keeps time. Its thread must live as long as the program: on
            Linux, the server ends with the thread that started it.
        port: port to listen on; 0 chooses a free one.
        host: the only address to listen on.
        directory: directory of the data (append-only file), created with mode 0o700 if absent. None
            keeps the data in memory and leaves no file behind.

    Attributes:
        host: address of the server.
        port: port of the server, as given or chosen.
        url: URL for clients, such as ``redis://127.0.0.1:6379/0``.

    Raises:
        InvalidArgument: ``host`` or ``directory`` contains a line break or NUL.
        OSError: ``port`` is 0 and ``host`` is not an address of this machine.

    Example:
        >>> from twisted.internet import reactor
        >>> server = EmbeddedServer(reactor, port=0)
        >>> server.startService()
        >>> await server.ready()
        >>> await server.stopService()
    """

    def __init__(
        self,
        reactor: ProcessReactor,
        port: int = 6379,
        host: str = "127.0.0.1",
        directory: str | os.PathLike[str] | None = None,
    ) -> None:
        self._reactor = reactor
        self._clock = clock_of(reactor)
        self._directory = None if directory is None else str(Path(directory).absolute())
        for value in (host, self._directory or ""):
            if not {"\n", "\r", "\0"}.isdisjoint(value):
                raise InvalidArgument(f"{value!r}: line breaks and NUL are not allowed")
        self.host = host
        self.port = port or free_port(host)
        self._address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self.url = f"redis://{self._address}/0"
        self._process: ServerProcess | None = None
        self._scratch: str | None = None
        self._restart: IDelayedCall | None = None
        self._restart_after = RESTART_AFTER
        self._kill: IDelayedCall | None = None
        self._served = False
        self._failure: str | None = None
        self._waiting_for_ready: dict[Deferred[None], IDelayedCall] = {}
        self._waiting_for_end: Waiters[None] = Waiters()

    def startService(self) -> None:
        """Start the server; `ready` reports the result."""
        self.running = 1
        self._served = False
        self._failure = None
        self._restart_after = RESTART_AFTER
        if self._process is None and self._restart is None:
            self._start()  # otherwise it starts when the stopping process has ended

    def ready(self) -> Deferred[None]:
        """Wait until the server accepts connections.

        Returns:
            Fires with None, at once if the server is ready.

        Fails with:
            EmbeddedServerError: it did not start, ended or was stopped; the message names the
                cause. Or it neither became ready nor began to load data within 5 minutes; then it
                keeps starting.
        """
        process = self._process
        if process is not None and process.ready_at is not None and self._kill is None:
            return succeed(None)
        if self._failure is not None:
            return fail(EmbeddedServerError(self._failure))
        waiter: Deferred[None] = Deferred(self._wait_no_longer)
        self._look_later(waiter, LOOKS)
        return waiter

    def _wait_no_longer(self, waiter: Deferred[None]) -> None:
        timeout = self._waiting_for_ready.pop(waiter, None)
        if timeout is not None:
            timeout.cancel()

    def _look_later(self, waiter: Deferred[None], looks: int) -> None:
        self._waiting_for_ready[waiter] = self._clock.callLater(
            LOOKED, self._look, waiter, looks - 1
        )

    def stopService(self) -> Deferred[None]:
        """Stop the server: SIGTERM, then SIGKILL after 10 s.

        Returns:
            Fires with None when its process has ended, at once without a process.
        """
        self.running = 0
        if self._restart is not None:
            self._restart.cancel()
            self._restart = None
        self._end_waiting(f"the embedded server on {self._address} was stopped")
        if self._process is None:
            return succeed(None)
        if self._kill is None:
            self._process.signal(signal.SIGTERM)
            self._kill = self._clock.callLater(KILL_AFTER, self._process.kill)
        return self._waiting_for_end.wait()

    def _start(self) -> None:
        """Start a process, or report why it cannot start."""
        self._restart = None
        try:
            server = find_server()
            if self._directory is not None:
                Path(self._directory).mkdir(mode=0o700, parents=True, exist_ok=True)
            else:
                self._scratch = tempfile.mkdtemp(prefix="opentera-")
            process = ServerProcess(self._configuration(), self._is_ready, self._has_ended)
            child_fds: dict[int, int | str] = {0: "w", 1: "r", 2: "r"}
            if GUARD_MODE == "pipe":
                child_fds[3] = "w"  # never written: it closes with this process
            command = guarded(GUARD_MODE, server, "-")
            self._reactor.spawnProcess(
                process,
                command[0],
                command,
                env=None,  # this process's environment, which may locate Python's libraries
                childFDs=child_fds,
            )
        except (EmbeddedServerError, OSError) as error:
            self._remove_scratch()
            self._has_failed(f"the embedded server cannot be started: {error}")
        else:
            self._process = process

    def _configuration(self) -> bytes:
        """Write the server's configuration, in the format of ``redis.conf``."""
        lines = [
            b"bind " + _quoted(self.host),
            b"port %d" % self.port,
            b"protected-mode yes",
            b"daemonize no",
            b"databases 16",
            b"loglevel notice",
            b'logfile ""',
            b"dir " + _quoted(self._directory or self._scratch or ""),
            b'save ""',
            b"appendonly no" if self._directory is None else b"appendonly yes",
        ]
        return b"\n".join([*lines, b""])

    def _is_ready(self, process: ServerProcess) -> None:
        """Report that the process accepts connections."""
        if self._kill is not None:
            return  # stopped meanwhile
        process.ready_at = self._clock.seconds()
        self._served = True
        self._remove_scratch()
        _log.info(
            "embedded server ready on {address}, process {pid}",
            address=self._address,
            pid=process.pid,
        )
        self._end_waiting(None)

    def _has_ended(self, process: ServerProcess, how: str) -> None:
        """Handle the end of a process, requested or not."""
        self._process = None
        self._remove_scratch()
        if self._kill is None:
            served_from = process.ready_at
            now = self._clock.seconds()
            if served_from is not None and now - served_from >= RESTART_AFTER_AT_MOST:
                self._restart_after = RESTART_AFTER
            self._has_failed(self._cause(process, how))
            return
        if self._kill.active():
            self._kill.cancel()
        self._kill = None
        _log.info("embedded server on {address} stopped: {how}", address=self._address, how=how)
        if self.running:
            self._start()
        self._waiting_for_end.fire(None)

    def _cause(self, process: ServerProcess, how: str) -> str:
        """Explain the unrequested end of a process."""
        if any("address already in use" in line.lower() for line in process.last_lines):
            return f"something else listens on {self._address}"
        return f"the embedded server on {self._address} ended ({how}): {_said(process)}"

    def _has_failed(self, cause: str) -> None:
        """Restart later if it was ready since `startService`, else fail."""
        if self._served:
            seconds = self._restart_after
            self._restart_after = min(2 * seconds, RESTART_AFTER_AT_MOST)
            self._restart = self._clock.callLater(seconds, self._start)
            self._end_waiting(cause)
            _log.error(
                "{cause}; starting it again in {seconds:g} s{loss}",
                cause=cause,
                seconds=seconds,
                loss="; its data, in memory only, is lost" if self._directory is None else "",
            )
        else:
            self._failure = cause
            self._end_waiting(cause)
            _log.error("{cause}", cause=cause)

    def _look(self, waiter: Deferred[None], looks: int) -> None:
        """Log why a waiter still waits; fail it after the last look."""
        process = self._process
        if process is not None and process.is_loading:
            _log.info("embedded server on {address} still loads its data", address=self._address)
            self._look_later(waiter, LOOKS)
            return
        if looks:
            _log.warn(
                "embedded server on {address} is not ready yet: {said}",
                address=self._address,
                said=_said(process),
            )
            self._look_later(waiter, looks)
            return
        del self._waiting_for_ready[waiter]
        waiter.errback(
            EmbeddedServerError(
                f"the embedded server on {self._address} is not ready after {LOOKS * LOOKED:g} s: "
                f"{_said(process)}"
            )
        )

    def _end_waiting(self, cause: str | None) -> None:
        """Fire all waiters for readiness, or fail them with a cause."""
        waiting, self._waiting_for_ready = self._waiting_for_ready, {}
        for timeout in waiting.values():
            timeout.cancel()
        for waiter in waiting:
            if waiter.called:
                continue  # an earlier callback has cancelled it
            if cause is None:
                waiter.callback(None)
            else:
                waiter.errback(EmbeddedServerError(cause))

    def _remove_scratch(self) -> None:
        """Remove the working directory of a server without stored data.

        Remove it when the server is ready, so that none remains if this process is killed. The
        server then works in a deleted directory, where a client's ``SAVE`` fails harmlessly.
        """
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None


def _said(process: ServerProcess | None) -> str:
    """Join the last lines of a process's output."""
    lines = [] if process is None else [*process.last_lines][-_NAMED_LINES:]
    return " | ".join(lines) or "it said nothing"


def _quoted(value: str) -> bytes:
    """Quote a value for ``redis.conf``."""
    return b'"' + os.fsencode(value).replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
