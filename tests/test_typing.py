"""Types as a user's program sees them: strict, and without a plugin of mypy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.support import DATA

PROGRAM = DATA / "typing" / "users_program.py"


def _mypy(program: Path, folder: Path) -> str:
    """Check a program outside this checkout, whose settings would apply in it."""
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", str(program)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_a_users_program_passes_strict_types(tmp_path: Path) -> None:
    program = tmp_path / PROGRAM.name
    program.write_text(PROGRAM.read_text())
    assert "Success" in (found := _mypy(program, tmp_path)), found


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("-> Identity | None:", "-> str:"),
        ("-> Audience:", "-> bool:"),
        ("value: bytes | None = result_of", "value: int = result_of"),
    ],
)
def test_a_wrong_type_in_a_users_program_is_found(tmp_path: Path, right: str, wrong: str) -> None:
    program = tmp_path / PROGRAM.name
    program.write_text(PROGRAM.read_text().replace(right, wrong))
    assert "incompatible type" in _mypy(program, tmp_path).lower()
