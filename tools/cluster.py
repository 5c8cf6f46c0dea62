"""A Redis Cluster on this machine, of three primaries with one replica each.

Run as a program, it prints the cluster's URL and keeps the cluster until Ctrl-C. Its data is in
memory. Other machines cannot reach it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from opentera_twisted.embedded.process import find_server, guarded
from opentera_twisted.errors import BusError
from opentera_twisted.link import RedisAddress
from opentera_twisted.link.blocking_connection import execute
from opentera_twisted.link.slots import SLOTS
from tools.ports import free_port

HOST: Final = "127.0.0.1"
PRIMARIES: Final = 3
FORMED_WITHIN: Final = 300.0
"""Seconds until the nodes must agree; two suffice on a machine that does nothing else."""


class Node:
    """One server of the cluster.

    Args:
        directory: existing directory for its files.
        port: port for clients.
        bus_port: port for the other nodes.
        options: more options of the server.
    """

    def __init__(self, directory: Path, port: int, bus_port: int, options: tuple[str, ...]) -> None:
        self.port = port
        self.bus_port = bus_port
        self._directory = directory
        self._options = options
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server; it may not be ready yet."""
        arguments = [
            *("--port", str(self.port), "--cluster-port", str(self.bus_port), "--bind", HOST),
            *("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"),
            *("--dir", str(self._directory), "--logfile", str(self._directory / "log")),
            *("--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"),
            *self._options,
        ]
        self.process = subprocess.Popen(guarded("prctl", find_server(), *arguments))

    def kill(self) -> None:
        """Kill the server and wait for its end."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(FORMED_WITHIN)
            self.process = None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server."""
        assert self.process is not None
        self.process.send_signal(number)

    def execute(self, *command: bytes | str | int) -> Any:
        """Send one command to this node and return the reply."""
        return execute(RedisAddress(hosts=((HOST, self.port),)), *command)

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self.process is not None
        return self.process.pid

    @property
    def id(self) -> str:
        """Identifier of the node in the cluster."""
        node_id: bytes = self.execute("CLUSTER", "MYID")
        return node_id.decode()

    @property
    def is_primary(self) -> bool:
        """True unless the node is a replica."""
        return bool(self.execute("ROLE")[0] == b"master")


