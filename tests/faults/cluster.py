"""A cluster whose nodes announce the ports of proxies, so that a test can partition it."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from opentera_twisted.errors import BusError
from opentera_twisted.link import RedisAddress
from opentera_twisted.link.blocking_connection import BlockingConnection, execute
from opentera_twisted.link.slots import SLOTS
from tests.helpers.support import GUARD, free_port
from tools.cluster import HOST, PRIMARIES, Cluster, Node, assign

from .partition import Network

PATIENT = 60_000
"""Milliseconds after which nodes replace a silent one, where a test does it by itself."""

QUICK = 3_000
"""The same where the nodes shall do it."""


class ProxiedNode(Node):
    """A server behind a proxy for clients and another for nodes.

    Attributes:
        source: address from which it connects to other nodes.
    """

    def __init__(
        self,
        network: Network,
        source: str,
        directory: Path,
        port: int,
        bus_port: int,
        options: tuple[str, ...],
    ) -> None:
        self.source = source
        self.ports = free_port(), free_port()
        for announced, own in zip((port, bus_port), self.ports, strict=True):
            network.forward(announced, own)
        announcing = (
            *("--port", str(self.ports[0]), "--cluster-port", str(self.ports[1])),
            *("--cluster-announce-ip", HOST, "--cluster-announce-port", str(port)),
            *("--cluster-announce-bus-port", str(bus_port), "--bind-source-addr", source),
        )
        super().__init__(directory, port, bus_port, (*options, *announcing))

    def execute(self, *command: bytes | str | int) -> Any:
        """Send one command to this node, past its proxy."""
        return execute(self._address, *command)

    def connect(self) -> BlockingConnection:
        """Connect to this node, past its proxy."""
        return BlockingConnection(self._address)

    @property
    def _address(self) -> RedisAddress:
        return RedisAddress(hosts=((HOST, self.ports[0]),))


class ProxiedCluster(Cluster):
    """Three primaries with a replica each, behind proxies.

    Attributes:
        network: the proxies.
        absent: nodes that a fault has taken away; the others need not agree with them.
    """

    def __init__(self) -> None:
        self.network = Network()
        self.absent: set[Node] = set()
        self._made = 0
        super().__init__(
            [free_port() for _ in range(4 * PRIMARIES)],
            # Also with one primary less; a new primary without slots must not become a replica.
            ("--cluster-node-timeout", str(PATIENT), "--cluster-allow-replica-migration", "no"),
        )

    def make_node(
        self, directory: Path, port: int, bus_port: int, options: tuple[str, ...]
    ) -> ProxiedNode:
        """Return a node that does not run yet."""
        self._made += 1
        source = f"127.0.1.{self._made}"
        return ProxiedNode(self.network, source, directory, port, bus_port, options)

    def stop(self) -> None:
        """Kill all servers and delete their files."""
        super().stop()
        self.network.stop()

    def set_node_timeout(self, milliseconds: int) -> None:
        """Set the time after which nodes replace a silent one."""
        for node in self.present:
            node.execute("CONFIG", "SET", "cluster-node-timeout", milliseconds)

    @property
    def present(self) -> list[Node]:
        """Running nodes that no fault has taken away."""
        return [node for node in self.nodes if node.process is not None and node not in self.absent]

    def isolate(self, node: Node, *, from_clients: bool) -> None:
        """Silence a node for all other nodes, and for clients too if so told."""
        assert isinstance(node, ProxiedNode)
        sources = {other.source for other in self.nodes if isinstance(other, ProxiedNode)}

        def is_silent(source: str, target: int) -> bool:
            if target in node.ports:
                return source != node.source and (from_clients or source in sources)
            return source == node.source

        self.absent.add(node)
        self.network.partition(is_silent)

    def hide_from_clients(self, node: Node) -> None:
        """Silence a node for clients only."""
        assert isinstance(node, ProxiedNode)
        sources = {other.source for other in self.nodes if isinstance(other, ProxiedNode)}
        self.network.partition(
            lambda source, target: target == node.ports[0] and source not in sources
        )

    def until_answers(self, node: Node) -> None:
        """Wait until a node that starts answers."""
        ends = time.monotonic() + GUARD
        while True:
            with suppress(BusError):
                if node.execute("PING") == b"PONG":
                    return
            assert time.monotonic() < ends, "the node does not start"
            time.sleep(0.02)

    def until_healthy(self) -> float:
        """Wait until the present nodes agree on the owner of each slot.

        Returns:
            Time of the monotonic clock.
        """
        ends = time.monotonic() + GUARD
        while not self._is_healthy():
            assert time.monotonic() < ends, "the cluster does not recover"
            time.sleep(0.02)
        return time.monotonic()

    def _is_healthy(self) -> bool:
        views = set()
        absent = {node.port for node in self.nodes if node not in self.present}
        with suppress(BusError):
            for node in self.present:
                if b"cluster_state:ok" not in node.execute("CLUSTER", "INFO"):
                    return False
                slots = node.execute("CLUSTER", "SLOTS")
                ranges = sorted((first, last, primary[1]) for first, last, primary, *_ in slots)
                if sum(last - first + 1 for first, last, _ in ranges) != SLOTS:
                    return False
                if any(port in absent for *_, port in ranges):
                    return False
                views.add(repr(ranges))
            return len(views) == 1
        return False

    def restore(self) -> None:
        """End every fault, and wait until each primary has a replica again."""
        self.network.heal()
        self.absent.clear()
        self.start()
        self.set_node_timeout(PATIENT)

    def slots_of(self, primary: Node) -> set[int]:
        """Return the slots of a primary."""
        return {
            slot
            for first, last, owner, *_ in self.present[0].execute("CLUSTER", "SLOTS")
            if owner[1] == primary.port
            for slot in range(first, last + 1)
        }

    def move_range(self, slots: range, target: Node) -> None:
        """Move slots of one primary one after the other, with the commands of all versions."""
        source = self.owner(slots[0])
        assert isinstance(source, ProxiedNode)
        assert isinstance(target, ProxiedNode)
        identities = source.id, target.id
        with source.connect() as at_source, target.connect() as at_target:
            for slot in slots:
                at_target.execute("CLUSTER", "SETSLOT", slot, "IMPORTING", identities[0])
                at_source.execute("CLUSTER", "SETSLOT", slot, "MIGRATING", identities[1])
                while keys := at_source.execute("CLUSTER", "GETKEYSINSLOT", slot, 100):
                    to = (HOST, target.port, "", 0, 60_000)
                    at_source.execute("MIGRATE", *to, "KEYS", *keys)
                for node in (at_target, at_source):
                    assign(node.execute, slot, identities[1])
        self.wait_for_owner(slots[-1], target)

    def migrate_range(self, slots: range, target: Node) -> None:
        """Move slots of one primary with Valkey's atomic migration."""
        what = ("SLOTSRANGE", slots[0], slots[-1], "NODE", target.id)
        self.owner(slots[0]).execute("CLUSTER", "MIGRATESLOTS", *what)
        self.wait_for_owner(slots[-1], target)

    def replica_of(self, primary: Node) -> Node:
        """Return the replica of a primary."""
        return next(
            node for node in self.present if node.execute("ROLE")[0:3:2] == [b"slave", primary.port]
        )


@cache
def proxied_cluster() -> ProxiedCluster:
    """Return the shared cluster, which the session stops at its end."""
    return ProxiedCluster()
