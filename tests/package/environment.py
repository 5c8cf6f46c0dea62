"""A fresh environment with the built wheel or sdist and without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.helpers.processes import Process
from tests.helpers.support import GUARD, ROOT

DIST = ROOT / "dist"


def built(pattern: str) -> Path:
    """Return the file of that form built by ``make package``."""
    found = list(DIST.glob(pattern))
    assert len(found) == 1, f"make package builds one {pattern}; dist has {found}"
    return found[0]


class Environment:
    """A virtual environment without pip or setuptools, and a working folder."""

    def __init__(
        self, folder: Path, *extras: str, more: tuple[str, ...] = (), source: str = "*.whl"
    ) -> None:
        self._bin = folder / "environment" / "bin"
        self.folder = folder / "elsewhere"
        self.folder.mkdir()
        # No PATH: other programs of the machine must not help.
        self._variables = {
            name: value
            for name, value in os.environ.items()
            if name not in {"PATH", "PYTHONPATH", "REDIS_URL", "VIRTUAL_ENV"}
        } | {"PATH": str(self._bin), "COLUMNS": "200"}
        subprocess.run(
            [sys.executable, "-m", "venv", "--without-pip", self._bin.parent], check=True
        )
        python = str(self._bin / "python")
        package = str(built(source)) + (f"[{','.join(extras)}]" if extras else "")
        pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
        # Compile only what the tests import: it takes a third of an installation.
        install = [*pip, "install", "--quiet", "--no-compile", package, *more]
        subprocess.run(install, env=_without_pythonpath(), check=True)

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment to its end."""
        return subprocess.run(
            [str(self._bin / program), *arguments],
            cwd=self.folder,
            env=self._variables,
            capture_output=True,
            text=True,
            timeout=GUARD,
            check=False,
        )

    def python(self, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python code to its end."""
        return self.run("python", "-c", code, *arguments)

    def start(self, program: str, *arguments: str) -> Process:
        """Start a program of the environment."""
        return Process(
            str(self._bin / program),
            *arguments,
            environment={"PATH": str(self._bin), "PYTHONPATH": ""},
        )


def _without_pythonpath() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