class Cluster:
    """Primaries, which share the slots equally, and a replica of each, or none.

    Args:
        ports: ports for clients and for the other nodes: two for each node.
        options: more options of each server.
        primaries: number of primaries; each has a replica if there are twice as many nodes.
    """

    def __init__(
        self, ports: list[int], options: tuple[str, ...] = (), primaries: int = PRIMARIES
    ) -> None:
        self._primaries = primaries
        self._directory = Path(tempfile.mkdtemp(prefix="cluster-"))
        self.nodes: list[Node] = []
        for port, bus_port in zip(ports[::2], ports[1::2], strict=True):
            directory = self._directory / str(port)
            directory.mkdir()
            self.nodes.append(self.make_node(directory, port, bus_port, options))
        try:
            self.start()
            self._form()
        except BaseException:
            self.stop()
            raise

    def make_node(
        self, directory: Path, port: int, bus_port: int, options: tuple[str, ...]
    ) -> Node:
        """Return a node that does not run yet."""
        return Node(directory, port, bus_port, options)

    @property
    def url(self) -> str:
        """URL of the cluster, with its first primaries."""
        hosts = ",".join(f"{HOST}:{node.port}" for node in self.nodes[: self._primaries])
        return f"redis+cluster://{hosts}"

    @property
    def primaries(self) -> list[Node]:
        """The running primaries."""
        return [node for node in self.nodes if node.process is not None and node.is_primary]

    def flush(self) -> None:
        """Delete all data."""
        for node in self.primaries:
            node.execute("FLUSHALL")

    def start(self) -> None:
        """Start all servers and wait until each replies."""
        for node in self.nodes:
            if node.process is None:
                node.start()
        for node in self.nodes:
            _until(lambda node=node: node.execute("PING") == b"PONG")  # type: ignore[misc]

    def stop(self) -> None:
        """Kill all servers and delete their files."""
        for node in self.nodes:
            node.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _form(self) -> None:
        """Make one cluster of the servers.

        Source: Redis commands CLUSTER ADDSLOTSRANGE, CLUSTER MEET and CLUSTER REPLICATE.
        """
        count = self._primaries
        bounds = [SLOTS * number // count for number in range(count + 1)]
        for number, node in enumerate(self.nodes[:count]):
            node.execute("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            node.execute("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
        for number, node in enumerate(self.nodes):
            for other in self.nodes[number + 1 :]:  # gossip alone would take seconds
                node.execute("CLUSTER", "MEET", HOST, other.port, other.bus_port)
        for primary, replica in zip(self.nodes, self.nodes[count:], strict=False):
            identity = primary.id
            _until(
                lambda replica=replica, identity=identity: (  # type: ignore[misc]
                    replica.execute("CLUSTER", "REPLICATE", identity) == b"OK"
                )
            )
        self.wait()

    def wait(self) -> None:
        """Wait until the nodes agree on the owner and the replicas of each slot."""
        _until(self._is_formed)

    def _is_formed(self) -> bool:
        seen = set()
        length = 3 if len(self.nodes) == self._primaries else 4  # first, last, primary, replica
        for node in self.nodes:
            if b"cluster_state:ok" not in node.execute("CLUSTER", "INFO"):
                return False
            slots = node.execute("CLUSTER", "SLOTS")
            if any(len(entry) != length for entry in slots):
                return False
            seen.add(repr(sorted((first, last, primary[1]) for first, last, primary, *_ in slots)))
        links = [node.execute("ROLE") for node in self.nodes]
        return len(seen) == 1 and all(
            role[0] == b"master" or role[3] == b"connected" for role in links
        )

    def owner(self, slot: int) -> Node:
        """Return the primary of a slot, as the other nodes see it."""
        ports: set[int] = set()
        for node in self.nodes:
            if node.process is None:
                continue
            for first, last, primary, *_ in node.execute("CLUSTER", "SLOTS"):
                if first <= slot <= last:
                    ports.add(primary[1])
        (port,) = ports
        return next(node for node in self.nodes if node.port == port)

    def move(self, slot: int, target: Node) -> None:
        """Move an owned slot with its keys to another primary.

        Source: Redis documentation, "Redis cluster specification", live reconfiguration.
        """
        source = self.owner(slot)
        target.execute("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.execute("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        self.finish_move(slot, source, target)

    def migrate(self, source: Node, target: Node, keys: Iterable[bytes | str]) -> None:
        """Move some keys of a slot that is being moved."""
        source.execute(*("MIGRATE", HOST, target.port, "", 0, 60_000, "KEYS"), *keys)

    def finish_move(self, slot: int, source: Node, target: Node) -> None:
        """Move the remaining keys of a slot, and then the slot."""
        while keys := source.execute("CLUSTER", "GETKEYSINSLOT", slot, 100):
            self.migrate(source, target, keys)
        for node in (target, source):
            assign(node.execute, slot, target.id)
        self.wait_for_owner(slot, target)

    def wait_for_owner(self, slot: int, target: Node) -> None:
        """Wait until all nodes name a slot's owner."""
        _until(lambda: self._agree(slot, target))

    def _agree(self, slot: int, target: Node) -> bool:
        return all(
            primary[1] == target.port
            for node in self.nodes
            if node.process is not None
            for first, last, primary, *_ in node.execute("CLUSTER", "SLOTS")
            if first <= slot <= last
        )


def assign(execute: Callable[..., Any], slot: int, owner: bytes | str) -> None:
    """Set a slot's owner at a node; a node whose replica is late refuses it until then."""
    _until(lambda: bool(execute("CLUSTER", "SETSLOT", slot, "NODE", owner)))


def _until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; errors of Redis count as not yet."""
    ends = time.monotonic() + FORMED_WITHIN
    while True:
        try:
            if condition():
                return
            cause = ""
        except BusError as error:
            cause = f": {error}"
        if time.monotonic() > ends:
            raise TimeoutError(f"no cluster within {FORMED_WITHIN:g} seconds{cause}")
        time.sleep(0.02)


def main() -> None:
    """Run a cluster until Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cluster = Cluster([free_port() for _ in range(4 * PRIMARIES)])
    try:
        sys.stdout.write(f"{cluster.url}\n")
        sys.stdout.flush()
        while True:
            os.waitpid(-1, 0)
    except (KeyboardInterrupt, ChildProcessError):
        pass
    finally:
        cluster.stop()


if __name__ == "__main__":
    main()
