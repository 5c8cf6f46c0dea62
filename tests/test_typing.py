"""Types in a user's program: strict, and without a mypy plugin."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any, get_type_hints

import pytest

from tests.helpers.processes import UNMEASURED
from tests.helpers.support import DATA
from tests.test_api_examples import PUBLIC, full_name, public_names

PROGRAM = DATA / "typing" / "users_program.py"


MISTAKES = {
    "-> Identity | None:": "-> str:",
    "-> Audience:": "-> bool:",
    "value: bytes | None = result_of": "value: int = result_of",
    'hset("hash", "field"': 'hset("hash", ["field"]',
    "text: bytes | None = await": "text: bytes = await",
    "fields: dict[bytes, bytes]": "fields: dict[str, str]",
    'lrange("list", 0, -1)': 'lrange("list", "0", -1)',
}

pytestmark = pytest.mark.xdist_group("typing")  # one run of mypy, mostly spent on Twisted's types


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Check the program, and one per mistake, outside this checkout and its settings.

    Returns:
        Errors by mistake; those of the correct program under the empty string.
    """
    folder = tmp_path_factory.mktemp("programs")
    right = PROGRAM.read_text()
    names = {"": PROGRAM.name}
    (folder / PROGRAM.name).write_text(right)
    for number, (text, mistake) in enumerate(MISTAKES.items()):
        assert text in right
        names[text] = f"mistake_{number}.py"
        (folder / names[text]).write_text(right.replace(text, mistake))
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", *names.values()]
    environment = {**os.environ, **UNMEASURED}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    lines = done.stdout.splitlines()
    assert f"checked {len(names)} source files" in lines[-1], done.stdout + done.stderr
    return {
        mistake: "\n".join(line for line in lines if line.startswith(f"{name}:"))
        for mistake, name in names.items()
    }


def test_a_users_program_passes_strict_types(found: dict[str, str]) -> None:
    assert not found[""]


@pytest.mark.parametrize("right", MISTAKES)
def test_a_wrong_type_in_a_users_program_is_found(found: dict[str, str], right: str) -> None:
    assert "incompatible type" in found[right].lower()


def functions(module: str) -> Iterator[Any]:
    """Iterate over the public functions of a module, and the methods of its public classes."""
    for name in public_names(module):
        public = getattr(import_module(full_name(module)), name)
        members = [public, *vars(public).values()] if inspect.isclass(public) else [public]
        # attrs writes an __init__ before the rest of its module exists.
        yield from (
            member
            for member in members
            if inspect.isfunction(member) and not member.__code__.co_filename.startswith("<attrs")
        )


@pytest.mark.parametrize("module", PUBLIC)
def test_type_hints_resolve_at_run_time(module: str) -> None:
    for function in functions(module):
        get_type_hints(function)  # as dependency injection and help systems do
