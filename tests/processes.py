"""Programs of tests: started as a user would, their output waited for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from .support import ROOT

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    "PYTHONUNBUFFERED": "1",
}
ENVIRONMENT.pop("REDIS_URL", None)

_TWISTD = """
import sys
from opentera_twisted import options, tap
tap.REDIS_PORT = options.REDIS_PORT = int(sys.argv.pop(1))
from twisted.scripts.twistd import run
run()
"""


class Process:
    """A program whose output is kept; it is killed at the end of the test."""

    def __init__(self, *command: str, environment: dict[str, str] | None = None) -> None:
        self.output = ""
        self._changed = threading.Condition()
        self._ended = False
        self._popen = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**ENVIRONMENT, **(environment or {})},
            cwd="/",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._popen.pid

    def _read(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            with self._changed:
                self.output += line
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def says(self, text: str) -> Deferred[None]:
        """Fires when the text is in the output; fails when that has ended without it."""
        return deferToThread(self.wait_for, text)

    def wait_for(self, text: str) -> None:
        """Return when the text is in the output; fail when that has ended without it."""
        with self._changed:
            self._changed.wait_for(lambda: text in self.output or self._ended, 30)
            assert text in self.output, self.output

    def ended(self) -> Deferred[int]:
        """Fires with the exit status."""

        def wait() -> int:
            status = self._popen.wait(30)
            self._reader.join(30)
            return status

        return deferToThread(wait)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self._popen.send_signal(number)

    def interrupt(self) -> None:
        """What Ctrl-C does: SIGINT to the whole group."""
        os.killpg(self._popen.pid, signal.SIGINT)

    def terminate(self) -> None:
        """End it properly, and return when it has ended."""
        self.send(signal.SIGTERM)
        self._popen.wait(30)
        self.kill()

    def kill(self) -> None:
        """End it, if it has not ended."""
        self._popen.kill()
        self._popen.wait()
        self._reader.join(30)
        assert self._popen.stdout is not None
        self._popen.stdout.close()


def twistd(*options: str, redis_port: int = 6379, pidfile: str = "") -> Process:
    """``twistd -n opentera-bus``, with another port for its own server."""
    return _twistd("--nodaemon", f"--pidfile={pidfile}", options=options, redis_port=redis_port)


def twistd_daemon(*options: str, redis_port: int, pidfile: str, logfile: str) -> Process:
    """``twistd opentera-bus``, which ends when the daemon that it leaves behind has started."""
    own = (f"--pidfile={pidfile}", f"--logfile={logfile}")
    return _twistd(*own, options=options, redis_port=redis_port)


def _twistd(*own: str, options: Sequence[str], redis_port: int) -> Process:
    return Process(
        sys.executable, "-c", _TWISTD, str(redis_port), *own, "opentera-bus", *options
    )  # fmt: skip
