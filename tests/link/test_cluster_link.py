"""The link to a cluster: moved slots, failovers, redirections and clear errors."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.testing import MemoryReactorClock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from opentera_twisted import (
    Bus,
    BusUnavailable,
    ClusterMode,
    ConnectionLost,
    CrossSlot,
    Delivery,
    NoResponder,
    NotOnCluster,
    Procedures,
)
from opentera_twisted.link import (
    ClusterLink,
    RedisAddress,
    blocking_connection,
    cluster_link,
    factory,
    protocol,
)
from opentera_twisted.link.cluster_subscriptions import ClusterSubscriptions
from opentera_twisted.link.slots import SLOTS, key_slot
from opentera_twisted.link.subscriptions import Name
from opentera_twisted.link.topology import Topology, parse_slots
from opentera_twisted.testing import MemoryClock, result_of
from tests.helpers.cluster import ClusterTestCase
from tests.helpers.support import (
    GUARD,
    Collector,
    folder_of,
    free_port,
    log_of,
    start_bus,
    start_server,
    turn,
    until,
)
from tools.cluster import HOST, Node

pytestmark = pytest.mark.xdist_group("cluster")


def in_thread(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    return deferToThread(function, *arguments)


def is_up(node: Node) -> bool:
    try:
        return bool(node.execute("PING") == b"PONG")
    except BusUnavailable:
        return False


async def failing(deferred: Deferred[Any]) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 (the test checks its type)
        await deferred
    return caught.value


class _FrozenNode:
    """A node that answers when the test wants."""

    def __init__(self) -> None:
        self.connection = self
        self.is_ready = False
        self.sent: list[tuple[Any, Any]] = []

    def send(
        self,
        arguments: tuple[Any, ...],
        done: Any,
        _replies: int = 1,
        _fence: bytes = b"",
        review: Any = None,
    ) -> None:
        self.sent.append((arguments[0], partial(review, arguments, done) if review else done))

    def answer(self, command: str, reply: object) -> None:
        name, done = self.sent.pop(0)
        assert name == command
        done(reply)


class RoleTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.node = MemoryClock(), _FrozenNode()
        address = RedisAddress.parse("redis+cluster://127.0.0.1:1")
        self.link = ClusterLink(address, reactor=self.clock, name="test")
        self.patch(self.link, "_node_of", lambda _: self.node)
        self.patch(self.link, "_learn_soon", lambda: None)
        self.outcomes: list[Any] = []

    def call(self) -> None:
        self.link.send(("PUBLISH", "service.S.rpc", "m"), self.outcomes.append)

    def test_a_gap_matters_only_to_a_topic_of_replies(self) -> None:
        self.link.subscriptions.in_gap.add(Name(b"refused", is_sharded=True))
        self.node.is_ready = True
        assert self.link.is_node_ready("refused")
        assert self.link.node_ready("refused").called
        assert self.link.is_ready_for("refused", "replies")
        assert not self.link.is_ready_for("topic", "refused")
        assert not self.link.ready_for("topic", "refused").called
        self.node.is_ready = False
        assert not self.link.is_node_ready("other")

    def test_a_waiting_call_is_checked_once_a_turn_while_gaps_end(self) -> None:
        checks: list[str] = []
        self.patch(self.link, "is_node_ready", checks.append)
        self.link.node_ready("topic").addErrback(lambda _: None)
        for _ in range(3):
            before = len(checks)
            for number in range(100):
                self.link._end_gap(b"%d" % number)
            self.clock.advance(0)
            assert len(checks) == before + 1

    def test_a_prompt_node_needs_one_question(self) -> None:
        self.call()
        self.node.answer("SPUBLISH", 0)
        self.node.answer("ROLE", [b"master"])
        assert self.outcomes == [0]
        assert not self.node.sent

    def test_a_frozen_node_needs_a_second_question(self) -> None:
        for suspects, seconds in ((set(), 1), ({(("127.0.0.1", 1), "client")}, 0)):
            self.link._suspects = suspects
            self.call()
            self.clock.advance(seconds)
            self.node.answer("SPUBLISH", 0)
            self.node.answer("ROLE", [b"master"])  # it has not heard of the takeover yet
            assert not self.outcomes
            self.clock.advance(seconds)
            self.node.answer("ROLE", [b"slave"])
            assert isinstance(self.outcomes.pop(), ConnectionLost)
            assert not self.node.sent

    def test_each_reply_of_a_slow_node_needs_a_later_question(self) -> None:
        self.call()
        self.call()
        for command, reply, settled in (
            ("SPUBLISH", 0, 0),
            ("ROLE", [b"master"], 0),
            ("SPUBLISH", 0, 0),
            ("ROLE", [b"master"], 1),
            ("ROLE", [b"master"], 2),
        ):
            self.clock.advance(1)
            self.node.answer(command, reply)
            assert self.outcomes == [0] * settled
        assert not self.node.sent


def test_an_observer_may_stop_the_link_when_a_node_joins() -> None:
    address = RedisAddress.parse("redis+cluster://127.0.0.1:1")
    link = ClusterLink(address, reactor=MemoryReactorClock(), name="test")
    link.start()
    link._was_ready = True
    link.on_lost.append(lambda _: Deferred.fromCoroutine(link.stop()))
    halves = [[0, 8191, [b"127.0.0.1", 1]], [8192, 16383, [b"127.0.0.1", 2]]]
    link._apply(parse_slots(halves, ""))
    assert (link.status, link.nodes) == ("stopped", {})


@pytest.mark.parametrize("failing", [0, 1])
def test_a_stop_fails_if_a_node_cannot_be_left(
    monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    address = RedisAddress.parse("redis+cluster://127.0.0.1:1")
    link = ClusterLink(address, reactor=MemoryReactorClock(), name="test")
    link.start()
    halves = [[0, 8191, [b"127.0.0.1", 1]], [8192, 16383, [b"127.0.0.1", 2]]]
    link._apply(parse_slots(halves, ""))
    leaving: list[Deferred[None]] = [Deferred(), Deferred()]
    for node, left in zip(link.nodes.values(), leaving, strict=True):
        monkeypatch.setattr(node, "stop", partial(_wait, left))
    stopped = Deferred.fromCoroutine(link.stop())
    leaving[failing].errback(ZeroDivisionError())
    assert not stopped.called
    leaving[1 - failing].callback(None)
    with pytest.raises(ZeroDivisionError):
        result_of(stopped)
    assert (link.status, link.nodes, dict(link.slots)) == ("stopped", {}, {})
    link.start()
    assert link.status == "connecting"


async def _wait(waiting: Deferred[None]) -> None:
    await waiting


def test_messages_follow_their_slot_to_its_new_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_link, "MOST_ROUTES", 3)
    address = RedisAddress.parse("redis+cluster://127.0.0.1:1")
    link = ClusterLink(address, reactor=MemoryReactorClock(), name="test")
    monkeypatch.setattr(link, "_learn_soon", lambda: None)
    slot = key_slot(b"topic")

    def owned_by(port: int) -> Topology:
        host = HOST.encode()
        return parse_slots([[0, SLOTS - 1, [host, 3 - port]], [slot, slot, [host, port]]], "")

    link._apply(owned_by(1))
    sent: list[int] = []
    for (_, port), node in link.nodes.items():
        connection: Any = SimpleNamespace(send=lambda *_, port=port: sent.append(port))
        node.connection = connection
    for move in (
        lambda: None,
        lambda: link._apply(owned_by(2)),
        lambda: link._move(slot, (HOST, 1)),
    ):
        move()
        for _ in range(2):
            link.send(("PUBLISH", "topic", "m"), print)
    assert sent == [1, 1, 2, 2, 1, 1]
    for number in range(10):
        link.send(("PUBLISH", f"topic {number}", "m"), print)
        assert len(link._routes) <= 3


class ClusterLinkTests(ClusterTestCase):
    def topics(self) -> list[str]:
        """Return a topic of each primary."""
        found: dict[int, str] = {}
        number = 0
        while len(found) < len(self.cluster.primaries):
            topic = f"t{number}"
            found.setdefault(self.owner(topic).port, topic)
            number += 1
        return list(found.values())

    def owner(self, name: str) -> Node:
        return self.cluster.owner(key_slot(name.encode()))

    def other(self, name: str) -> Node:
        """Return a primary that does not own the slot of a name."""
        owner = self.owner(name)
        return next(node for node in self.cluster.primaries if node is not owner)

    def replica_of(self, node: Node) -> Node:
        return next(
            other
            for other in self.cluster.nodes
            if other.process is not None and other.execute("ROLE")[0:3:2] == [b"slave", node.port]
        )

    async def follow(self, bus: Bus, topics: list[str]) -> tuple[Collector, Collector]:
        """Subscribe to topics; return the deliveries, and the topics with a gap."""
        got, gaps = Collector(), Collector()
        for topic in topics:
            await bus.subscribe(topic, got, lambda topic=topic: gaps(topic))  # type: ignore[misc]
        return got, gaps

    async def assert_all_arrive(self, bus: Bus, topics: list[str], got: Collector) -> None:
        """Publish on each topic and expect exactly one delivery of each."""
        before = len(got.items)
        assert await gatherResults([bus.publish(topic, topic) for topic in topics]) == [1] * len(
            topics
        )
        deliveries = (await got.wait(before + len(topics)))[before:]
        expected = [Delivery(topic, None, topic.encode()) for topic in topics]
        assert sorted(deliveries) == sorted(expected)

    async def test_a_moved_slot_interrupts_its_topics_alone(self) -> None:
        bus = await self.bus()
        topics = self.topics()
        got, gaps = await self.follow(bus, topics)
        source, target = self.owner(topics[0]), self.other(topics[0])
        await bus.variables.set(topics[0], "kept")
        for moves, node in enumerate((target, source), 1):  # there and back
            await in_thread(self.cluster.move, key_slot(topics[0].encode()), node)
            await gaps.wait(moves)
            await self.assert_all_arrive(bus, topics, got)
            assert await bus.variables.get(topics[0]) == b"kept"
        assert gaps.items == [topics[0]] * 2

    async def test_a_classic_link_learns_that_a_slot_has_moved(self) -> None:
        bus = await self.bus(f"{self.cluster.url}/?pubsub=classic")
        assert isinstance(bus.link, ClusterLink)
        marker = min(bus.link._markers).decode()
        topic = "t" + marker[marker.index("{") :]  # in the same slot
        got, gaps = await self.follow(bus, [topic])
        await bus.subscribe_pattern("t*", got, lambda: gaps("t*"))
        source, target = self.owner(topic), self.other(topic)
        for moves, node in enumerate((target, source), 1):  # there and back
            await in_thread(self.cluster.move, key_slot(topic.encode()), node)
            await gaps.wait(moves)
            await bus.publish(topic, "x")
            deliveries = (await got.wait(2 * moves))[-2:]
            assert {delivery.pattern for delivery in deliveries} == {None, "t*"}
        assert gaps.items == [topic] * 2
        # Messages that a lost node has sent may not have arrived at the node of the pattern.
        self.other("t*").execute("CLIENT", "KILL", "TYPE", "pubsub")
        while "t*" not in gaps.items:
            await gaps.wait(len(gaps.items) + 1)

    async def test_a_node_is_added_and_removed(self) -> None:
        bus, classic = await self.bus(), await self.bus(f"{self.cluster.url}/?pubsub=classic")
        topic = self.topics()[0]
        got, gaps = await self.follow(bus, [topic])
        pattern_gaps = Collector()
        await classic.subscribe_pattern("t*", Collector(), lambda: pattern_gaps("t*"))
        source = self.owner(topic)
        stays_primary = ("--cluster-allow-replica-migration", "no")  # without slots too
        added = Node(folder_of(self), free_port(), free_port(), stays_primary)
        self.addCleanup(added.kill)
        added.start()
        await until(turn, lambda _: is_up(added))
        for node in self.cluster.nodes:
            node.execute("CLUSTER", "MEET", HOST, added.port, added.bus_port)
        await until(turn, lambda _: b"cluster_state:ok" in added.execute("CLUSTER", "INFO"))
        old = self.cluster.nodes
        with_added = self.patch(self.cluster, "nodes", [*old, added])
        slot = key_slot(topic.encode())
        await in_thread(self.cluster.move, slot, added)
        await gaps.wait(1)
        await self.assert_all_arrive(bus, [topic], got)
        assert (HOST, added.port) in bus.link.nodes
        assert isinstance(classic.link, ClusterLink)
        await until(turn, lambda _: (HOST, added.port) in classic.link.nodes)
        left = classic.link.nodes[HOST, added.port]
        await left.ready()
        await in_thread(self.cluster.move, slot, source)
        await gaps.wait(2)
        await until(turn, lambda _: set(left.states.values()) == {"idle"})
        assert classic.link.subscriptions.is_settled
        await pattern_gaps.wait(1)
        await classic.subscribe_pattern("t*", Collector())
        identity = added.id
        added.kill()
        with_added.restore()
        for node in old:
            node.execute("CLUSTER", "FORGET", identity)
        await until(turn, lambda _: (HOST, added.port) not in bus.link.nodes)
        await self.assert_all_arrive(bus, [topic], got)
        assert gaps.items == [topic] * 2
        await in_thread(self.cluster.wait)

    async def test_a_moved_slot_interrupts_no_call(self) -> None:
        server, caller = await self.bus(), await self.bus()
        procedures = Procedures()

        @procedures.expose
        def same(value: int) -> int:
            return value

        await server.serve_service("S", procedures)
        slot = key_slot(b"service.S.rpc")
        source, target = self.cluster.owner(slot), self.other("service.S.rpc")
        for node in (target, source):
            moving = in_thread(self.cluster.move, slot, node)
            values: list[object] = []
            while not moving.called:
                try:
                    values.append(await caller.call_service("S", "same", len(values)))
                except NoResponder:  # the server has not subscribed at the new owner yet
                    values.append(len(values))
            await moving
            assert values == list(range(len(values)))
        await server.connected()

    async def test_a_failover_interrupts_the_topics_of_its_shard_alone(self) -> None:
        bus = await self.bus()
        topics = self.topics()
        got, gaps = await self.follow(bus, topics)
        primary = self.owner(topics[1])
        replica = await in_thread(self.replica_of, primary)
        publisher, beside = await self.bus(), f"{{{topics[1]}}}"
        await bus.subscribe(beside, Collector())
        replica.execute("CLUSTER", "FAILOVER")
        await gaps.wait(1)
        await bus.connected()
        # Its former primary accepts messages as a replica, and would count no receivers.
        receivers = None
        while receivers is None:
            with contextlib.suppress(ConnectionLost):
                receivers = await publisher.publish(beside, "x")
        assert receivers == 1
        await self.assert_all_arrive(bus, topics, got)
        assert gaps.items == [topics[1]]
        await in_thread(self.cluster.wait)

    async def test_a_replica_takes_over_from_a_killed_primary(self) -> None:
        bus, classic = await self.bus(), await self.bus(f"{self.cluster.url}/?pubsub=classic")
        topics = self.topics()
        got, gaps = await self.follow(bus, topics)
        pattern_gaps = Collector()
        pattern = f"{{{topics[0]}}}*"
        await classic.subscribe_pattern(pattern, Collector(), lambda: pattern_gaps(pattern))
        primary = self.owner(topics[2])
        replica = await in_thread(self.replica_of, primary)
        assert isinstance(bus.link, ClusterLink)
        link = bus.link.nodes["127.0.0.1", primary.port]
        self.addCleanup(self.restore)
        primary.kill()
        await until(turn, lambda _: link.connection is None)
        written = bus.variables.set(topics[2], "after")  # waits for the new primary
        before = bus.link.statistics["client"].published
        assert await bus.publish(topics[0], "x") == 1  # the other nodes go on
        assert bus.link.statistics["client"].published == before + 1
        await got.wait(1)
        await pattern_gaps.wait(1)
        counts = classic.link.statistics["subscriber"]
        failed = counts.failed
        await until(turn, lambda _: counts.failed > failed + 1)
        table = classic.link.subscriptions
        assert isinstance(table, ClusterSubscriptions)
        await until(turn, lambda _: table.is_settled)
        replica.execute("CLUSTER", "FAILOVER", "TAKEOVER")
        assert await written is True
        await classic.connected()
        assert pattern_gaps.items == [pattern]
        await gaps.wait(1)
        await bus.connected()
        await self.assert_all_arrive(bus, topics, got)
        assert gaps.items == [topics[2]]
        await self.restore()  # the killed one comes back as a replica
        await self.assert_all_arrive(bus, topics, got)

    async def test_a_frozen_node_is_left_when_its_replica_takes_over(self) -> None:
        self.patch(cluster_link, "PROBE_INTERVAL", 0.1)
        self.patch(factory, "PING_TIMEOUT", GUARD)
        self.patch(protocol, "CHECKS", 10 * GUARD)
        bus = await self.bus()
        topics = self.topics()
        got, gaps = await self.follow(bus, topics)
        primary = self.owner(topics[0])
        replica = await in_thread(self.replica_of, primary)
        self.addCleanup(in_thread, self.cluster.wait)
        primary.signal(signal.SIGSTOP)
        self.addCleanup(primary.signal, signal.SIGCONT)
        unanswered = Deferred.fromCoroutine(failing(bus.variables.get(topics[0])))
        replica.execute("CLUSTER", "FAILOVER", "TAKEOVER")
        await gaps.wait(1)
        await bus.connected()
        await self.assert_all_arrive(bus, topics, got)
        assert gaps.items == [topics[0]]
        assert isinstance(await unanswered, ConnectionLost)

    async def restore(self) -> None:
        self.cluster.start()  # not in a thread, with which the servers would end
        await in_thread(self.cluster.wait)

    async def test_a_key_on_its_way_is_read_where_it_is(self) -> None:
        bus = await self.bus()
        slot = key_slot(b"k")
        source, target = self.cluster.owner(slot), self.other("k")
        await bus.variables.set("k", "1")
        target.execute("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.execute("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        try:
            assert await bus.variables.get("k") == b"1"  # not moved yet
            source.execute("MIGRATE", "127.0.0.1", target.port, "k", 0, 60_000)
            assert await bus.variables.get("k") == b"1"  # ASK
            assert await bus.variables.compare_and_set("k", "1", "2") is True
            assert await bus.variables.get("k") == b"2"
        finally:
            await in_thread(self.cluster.finish_move, slot, source, target)
        assert await bus.variables.get("k") == b"2"

    async def test_a_watch_follows_its_variable_to_another_node(self) -> None:
        bus, other = await self.bus(), await self.bus()
        told = Collector()
        watch = await bus.variables.watch("w", lambda _, value: told(value))
        await (await bus.variables.watch("{w}", lambda *_: None)).cancel()  # has the same topic
        for number in range(4):
            # A variable without a value leaves nothing to invalidate when its slot moves.
            await in_thread(self.cluster.move, key_slot(b"w"), self.other("w"))
            await other.variables.set("w", str(number))
            while told.items[-1] != b"%d" % number:
                await told.wait(len(told.items) + 1)
            if number % 2:
                await other.variables.delete("w")
        await watch.cancel()
        assert not [name for name in bus.link.subscriptions.wanted if b"slot" in name.text]

    async def test_variables_of_several_slots_are_deleted_together(self) -> None:
        bus = await self.bus()
        names = [f"v{number}" for number in range(20)]
        await gatherResults([bus.variables.set(name, "x") for name in names])
        assert await bus.variables.delete(*names, "nothing") == 20

    async def test_a_blocking_connection_finds_each_key(self) -> None:
        address = RedisAddress.parse(self.cluster.url)
        for number, topic in enumerate(self.topics()):
            assert blocking_connection.execute(address, "RPUSH", f"{{{topic}}}", number) == 1

    async def test_nodes_of_unknown_hosts_are_at_the_host_of_the_url(self) -> None:
        self.addCleanup(self.announce, "ip")
        seed = f"redis+cluster://localhost:{self.cluster.primaries[0].port}"
        for kind, host in (("hostname", b"?"), ("unknown-endpoint", None)):
            self.announce(kind)
            assert self.cluster.primaries[0].execute("CLUSTER", "SLOTS")[0][2][0] == host
            bus = await self.bus(seed)
            assert {host for host, _ in bus.link.nodes} == {"localhost"}
            for topic in self.topics():
                await bus.variables.set(topic, kind)
                moved = in_thread(
                    blocking_connection.execute, RedisAddress.parse(seed), "GET", topic
                )
                assert await moved == kind.encode()

    def announce(self, kind: str) -> None:
        for node in self.cluster.nodes:
            node.execute("CONFIG", "SET", "cluster-preferred-endpoint-type", kind)

    async def test_commands_of_txredisapi_go_to_the_node_of_their_key(self) -> None:
        bus = await self.bus()
        for topic in self.topics():
            assert await bus.redis.hset(topic, "a", "1") == 1
            assert await bus.redis.hget(topic, "a") == b"1"
            assert await bus.redis.eval("return redis.call('HLEN', KEYS[1])", [topic]) == 1
        with pytest.raises(NotOnCluster, match="only one node"):
            bus.redis.keys("*")

    async def test_keys_of_several_slots_need_a_hash_tag(self) -> None:
        bus = await self.bus()
        error = await failing(bus.link.execute("MGET", "a", "b"))
        assert isinstance(error, CrossSlot)
        assert "hash tag" in str(error)
        assert await bus.link.execute("MGET", "{a}1", "{a}2") == [None, None]

    async def test_a_call_without_a_server_fails_at_any_node(self) -> None:
        self.patch(cluster_link, "PROMPT", GUARD)
        self.patch(cluster_link, "PROBE_INTERVAL", 10 * GUARD)  # so that no probe is late
        keys = [f"S{number}" for number in range(9)]
        assert len({self.owner(f"service.{key}.rpc") for key in keys}) == 3
        for kind in ("sharded", "classic"):
            bus = await self.bus(f"{self.cluster.url}/?pubsub={kind}")
            sent = bus.link.statistics["client"].commands
            for number, key in enumerate(keys, start=1):
                calling = bus.call_service(key, "f")
                # The check of the node's role is on its way with the call: one round trip.
                assert sent["ROLE"] == sent["SPUBLISH"] == number
                assert isinstance(await failing(calling), NoResponder)
            procedures = Procedures()

            @procedures.expose
            def f() -> None:
                pass

            server = await bus.serve_service(keys[0], procedures)
            for _ in range(3):
                assert await bus.call_service(keys[0], "f") is None
            assert sent["ROLE"] == len(keys) + 1
            await server.stop()
            assert isinstance(await failing(bus.call_service(keys[0], "f")), NoResponder)
            assert sent["ROLE"] == len(keys) + 2

    async def test_a_cluster_needs_its_own_scheme(self) -> None:
        url = f"redis://127.0.0.1:{self.cluster.primaries[0].port}"
        log = log_of(self)
        bus = await self.bus(url)
        while not any(
            f"; use the URL {url.replace(':', '+cluster:', 1)}" in line for line in log.items
        ):
            await log.wait(len(log.items) + 1)
        names = (f"v{number}" for number in range(100))
        here = bus.link.address.hosts[0][1]
        elsewhere = next(name for name in names if self.owner(name).port != here)
        error = await failing(bus.variables.get(elsewhere))
        assert isinstance(error, ClusterMode)
        assert f"use the URL redis+cluster://127.0.0.1:{self.owner(elsewhere).port}," in str(error)
        assert str(ClusterMode("GET", "MOVED 1 :1")).count("redis+cluster://HOST:PORT") == 1
        other = start_bus(self, f"{url}/1")
        refused = Collector()
        other.link.on_refused.append(refused)
        await refused.wait(1)
        assert "no such database" in other.link.cause
        with pytest.raises(BusUnavailable, match="no such database"):
            await in_thread(blocking_connection.BlockingConnection, RedisAddress.parse(f"{url}/1"))

    async def test_a_single_server_is_no_cluster(self) -> None:
        server = start_server(self)
        bus = start_bus(self, f"redis+cluster://127.0.0.1:{server.port}")
        refused = Collector()
        bus.link.on_refused.append(refused)
        await refused.wait(1)
        assert f"is not a cluster; use the URL redis://127.0.0.1:{server.port}/0" in bus.link.cause

    async def test_commands_wait_until_the_cluster_is_known(self) -> None:
        bus = Bus(self.cluster.url)
        waiting = bus.variables.get("a")
        self.addCleanup(bus.stopService)
        stopped = bus.link.execute("GET", "b", timeout=0.01)
        error = await failing(stopped)
        assert isinstance(error, BusUnavailable)
        bus.startService()
        assert await waiting.addTimeout(GUARD, bus.link.clock) is None
