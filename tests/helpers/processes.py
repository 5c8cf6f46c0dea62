"""Programs of tests, started as a user starts them."""

from __future__ import annotations

import os
import signal
import socket
import sys
import textwrap
import threading
from collections.abc import Sequence
from subprocess import Popen
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.helpers import forked
from tests.helpers.support import GUARD, ROOT, RedisTestCase

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    "PYTHONUNBUFFERED": "1",
}
ENVIRONMENT.pop("REDIS_URL", None)

# Measuring coverage costs half as much again, and a start without a fork up to a second. Programs
# with this environment run no lines that others do not.
UNMEASURED = {"COVERAGE_PROCESS_CONFIG": ""}
FORKED_WORKERS = {**UNMEASURED, forked.FORK_WORKERS: "1"}
"""Environment of a forked program whose workers are forked too."""
MEASURED = {"COVERAGE_PROCESS_CONFIG": os.environ.get("COVERAGE_PROCESS_CONFIG", "")}

_TWISTD = """
import sys
from opentera_twisted.program import options
options.REDIS_PORT = int(sys.argv.pop(1))
from twisted.scripts.twistd import run
run()
"""

_ACTIVATE = """
import os, sys
end = sys.argv.index("--")
# Moved out of the way first: one may have the number that another one gets.
numbers = [os.dup(int(one)) for one in sys.argv[1:end]]
moved = [os.dup2(one, 100 + i) for i, one in enumerate(numbers)]
for i, one in enumerate(moved):
    os.dup2(one, 3 + i)
os.closerange(3 + len(moved), 200)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[end + 1], sys.argv[end + 1:])
"""


class Process:
    """A program with its output, killed at the end of the test.

    Args:
        command: Command with its arguments.
        environment: Additional variables; without a fork, coverage is measured only with
            `MEASURED`.
        descriptors: File descriptors to inherit.
        fork: Allow a fork from a process that has imported its modules.
    """

    def __init__(
        self,
        *command: str,
        environment: dict[str, str] | None = None,
        descriptors: Sequence[int] = (),
        fork: bool = False,
    ) -> None:
        self.output = ""
        self._changed = threading.Condition()
        self._ended = False
        env = {**ENVIRONMENT, **({} if fork else UNMEASURED), **(environment or {})}
        number, theirs = os.pipe()
        self._stdout = open(number, encoding="utf-8", errors="replace")  # noqa: PTH123, SIM115
        start: Any = forked.forked if fork else forked.started
        self._popen: Popen[bytes] | forked.Program = start(
            command, stdout=theirs, stderr=theirs, env=env, cwd="/", pass_fds=descriptors
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._popen.pid

    def _read(self) -> None:
        for line in self._stdout:
            with self._changed:
                self.output += line
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def has_ended(self) -> bool:
        """True once the process has ended."""
        return self._popen.poll() is not None

    def says(self, text: str) -> Deferred[None]:
        """Fire when the text is in the output; fail when the program ends without it."""
        return deferToThread(self.wait_for, text)

    def wait_for(self, text: str) -> None:
        """Return when the text is in the output; fail when the program ends without it."""
        with self._changed:
            self._changed.wait_for(lambda: text in self.output or self._ended, GUARD)
            assert text in self.output, self.output

    def wait_for_count(self, text: str, count: int) -> None:
        """Return when the text is in the output that many times."""
        with self._changed:
            self._changed.wait_for(lambda: self.output.count(text) >= count or self._ended, GUARD)
            assert self.output.count(text) >= count, self.output

    def ended(self) -> Deferred[int]:
        """Fire with the exit status."""

        def wait() -> int:
            status = self._popen.wait(GUARD)
            self._reader.join(GUARD)
            return status

        return deferToThread(wait)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self._popen.send_signal(number)

    def interrupt(self) -> None:
        """Send SIGINT to the process group, as Ctrl-C does."""
        os.killpg(self._popen.pid, signal.SIGINT)

    def terminate(self) -> None:
        """Terminate it and return when it has ended."""
        self.send(signal.SIGTERM)
        self._popen.wait(GUARD)
        self.kill()

    def kill(self) -> None:
        """Kill it if it is running."""
        self._popen.kill()
        self._popen.wait(GUARD)
        self._reader.join(GUARD)
        self._stdout.close()


def twistd(
    *options: str,
    redis_port: int = 6379,
    pidfile: str = "",
    own: Sequence[str] = (),
    environment: dict[str, str] | None = None,
    fork: bool = True,
    before: Sequence[str] = (),
) -> Process:
    """Return ``twistd -n opentera-bus`` on its own embedded port; ``own`` are options of twistd.

    Without ``fork``, ``/proc`` shows its command line too. ``before`` is code that runs
    first, and its arguments. Workers are started, and measured, only with an ``environment``.
    """
    if environment is None and "--workers" in options:
        environment = FORKED_WORKERS
    all_own = ("--nodaemon", f"--pidfile={pidfile}", *own)
    command = _twistd(*all_own, options=options, redis_port=redis_port)
    if before:
        command[2:3] = [before[0] + command[2], *before[1:]]
    return Process(*command, environment=environment, fork=fork)


def twistd_with_sockets(
    listening: dict[str, socket.socket],
    *options: str,
    environment: dict[str, str] | None = None,
) -> Process:
    """Return ``twistd -n opentera-bus`` with named sockets, as systemd passes them."""
    numbers = [listener.fileno() for listener in listening.values()]
    command = _twistd("--nodaemon", "--pidfile=", options=options, redis_port=6379)
    return Process(
        sys.executable, "-c", _ACTIVATE, *map(str, numbers), "--", *command,
        environment={
            "LISTEN_FDS": str(len(numbers)),
            "LISTEN_FDNAMES": ":".join(listening),
            **(environment or {}),
        },
        descriptors=numbers,
    )  # fmt: skip


def twistd_daemon(*options: str, redis_port: int, pidfile: str, logfile: str) -> Process:
    """Return ``twistd opentera-bus``, which ends once its daemon has started."""
    own = (f"--pidfile={pidfile}", f"--logfile={logfile}")
    return Process(*_twistd(*own, options=options, redis_port=redis_port), fork=True)


def _twistd(*own: str, options: Sequence[str], redis_port: int) -> list[str]:
    return [sys.executable, "-c", _TWISTD, str(redis_port), *own, "opentera-bus", *options]


_BLOCKING = """
import os, sys, threading, time, warnings
warnings.filterwarnings("ignore", "This process", DeprecationWarning)  # of fork() beside threads
from opentera_twisted import *
from opentera_twisted.blocking import BlockingBus
url = sys.argv[1]
"""


class BlockingProgramTestCase(RedisTestCase):
    """Tests of programs that use `BlockingBus`."""

    def program(
        self, code: str, url: str | None = None, before: str = "", *, fork: bool = True
    ) -> Process:
        """Start a program, killed at the end of the test.

        Args:
            code: Code after the imports of `_BLOCKING`.
            url: Redis URL; the shared server when None.
            before: Code before these imports.
            fork: Whether the program may be forked from a process with its imports.
        """
        whole = f"{before}\n{_BLOCKING}{textwrap.dedent(code)}"
        process = Process(sys.executable, "-c", whole, url or self.server.url, fork=fork)
        self.addCleanup(process.kill)
        return process
