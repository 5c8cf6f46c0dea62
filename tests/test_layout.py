"""The tree: imports point one way, and every file says what it is for."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from .support import ROOT

FILES = [
    path
    for folder in ("opentera_twisted", "twisted", "tests", "examples", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if not path.name.endswith("_pb2.py") and "/." not in str(path.relative_to(ROOT))
]


def test_a_module_imports_only_from_those_below_it() -> None:
    command = "import sys; from importlinter.cli import lint_imports_command as run; run()"
    done = subprocess.run(
        [sys.executable, "-c", command, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_says_its_job_in_its_first_line(path: Path) -> None:
    text = path.read_text()
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring
    assert docstring.splitlines()[0].endswith((".", "?", "…"))


def test_the_plugin_folders_are_no_packages() -> None:
    assert not (ROOT / "twisted" / "__init__.py").exists()
    assert not (ROOT / "twisted" / "plugins" / "__init__.py").exists()
