"""A test that hangs fails by name, and the run goes on and ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.helpers.processes import ENVIRONMENT, UNMEASURED
from tests.helpers.support import GUARD, until

_HANG = """
import os, signal, time
import pytest

def hang():
    assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 900
    signal.setitimer(signal.ITIMER_REAL, 0.01)  # in place of that limit
    time.sleep(1000)

@pytest.mark.xdist_group("group")
@pytest.mark.parametrize("number", range(4))
def test_in_a_group(number):
    if number == 1:
        hang()

@pytest.fixture
def hanging():
    yield
    hang()

def test_with_a_fixture(hanging):
    assert False, "red before"

def test_of_the_rest():
    pass
"""
_LONG = """
import os, signal, time

def test_longer_than_the_run():
    os.kill(os.getppid(), signal.SIGALRM)
    time.sleep(1000)
"""
_IMPATIENT = """
from xdist.workermanage import NodeManager
NodeManager.EXIT_TIMEOUT = 0  # kill processes at once
"""

# Only the plugins that it needs, for a quick start.
_ALONE = {**UNMEASURED, "PYTEST_ADDOPTS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def run(folder: Path, tests: str) -> str:
    """Run tests in another process; return the output of pytest."""
    (folder / "test_it.py").write_text(tests)
    (folder / "conftest.py").write_text(_IMPATIENT)
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-p", "xdist", "-p", "tests.helpers.hangs",
            "--numprocesses", "1", "--dist", "loadgroup", "-rf", "--rootdir", folder, folder,
        ],
        cwd=folder, env={**ENVIRONMENT, **_ALONE}, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=GUARD,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    return done.stdout


def test_a_hanging_test_fails_by_name_and_others_run(tmp_path: Path) -> None:
    output = run(tmp_path, _HANG)
    # Where CI is set, pytest does not cut a message after its first line.
    failed = [line.split()[1] for line in output.splitlines() if line.startswith("FAILED ")]
    names = sorted(name.rpartition("::")[2] for name in failed)
    assert names == ["test_in_a_group[1]@group", *["test_with_a_fixture"] * 2], output
    assert "3 failed, 4 passed" in output
    assert 'test_it.py", line 8 in hang' in output


def test_a_run_beyond_its_limit_names_its_tests_and_ends(tmp_path: Path) -> None:
    output = run(tmp_path, _LONG)
    assert "the run exceeded 0 s in test_it.py::test_longer_than_the_run" in output


class UntilTests(TestCase):
    async def test_a_condition_that_is_never_slow_lets_the_reactor_turn(self) -> None:
        turned: Deferred[None] = deferLater(reactor, 0)
        assert await until(lambda: succeed(turned.called), bool)
