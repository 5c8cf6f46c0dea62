"""A pytest plugin that bounds each test and the whole run, so that a hang fails by name.

180 s   pytest writes the stacks of all threads (``faulthandler_timeout``)
600 s   `GUARD`: the wait itself fails, where it has a timeout
900 s   the kernel ends the process (``hang_limit``); pytest-xdist reports the test as failed
        and runs the rest in a new process
run     the run ends and lists its failures (``run_limit``)
"""

from __future__ import annotations

import faulthandler
import os
import signal
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final
from uuid import uuid4

import pytest
from xdist.scheduler import LoadGroupScheduling
from xdist.workermanage import WorkerController

_MARK: Final = "OPENTERA_BUS_TEST_RUN"
"""Environment variable of all processes of a run."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the limits: seconds, 0 for none."""
    parser.addini("hang_limit", "Seconds after which a test ends its process", default="900")
    parser.addini("run_limit", "Seconds after which the run ends", default="0")


def pytest_configure(config: pytest.Config) -> None:
    """Start the limit of the run, or prepare this process for that of each test."""
    if not _is_controller(config):
        # In C, because a hung process may run no more Python.
        faulthandler.register(signal.SIGALRM, file=os.dup(2), chain=True)
        return
    os.environ[_MARK] = str(uuid4())
    limit = _seconds(config, "run_limit")

    def end(number: int, frame: FrameType | None) -> None:
        session: Any = config.pluginmanager.get_plugin("dsession")
        tests = ", ".join(session.sched.current()) if session.sched else "the start"
        pytest.exit(f"the run exceeded {limit:g} s in {tests}", 1)

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, limit)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Bound a test with its setup and teardown."""
    signal.setitimer(signal.ITIMER_REAL, _seconds(item.config, "hang_limit"))
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def pytest_enter_pdb() -> None:
    """Leave time for the debugger."""
    signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Bound the end of a process; kill what the processes of the run left behind."""
    if not _is_controller(session.config):
        signal.setitimer(signal.ITIMER_REAL, _seconds(session.config, "hang_limit"))
        return
    signal.setitimer(signal.ITIMER_REAL, 0)
    for pid, command in _left_behind():
        _line(session.config, f"killing process {pid}, which a test left behind: {command}")
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling | None:
    """Return the scheduler for ``--dist loadgroup``."""
    return Scheduling(config, log) if config.getoption("dist") == "loadgroup" else None


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(report: pytest.TestReport) -> None:
    """Say why a process may have ended."""
    report.longrepr = f"{report.longrepr}: it hung (stacks are above) or crashed"


class Scheduling(LoadGroupScheduling):
    """Replaces a process that ended; that of pytest-xdist repeats its test, or waits endlessly."""

    def remove_node(self, node: WorkerController) -> str | None:
        """Make the tests of a process available again, without those that have run."""
        groups = self.assigned_work[node]
        crashed = self._current(node)
        for tests in groups.values():
            if crashed in tests:
                tests[crashed] = True
        for group in [group for group, tests in groups.items() if all(tests.values())]:
            del groups[group]
        super().remove_node(node)
        return crashed

    def current(self) -> list[str]:
        """Return the tests that run now."""
        return [test for node in self.nodes if (test := self._current(node)) is not None]

    def _current(self, node: WorkerController) -> str | None:
        groups = self.assigned_work[node].values()
        return next((name for tests in groups for name in tests if not tests[name]), None)

    def _reschedule(self, node: WorkerController) -> None:
        """Leave a process alone until it has collected the tests."""
        if node in self.registered_collections:
            super()._reschedule(node)

    def schedule(self) -> None:
        """Give each process a second group, because it keeps its last test until it has more."""
        super().schedule()
        for node in self.nodes:
            self._reschedule(node)


def _is_controller(config: pytest.Config) -> bool:
    return config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput")


def _seconds(config: pytest.Config, name: str) -> float:
    return float(config.getini(name))


def _line(config: pytest.Config, text: str) -> None:
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    reporter.write_line(text)


def _left_behind() -> list[tuple[int, str]]:
    """Return the process ids and commands of the run's processes, except this one."""
    mark = f"{_MARK}={os.environ[_MARK]}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found.append((int(folder.name), command[:100]))
    return found
