"""Forked programs of tests behave like started ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.forked import forked, started
from tests.helpers.processes import UNMEASURED
from tests.helpers.support import GUARD

_PROGRAM = """
import ctypes, os, sys
from twisted.internet import reactor
signal = ctypes.c_int()
ctypes.CDLL(None).prctl(2, ctypes.byref(signal))  # PR_GET_PDEATHSIG
print("ends with its parent by signal", signal.value)
print(sys.argv[1:], os.environ["NAME"], os.getcwd(), os.getsid(0) == os.getpid(), sys.path[0])
print(os.read(int(sys.argv[1]), 9), "Zo\\u00e9", __name__, file=sys.stderr)
reactor.callLater(0, reactor.stop)
reactor.run()
%s
"""
_ENDINGS = {
    "the end": ("", 0, ""),
    "a status": ("sys.exit(3)", 3, ""),
    "a message": ("sys.exit('why')", 1, "why"),
    "an error": ("1 / 0", 1, "ZeroDivisionError: division by zero"),
    "a signal": ("os.kill(os.getpid(), 9)", -signal.SIGKILL, ""),
}


def outcome(start: Any, end: str, directory: Path) -> tuple[int, str, str]:
    """Run the program; return its status, output and errors."""
    given, give = os.pipe()
    os.write(give, b"given")
    os.close(give)
    output, stdout = os.pipe()
    errors, stderr = os.pipe()
    program = start(
        [sys.executable, "-c", _PROGRAM % end, str(given)],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env={**os.environ, **UNMEASURED, "NAME": "value", "PYTHONUNBUFFERED": "1"},
        cwd=str(directory),
        pass_fds=[given],
    )
    for file in (given, stdout, stderr):
        os.close(file)
    with os.fdopen(output) as said, os.fdopen(errors) as complained:
        return program.wait(GUARD), said.read(), complained.read().splitlines()[-1]


@pytest.mark.parametrize("ending", _ENDINGS)
def test_a_forked_program_behaves_like_a_started_one(ending: str, tmp_path: Path) -> None:
    end, status, last = _ENDINGS[ending]
    there = outcome(started, end, tmp_path)
    assert outcome(forked, end, tmp_path) == there
    assert there[0] == status
    assert f"by signal {signal.SIGTERM:d}\n" in there[1]
    assert last in there[2]


@pytest.mark.parametrize("start", [started, forked])
def test_a_program_in_a_file_imports_from_its_folder(start: Any, tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("NAME = 'beside'")
    file = tmp_path / "program.py"
    file.write_text("import sys, beside\nprint(__name__, beside.NAME, sys.argv[1:], __file__)")
    output, stdout = os.pipe()
    command = [sys.executable, str(file), "argument"]
    program = start(
        command, stdout=stdout, stderr=stdout, env={**os.environ, **UNMEASURED}, cwd="/"
    )
    os.close(stdout)
    with os.fdopen(output) as said:
        assert said.read() == f"__main__ beside ['argument'] {file}\n"
    assert program.wait(GUARD) == 0
