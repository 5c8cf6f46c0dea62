"""nats-server's own websockets (Go); events are published through NATS."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import NamedTemporaryFile

from attrs import frozen

from benchmarks.children import running
from benchmarks.events import event, text
from benchmarks.gateways.side import Audience, Side, publishing
from benchmarks.rivals.environments import debian
from benchmarks.scenario import Setting
from tools.ports import free_port


@frozen
class NatsServer:
    """A nats-server that runs."""

    version: str
    pid: int
    port: int
    websocket_port: int


@contextmanager
def nats_server() -> Iterator[NatsServer]:
    """A nats-server that is ready: the one of the system, or of Debian's package.

    Raises:
        NotMeasuredError: there is none.
    """
    binary = shutil.which("nats-server")
    if binary is None:
        binary = str(debian("nats-server", "nats-server") / "usr/sbin/nats-server")
    output = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
    version = output.stdout.split()[-1].removeprefix("v")
    port, websocket_port = free_port(), free_port()
    with NamedTemporaryFile("w", suffix=".conf") as configuration:
        configuration.write(
            f'listen: "127.0.0.1:{port}"\n'
            f'websocket {{ listen: "127.0.0.1:{websocket_port}", no_tls: true }}\n'
        )
        configuration.flush()
        # It writes its log to standard error.
        command = f'exec "$0" -c {configuration.name} 2>&1'
        with running("/bin/sh", "-c", command, binary) as server:
            server.wait_for_line("Server is ready")
            server.discard_output()
            yield NatsServer(version, server.pid, port, websocket_port)


@contextmanager
def nats(setting: Setting, audience: Audience) -> Iterator[Side]:
    """Websockets that speak NATS over frames."""
    greetings = [(b'CONNECT {"verbose":false,"pedantic":false}\r\nPING\r\n', b"PONG\r\n")]

    def published(topic: str) -> bytes:
        payload = text(event(topic, audience.size)).encode()
        return b"PUB %b %d\r\n%b\r\n" % (topic.encode(), len(payload), payload)

    with nats_server() as server:
        yield Side(
            who=f"nats-server {server.version}, websockets",
            dialect="nats",
            port=server.websocket_port,
            pids=(server.pid,),
            paths=["/"] * len(audience.topics),
            publisher=lambda topics: publishing(
                server.port, [published(topic) for topic in topics], greetings
            ),
        )
