"""Rivals that are no dependencies: an environment of their own, and servers of the system."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from benchmarks.children import measured, program, running
from benchmarks.scenario import TOPIC
from opentera_twisted.link.server_process import free_port

ENVIRONMENT: Final = Path(__file__).with_name(".rivals")
PACKAGES: Final = ("nats-py",)


class NotMeasuredError(Exception):
    """A rival is not there; the message says how to get it."""


@frozen
class Requests:
    """Requests of nats.py to a responder that runs.

    Attributes:
        who: what is measured, with its versions.
        measure: given how many requests to make, makes them; what they took.
    """

    who: str
    measure: Callable[..., Any]


@contextmanager
def nats_requests() -> Iterator[Requests]:
    """Request and reply of nats.py, with a nats-server and a responder that are ready.

    Raises:
        NotMeasuredError: something is not installed.
    """
    binary = shutil.which("nats-server")
    if binary is None:
        raise NotMeasuredError("apt-get install nats-server")
    python = _python()
    with _nats_server(binary) as port:
        options = {"port": port, "subject": TOPIC}
        with program("nats_responder", python, **options) as responder:
            report = responder.report()
            who = f"nats.py {report['client']} in both processes, nats-server {report['server']}"
            yield Requests(who, partial(measured, "nats_requester", python, **options))


def _python() -> Path:
    """The interpreter that has the rivals' packages; made when it is needed first."""
    interpreter = ENVIRONMENT / "bin" / "python"
    complete = ENVIRONMENT / "complete"
    if complete.exists() and interpreter.exists():
        return interpreter
    wanted = ", ".join(PACKAGES)
    print(f"installing {wanted} into {ENVIRONMENT} ...", file=sys.stderr)
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)],
        [str(interpreter), "-m", "pip", "install", "--quiet", *PACKAGES],
    ):
        if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
            raise NotMeasuredError(f"{wanted} cannot be installed into {ENVIRONMENT.name}")
    complete.touch()
    return interpreter


@contextmanager
def _nats_server(binary: str) -> Iterator[int]:
    """A nats-server on a free port, ready; its port."""
    port = free_port()
    # It writes its log to standard error.
    command = f'exec "$0" -a 127.0.0.1 -p {port} 2>&1'
    with running("/bin/sh", "-c", command, binary) as server:
        server.wait_for_line("Server is ready")
        server.discard_output()
        yield port
