"""A Redis Cluster for tests, shared by those of the group ``cluster``."""

from __future__ import annotations

from functools import cache

from twisted.trial.unittest import TestCase

from opentera_twisted import Bus
from tests.helpers.support import free_port, start_bus
from tools.cluster import PRIMARIES, Cluster


@cache
def shared_cluster() -> Cluster:
    """Return the shared cluster, which the session stops at its end."""
    return Cluster([free_port() for _ in range(4 * PRIMARIES)])


class ClusterTestCase(TestCase):
    """A test against the shared cluster, emptied before each."""

    def setUp(self) -> None:
        """Delete all data of the cluster."""
        self.cluster = shared_cluster()
        for node in self.cluster.primaries:
            node.execute("FLUSHALL")

    async def bus(self, url: str | None = None, name: str = "test") -> Bus:
        """Return a connected bus that is stopped at the end of the test."""
        bus = start_bus(self, url or self.cluster.url, name)
        await bus.connected()
        return bus

    def break_connections(self) -> None:
        """Break the connections of all programs to all nodes."""
        for node in self.cluster.nodes:
            node.execute("CLIENT", "KILL", "TYPE", "pubsub")
            node.execute("CLIENT", "KILL", "TYPE", "normal")
