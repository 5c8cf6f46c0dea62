"""Rivals that are no dependencies: an environment of their own, and servers of the system."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.children import free_port, running

ENVIRONMENT: Final = Path(__file__).with_name(".rivals")
PACKAGES: Final = ("nats-py",)


class NotMeasuredError(Exception):
    """A rival is not there; the message says how to get it."""


def python() -> str:
    """The interpreter that has the rivals' packages; made when it is needed first.

    Raises:
        NotMeasuredError: they cannot be installed.
    """
    interpreter = ENVIRONMENT / "bin" / "python"
    complete = ENVIRONMENT / "complete"
    if not complete.exists():
        print(f"installing {', '.join(PACKAGES)} into {ENVIRONMENT} ...", file=sys.stderr)
        venv.create(ENVIRONMENT, with_pip=True)
        done = subprocess.run(
            [interpreter, "-m", "pip", "install", "--quiet", *PACKAGES], check=False
        )
        if done.returncode:
            raise NotMeasuredError(f"pip cannot install {', '.join(PACKAGES)}")
        complete.touch()
    return str(interpreter)


@contextmanager
def nats_server() -> Iterator[int]:
    """Debian's nats-server on a free port, ready; its port.

    Raises:
        NotMeasuredError: it is not installed.
    """
    binary = shutil.which("nats-server")
    if binary is None:
        raise NotMeasuredError("apt-get install nats-server")
    port = free_port()
    # It writes its log to standard error.
    command = f"exec {binary} --addr 127.0.0.1 --port {port} 2>&1"
    with running("/bin/sh", "-c", command) as server:
        server.wait_for_line("Server is ready")
        server.discard_output()
        yield port
