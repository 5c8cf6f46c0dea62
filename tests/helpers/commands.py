"""``opentera-bus`` as a process, in pipes or on a terminal."""

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

from tests.helpers.forked import forked
from tests.helpers.processes import ENVIRONMENT
from tests.helpers.support import GUARD, RedisTestCase

COMMAND = (sys.executable, "-m", "opentera_twisted.cli")


class Result(NamedTuple):
    status: int
    output: str
    errors: str


class Running:
    """A running command with separate output and errors, killed at the end of the test."""

    def __init__(self, *arguments: str, env: dict[str, str], terminal: bool = False) -> None:
        self._said = {"output": b"", "errors": b""}
        self._changed = threading.Condition()
        self._open = 2
        output, stdout = pty.openpty() if terminal else os.pipe()
        errors, stderr = os.pipe()
        self._popen = forked(
            [*COMMAND, *arguments],
            stdin=stdout if terminal else subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env={**ENVIRONMENT, **env},
        )
        os.close(stdout)
        os.close(stderr)
        self._files = {"output": output, "errors": errors}
        self._readers = [
            threading.Thread(target=self._read, args=(name, file), daemon=True)
            for name, file in self._files.items()
        ]
        for reader in self._readers:
            reader.start()

    @property
    def output(self) -> str:
        """Text of standard output so far."""
        return self._said["output"].decode(errors="replace")

    @property
    def errors(self) -> str:
        """Text of standard error so far."""
        return self._said["errors"].decode(errors="replace")

    def _read(self, name: str, file: int) -> None:
        while True:
            try:
                data = os.read(file, 65536)
            except OSError:  # a terminal whose other end was closed
                data = b""
            with self._changed:
                self._said[name] += data
                self._open -= not data
                self._changed.notify_all()
            if not data:
                return

    def says(self, text: str, where: str = "output") -> Deferred[None]:
        """Fire when the text appears; fail when the command ends without it."""

        def wait() -> None:
            with self._changed:
                self._changed.wait_for(
                    lambda: text in getattr(self, where) or not self._open, GUARD
                )
                assert text in getattr(self, where), (self.output, self.errors)

        return deferToThread(wait)

    def ended(self) -> Deferred[int]:
        """Fire with the exit status when all output has been read."""

        return deferToThread(self.wait)

    def wait(self) -> int:
        """Return the exit status when all output has been read."""
        status = self._popen.wait(GUARD)
        for reader in self._readers:
            reader.join(GUARD)
        return status

    def interrupt(self) -> None:
        """Send SIGINT to the process group, as Ctrl-C does."""
        os.killpg(self._popen.pid, signal.SIGINT)

    def kill(self) -> None:
        """Kill the command if it is running."""
        self._popen.kill()
        self._popen.wait(GUARD)
        for reader in self._readers:
            reader.join(GUARD)
        for file in self._files.values():
            os.close(file)


class CommandTestCase(RedisTestCase):
    """A test that runs ``opentera-bus``."""

    def run_command(self, *arguments: str, url: str | None = None, **env: str) -> Deferred[Result]:
        """Run a command to its end in pipes."""

        def run() -> Result:
            command = Running(*arguments, env={"REDIS_URL": url or self.server.url, **env})
            try:
                return Result(command.wait(), command.output, command.errors)
            finally:
                command.kill()

        return deferToThread(run)

    def start_command(
        self, *arguments: str, url: str | None = None, terminal: bool = False, **env: str
    ) -> Running:
        """Start a command that keeps running."""
        env = {
            "REDIS_URL": url or self.server.url,
            "TERM": "xterm",
            "COLUMNS": "120",
            "LINES": "30",
            **env,
        }
        running = Running(*arguments, env=env, terminal=terminal)
        self.addCleanup(running.kill)
        return running
