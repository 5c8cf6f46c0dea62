"""Starts the processes of a benchmark and ends them, whatever happens to the one that measures."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any, Final

from opentera_twisted.embedded.process import find_server, guarded
from tools.cluster import Cluster
from tools.ports import free_port

ROOT: Final = Path(__file__).parents[1]
END_WITHIN: Final = 30.0
"""Seconds from SIGTERM to SIGKILL."""

LAST_LINES: Final = 5
"""Bytes of output kept to explain the end of a process."""


class Child:
    """A process that writes lines to its standard output."""

    def __init__(self, *command: str) -> None:
        self._name = " ".join(command[:4])
        # The guard becomes the command: it is out of reach of Ctrl-C, and ends when we end.
        search = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            guarded("prctl", *command),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": search},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input = self._process.stdin
        self._output = self._process.stdout
        self._is_discarding = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def family(self) -> tuple[int, ...]:
        """Its process id, and those of the processes that it has started and they.

        Source: proc(5), /proc/pid/task/tid/children.
        """
        found = [self.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        return tuple(found)

    def wait_for_line(self, *words: str) -> str:
        """Read its output up to the first line that holds all these words."""
        last: deque[str] = deque(maxlen=LAST_LINES)
        for line in self._output:
            if all(word in line for word in words):
                return line
            last.append(line)
        status = self._process.wait()
        raise RuntimeError(f"{self._name} ended with status {status}\n{''.join(last)}".strip())

    def report(self) -> Any:
        """The next JSON object that it writes."""
        return json.loads(self.wait_for_line("{"))

    def tell(self, what: object) -> None:
        """Write a line of JSON to its standard input."""
        self._input.write(json.dumps(what) + "\n")
        self._input.flush()

    def ask(self, what: object) -> Any:
        """Tell it something; what it reports then."""
        self.tell(what)
        return self.report()

    def wait(self) -> None:
        """Return when it has ended by itself."""
        self._process.wait()

    def discard_output(self) -> None:
        """Read and forget what it still writes, so that it never waits for us."""

        def discard() -> None:
            with self._output:
                deque(self._output, 0)

        self._is_discarding = True
        Thread(target=discard, daemon=True).start()

    def stop(self) -> None:
        """End it, and return when it is gone."""
        with suppress(BrokenPipeError):
            self._input.close()
        self._process.terminate()
        try:
            self._process.wait(END_WITHIN)
        except subprocess.TimeoutExpired:
            # A worker that survived would report its users to the next gateway's scenario.
            for pid in self.family():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
        if not self._is_discarding:
            self._output.close()


@contextmanager
def running(*command: str) -> Iterator[Child]:
    """A process that is ended at the end."""
    child = Child(*command)
    try:
        yield child
    finally:
        child.stop()


@contextmanager
def program(name: str, python: object = sys.executable, **options: object) -> Iterator[Child]:
    """Run a program of `benchmarks.programs`, or ``rivals.programs.NAME``, with options."""
    module = f"benchmarks.{name}" if "." in name else f"benchmarks.programs.{name}"
    arguments = [f"--{option.replace('_', '-')}={value}" for option, value in options.items()]
    with running(str(python), "-m", module, *arguments) as child:
        yield child


def measured(name: str, python: object = sys.executable, **options: object) -> Any:
    """Run a load generator of this package to its end; its report."""
    with program(name, python, **options) as generator:
        report = generator.report()
        generator.wait()
        return report


@contextmanager
def redis_server() -> Iterator[int]:
    """A Redis-compatible server in memory, ready; its port."""
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with running(find_server(), *options) as server:
        server.wait_for_line("Ready to accept connections")
        server.discard_output()
        yield port


@contextmanager
def redis_cluster(primaries: int) -> Iterator[Cluster]:
    """A Redis Cluster in memory without replicas."""
    cluster = Cluster([free_port() for _ in range(2 * primaries)], primaries=primaries)
    try:
        yield cluster
    finally:
        cluster.stop()


@contextmanager
def on_core(number: int) -> Iterator[None]:
    """Have the processes that are started meanwhile run on one core, by its number from 0.

    The placement of two processes that wake each other decides the latency, and the
    scheduler's choice varies.
    """
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(cores)[number % len(cores)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def allow_files() -> None:
    """Let the processes that are started from now on open as many files as the system lets them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
