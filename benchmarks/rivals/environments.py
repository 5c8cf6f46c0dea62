"""Environments of rivals, created on first use."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.children import ROOT

ENVIRONMENTS: Final = Path(__file__).parents[1] / ".rivals"

MODULES: Final = ("ws@8", "redis@5", "socket.io@4", "@socket.io/redis-adapter@8")
"""Packages of npm for the rivals in JavaScript."""


class NotMeasuredError(Exception):
    """A rival is missing; the message says why, or how to get it."""


def python(name: str, *packages: str) -> Path:
    """The interpreter of a virtual environment that has these packages.

    Raises:
        NotMeasuredError: they cannot be installed.
    """
    folder = ENVIRONMENTS / name
    interpreter = folder / "bin" / "python"
    if not _is_complete(folder, packages):
        _run([sys.executable, "-m", "venv", "--clear", str(folder)], packages)
        _run([str(interpreter), "-m", "pip", "install", "--quiet", *packages], packages)
        _complete(folder, packages)
    return interpreter


def node() -> tuple[str, Path]:
    """Node, and the folder that holds ``node_modules``.

    Raises:
        NotMeasuredError: they cannot be installed, or there is no node.
    """
    binary, npm = shutil.which("node"), shutil.which("npm")
    if binary is None or npm is None:
        raise NotMeasuredError("needs node and npm")
    folder = ENVIRONMENTS / "node"
    if not _is_complete(folder, MODULES):
        folder.mkdir(parents=True, exist_ok=True)
        _run([npm, "install", "--silent", "--prefix", str(folder), *MODULES], MODULES)
        _complete(folder, MODULES)
    return binary, folder


def debian(name: str, *packages: str) -> Path:
    """The folder into which Debian's packages are unpacked: nothing of the system is touched.

    Raises:
        NotMeasuredError: they cannot be downloaded.
    """
    folder = ENVIRONMENTS / name
    if not _is_complete(folder, packages):
        if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
            raise NotMeasuredError("comes from packages of Debian, and this is none")
        folder.mkdir(parents=True, exist_ok=True)
        download = ["apt-get", "download", "-qq", *packages]
        try:
            _run(download, packages, folder)
        except NotMeasuredError:
            # A new machine has no lists of packages yet; only root may fetch them.
            _run(["apt-get", "update", "-qq"], packages)
            _run(download, packages, folder)
        for archive in folder.glob("*.deb"):
            _run(["dpkg", "-x", str(archive), str(folder)], packages)
        _complete(folder, packages)
    return folder


def _is_complete(folder: Path, wanted: Sequence[str]) -> bool:
    complete = folder / "complete"
    return complete.exists() and complete.read_text().split() == list(wanted)


def _complete(folder: Path, wanted: Sequence[str]) -> None:
    (folder / "complete").write_text(" ".join(wanted))


def _run(command: list[str], wanted: Sequence[str], folder: Path = ROOT) -> None:
    names = ", ".join(wanted)
    print(f"installing {names}: {command[0]} ...", file=sys.stderr)
    # PYTHONPATH leads to this checkout, of whose packages they have their own.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environ, stdout=sys.stderr, check=False)
    status = done.returncode
    if status:
        raise NotMeasuredError(f"{names} cannot be installed: {command[0]} gave {status}")
