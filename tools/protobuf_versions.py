"""Runs the tests of messages under every protobuf runtime that the package admits.

    python -m tools.protobuf_versions

Each runtime is installed into a folder of its own, which comes before the environment's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

RUNTIMES: Final = ("==4.25.0", "<5", "<6", "<7", "<8")
"""The oldest one, and the newest of each major version."""

ROOT: Final = Path(__file__).parents[1]
FOLDER: Final = ROOT / "build" / "protobufs"
TESTS: Final = (
    "messages/test_coexistence.py",
    "messages/test_messages.py",
    "rpc/test_argument_types.py",
    "test_contract.py",
    "test_logs.py",
)


def run(runtime: str) -> bool:
    """Run the tests under one runtime; whether they passed."""
    folder = FOLDER / runtime.strip("=<")
    install = ["-m", "pip", "install", "--quiet", "--upgrade", "--no-deps", "--target", str(folder)]
    subprocess.run([sys.executable, *install, f"protobuf{runtime}"], check=True)
    search = os.pathsep.join([str(folder), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": search}
    which = "import google.protobuf as p; print('protobuf', p.__version__, 'in', p.__path__[0])"
    found = subprocess.run(
        [sys.executable, "-c", which], env=environment, check=True, capture_output=True, text=True
    ).stdout
    sys.stdout.write(found)
    sys.stdout.flush()
    assert str(folder) in found
    tests = [str(ROOT / "tests" / name) for name in TESTS]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=ROOT,
        env=environment,
        check=False,
    )
    return done.returncode == 0


if __name__ == "__main__":
    failed = [runtime for runtime in RUNTIMES if not run(runtime)]
    if failed:
        sys.exit(f"failed under protobuf {', '.join(failed)}")
