"""Runs of pytest as a user's project has them, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.helpers.processes import UNMEASURED
from tests.helpers.support import GUARD, ROOT

PLUGIN: Final = "opentera_twisted.pytest_plugin"


def run_pytest(path: Path, *options: str) -> str:
    """Run tests with the plugin and nothing of this checkout's settings; return the output."""
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", PLUGIN, "-p", "no:cacheprovider"),
        *("-c", "/dev/null", "--rootdir", str(path.parent), "-W", "error", *options, str(path)),
    ]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")
    } | UNMEASURED
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=GUARD,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
