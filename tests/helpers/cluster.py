"""A Redis Cluster for tests, shared by those of the group ``cluster``."""

from __future__ import annotations

from functools import cache
from typing import Any

import redis
from twisted.trial.unittest import TestCase

from opentera_twisted import Bus
from opentera_twisted.link import PRESENCE, USER_MANAGER
from tests.helpers.support import GUARD, RedisTestCase, free_port, start_bus, turn
from tools.cluster import PRIMARIES, Cluster, Node


@cache
def shared_cluster() -> Cluster:
    """Return the shared cluster, which the session stops at its end."""
    return Cluster([free_port() for _ in range(4 * PRIMARIES)])


def add_user(test: TestCase, name: str, password: str) -> None:
    """Add a user to all nodes for a test; a URL may name nodes that became replicas."""
    for node in shared_cluster().nodes:
        node.execute("ACL", "SETUSER", name, "on", f">{password}", "~*", "&*", "+@all")
        test.addCleanup(node.execute, "ACL", "DELUSER", name)


class ClusterTestCase(TestCase):
    """A test against the shared cluster, emptied before each."""

    is_classic = False

    @property
    def url(self) -> str:
        """URL of the cluster, with the kind of topics that the tests use."""
        return self.cluster.url + "/?pubsub=classic" * self.is_classic

    def setUp(self) -> None:
        """Delete all data of the cluster."""
        self.cluster = shared_cluster()
        for node in self.cluster.primaries:
            node.execute("FLUSHALL")

    async def bus(
        self, url: str | None = None, name: str = "test", *, tracing: bool = False
    ) -> Bus:
        """Return a connected bus that is stopped at the end of the test."""
        bus = start_bus(self, url or self.url, name, tracing=tracing)
        await bus.connected()
        return bus

    async def locked_out_bus(self) -> Bus:
        """Return a bus whose user `lock_out` locks out of a node."""
        add_user(self, "late", "secret")
        return await self.bus(self.url.replace("//", "//late:secret@"))

    async def lock_out(self, bus: Bus, node: Node) -> None:
        """Keep a bus away from a node, as if that were lost."""
        node.execute("ACL", "SETUSER", "late", "off")
        node.execute("CLIENT", "KILL", "USER", "late")
        while bus.link.is_ready:
            await turn()

    def break_connections(self) -> None:
        """Break the connections of all programs to all nodes."""
        for node in self.cluster.nodes:
            node.execute("CLIENT", "KILL", "TYPE", "pubsub")
            node.execute("CLIENT", "KILL", "TYPE", "normal")


class OnCluster:
    """Another program's client of the shared cluster, with the names of a single server.

    Sharded channels take the place of channels, except with ``is_classic``; keyspaces have their
    names on a cluster.
    """

    def __init__(self, cluster: Cluster, *, is_classic: bool) -> None:
        self._is_classic = is_classic
        node = cluster.nodes[0]
        self._client = redis.RedisCluster(
            host="127.0.0.1", port=node.port, protocol=2, socket_timeout=GUARD
        )
        self.close = self._client.close

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*arguments: Any, **named: Any) -> Any:
            return method(*map(_named, arguments), **named)

        return call

    def publish(self, topic: str, payload: bytes) -> int:
        """Publish a message."""
        publish = self._client.publish if self._is_classic else self._client.spublish
        receivers: int = publish(topic, payload)
        return receivers

    def client_kill_filter(self, **filters: Any) -> None:
        """Break the connections of one kind to all nodes."""
        self._client.client_kill_filter(**filters, target_nodes=redis.RedisCluster.ALL_NODES)

    def keys(self, pattern: str = "*") -> list[bytes]:
        """List the keys of all nodes."""
        found: Any = self._client.keys(_named(pattern), target_nodes=redis.RedisCluster.PRIMARIES)
        return [_single(name) for name in found]

    def pubsub(self) -> Any:
        """Return a subscriber to one channel."""
        return _Subscriber(self._client)


class _Subscriber:
    def __init__(self, client: redis.RedisCluster) -> None:
        self._client = client
        self._pubsub: Any = None

    def subscribe(self, channel: str) -> None:
        node = self._client.get_node_from_key(channel)
        self._pubsub = node.redis_connection.pubsub()
        self._pubsub.ssubscribe(channel)

    def get_message(self, timeout: float, ignore_subscribe_messages: bool = False) -> Any:
        received = self._pubsub.get_sharded_message(ignore_subscribe_messages, timeout)
        if received is not None and received["type"] == "smessage":
            received["type"] = "message"
        return received

    def close(self) -> None:
        self._pubsub.close()


def _named(argument: Any) -> Any:
    """Return the name of a key of a keyspace on a cluster; anything else as it is."""
    for keyspace in (PRESENCE, USER_MANAGER):
        if isinstance(argument, str) and argument.startswith(keyspace.prefix):
            return keyspace.on_cluster(argument)
    return argument


def _single(name: bytes) -> bytes:
    for keyspace in (PRESENCE, USER_MANAGER):
        name = name.replace(keyspace.prefix_on_cluster.encode(), keyspace.prefix.encode())
    return name


class OnClusterTestCase(ClusterTestCase, RedisTestCase):
    """Mixin that runs a test for a single server against the shared cluster."""

    def setUp(self) -> None:
        """Delete all data of the cluster."""
        super().setUp()
        self.redis: Any = OnCluster(self.cluster, is_classic=self.is_classic)
        self.addCleanup(self.redis.close)
