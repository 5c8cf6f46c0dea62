"""The files of wheel and sdist are exactly those of the tree."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from tests.helpers.support import ROOT

from .environment import built

MADE = ("PKG-INFO", "opentera_twisted.egg-info/")
"""Files that a build adds to an sdist."""


def of_the_tree(*folders: str) -> set[str]:
    """Return the files under version control, including new ones."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *folders]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}


def test_the_wheel_has_the_package_and_the_plugin_only() -> None:
    with zipfile.ZipFile(built("*.whl")) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == of_the_tree("opentera_twisted", "twisted")


def test_the_wheel_has_the_data_files() -> None:
    with zipfile.ZipFile(built("*.whl")) as wheel:
        endings = {name.rpartition(".")[2] for name in wheel.namelist()}
    assert {"js", "proto", "pyi", "typed"} <= endings


def test_the_sdist_has_the_whole_tree() -> None:
    with tarfile.open(built("*.tar.gz")) as sdist:
        files = [member.name.partition("/")[2] for member in sdist if member.isfile()]
    assert {name for name in files if not name.startswith(MADE)} == of_the_tree()


def test_the_sdist_can_be_linted_and_tested(tmp_path: Path) -> None:
    with tarfile.open(built("*.tar.gz")) as sdist:
        sdist.extractall(tmp_path, filter="data")
    (tree,) = tmp_path.iterdir()
    for command in (
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        (
            "pytest",
            "-q",
            "tests/test_layout.py",
            "tests/messages/test_messages.py",
            "tests/rpc/test_calls.py",
        ),
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
