"""Memory of the gateway process for each idle websocket, and how fast websockets log in."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.children import Child, program, running
from benchmarks.figures import Figure, Series, Target
from benchmarks.scenario import Setting
from opentera_twisted.link.server_process import free_port

NAME: Final = "idle-websockets"
TARGET: Final = Target("below", 25.0)
WEBSOCKETS: Final = 1_000

_OURS: Final = "ours: gateway process (twistd); clients are bare sockets of another process"


def run(setting: Setting) -> list[Figure]:
    """Measure a new gateway each round."""
    count = setting.amount(WEBSOCKETS)
    _allow_files(2 * WEBSOCKETS)
    memory, logins = Series(_OURS), Series(_OURS)
    for _ in setting.each_round(NAME):
        with _gateway(setting) as (gateway, port):
            before = _resident(gateway.pid)
            options = {"redis_port": setting.port, "gateway_port": port, "count": count}
            with program("websocket_clients", **options) as clients:
                report = clients.report()
                memory.samples.append((_resident(gateway.pid) - before) / count)
                logins.samples.append(count / report["seconds"])
    return [
        Figure(NAME, f"memory each of {count:,}", "KiB", memory, target=TARGET),
        Figure(NAME, f"{count:,} logins until reported", "logins/s", logins),
    ]


@contextmanager
def _gateway(setting: Setting) -> Iterator[tuple[Child, int]]:
    """A gateway that is ready, and the port of its websockets."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("twistd")), "--nodaemon", "--pidfile="]
    command += ["opentera-bus", "--redis", setting.url, "--admin", "none"]
    command += ["--websocket", f"tcp:{port}:interface=127.0.0.1"]
    with running(*command) as gateway:
        gateway.wait_for_line("link to Redis", "is ready")
        gateway.discard_output()
        yield gateway, port


def _resident(pid: int) -> int:
    """Resident memory of a process in KiB.

    Source: proc(5), smaps_rollup.
    """
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1])
    raise RuntimeError(f"the kernel does not say how much memory process {pid} has")


def _allow_files(count: int) -> None:
    """Let the processes that are started from now on open so many files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
