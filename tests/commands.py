"""``opentera-bus`` in tests: as a process in pipes, and as one on a terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from .processes import ENVIRONMENT
from .support import RedisTestCase

COMMAND = (sys.executable, "-m", "opentera_twisted.cli")


class Result(NamedTuple):
    status: int
    output: str
    errors: str


class Running:
    """A command under way, its output and its errors apart; it is killed at the end of the test."""

    def __init__(self, *arguments: str, url: str, terminal: bool = False, **env: str) -> None:
        self.output = ""
        self.errors = ""
        self._changed = threading.Condition()
        self._open = 2
        self._terminal = -1
        stdout = subprocess.PIPE
        if terminal:
            self._terminal, stdout = pty.openpty()
        self._popen = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=stdout if terminal else subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env={
                **ENVIRONMENT,
                "REDIS_URL": url,
                "TERM": "xterm",
                "COLUMNS": "120",
                "LINES": "30",
                **env,
            },
            start_new_session=True,
        )
        if terminal:
            os.close(stdout)
        else:
            assert self._popen.stdout is not None
            self._output_fd = self._popen.stdout.fileno()
        assert self._popen.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=(name, fd), daemon=True)
            for name, fd in (
                ("output", self._terminal if terminal else self._output_fd),
                ("errors", self._popen.stderr.fileno()),
            )
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, fd: int) -> None:
        while True:
            try:
                data = os.read(fd, 65536)
            except OSError:  # a terminal whose other end was closed, or a pipe that we have
                data = b""
            with self._changed:
                setattr(self, name, getattr(self, name) + data.decode(errors="replace"))
                self._open -= not data
                self._changed.notify_all()
            if not data:
                return

    def says(self, text: str, where: str = "output") -> Deferred[None]:
        """Fires when the text is there; fails when all has ended without it."""

        def wait() -> None:
            with self._changed:
                self._changed.wait_for(lambda: text in getattr(self, where) or not self._open, 60)
                assert text in getattr(self, where), (self.output, self.errors)

        return deferToThread(wait)

    def ended(self) -> Deferred[int]:
        """Fires with the exit status, when all output is there."""

        def wait() -> int:
            status = self._popen.wait(60)
            for reader in self._readers:
                reader.join(30)
            return status

        return deferToThread(wait)

    def interrupt(self) -> None:
        """What Ctrl-C does: SIGINT to the whole group."""
        os.killpg(self._popen.pid, signal.SIGINT)

    def kill(self) -> None:
        """End it, if it has not ended."""
        self._popen.kill()
        self._popen.wait()
        for reader in self._readers:
            reader.join(30)
        for stream in (self._popen.stdout, self._popen.stderr):
            if stream is not None:
                stream.close()
        if self._terminal >= 0:
            os.close(self._terminal)


class CommandTestCase(RedisTestCase):
    """A test that runs ``opentera-bus``."""

    timeout = 120

    def run_command(self, *arguments: str, url: str | None = None, **env: str) -> Deferred[Result]:
        """Run a command to its end, in pipes."""

        def run() -> Result:
            done = subprocess.run(
                [*COMMAND, *arguments],
                capture_output=True,
                text=True,
                check=False,
                env={**ENVIRONMENT, "REDIS_URL": url or self.server.url, **env},
            )
            return Result(done.returncode, done.stdout, done.stderr)

        return deferToThread(run)

    def start_command(
        self, *arguments: str, url: str | None = None, terminal: bool = False, **env: str
    ) -> Running:
        """Start a command that runs on."""
        running = Running(*arguments, url=url or self.server.url, terminal=terminal, **env)
        self.addCleanup(running.kill)
        return running
