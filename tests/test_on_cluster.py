"""Presence, gateway, user manager and recovery on a Redis Cluster.

The classes run tests of a single server again.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from opentera_twisted import Procedures, SessionKeys, topics
from opentera_twisted.cli import suggestions
from opentera_twisted.gateway.access_policy import DefaultPolicy
from opentera_twisted.gateway.recovery import handover
from opentera_twisted.gateway.recovery.marker import REPLIES
from opentera_twisted.holders import GATEWAYS, HELD, OWED
from opentera_twisted.link import PRESENCE, USER_MANAGER, RedisAddress
from opentera_twisted.link.slots import SLOTS, key_slot, slot_tags
from opentera_twisted.link.topology import parse_slots
from opentera_twisted.logs import LogPublisher
from opentera_twisted.presence_lease import Lease
from opentera_twisted.revocation import topic_of
from opentera_twisted.sessions import Identity
from opentera_twisted.user_manager.changes import Change
from opentera_twisted.user_manager.registry import LOG, ONLINE, Registry
from opentera_twisted.variables import LogList
from tests import test_presence, test_presence_grace, test_presence_lease
from tests.gateway import test_gateway
from tests.gateway.recovery import test_returns
from tests.gateway.recovery.case import RecoveryTestCase
from tests.gateway.recovery.client import Client
from tests.helpers.admin import AdminTestCase
from tests.helpers.cluster import OnClusterTestCase
from tests.helpers.support import UUID, Collector, free_port, start_bus, turn, until
from tests.helpers.websockets import HandshakeFailed, connect
from tests.test_presence import enter, leave
from tests.user_manager import test_user_manager
from tools.cluster import HOST, PRIMARIES, Cluster

pytestmark = pytest.mark.xdist_group("cluster")


@pytest.mark.parametrize("keyspace", [PRESENCE, USER_MANAGER])
def test_keys_of_a_keyspace_are_in_the_slot_of_its_topic(keyspace: Any) -> None:
    slot = key_slot(keyspace.topic.encode())
    keys = keyspace.keys_on_cluster([f"{keyspace.prefix}a", f"{keyspace.prefix}b.c"])
    assert {key_slot(key.encode()) for key in keys} == {slot}
    assert keyspace.prefix_on_cluster in keyspace.text_on_cluster(f"'{keyspace.prefix}x'")


class PresenceTests(OnClusterTestCase, test_presence.SeveralGatewaysTests):
    async def test_presence_waits_while_its_slot_moves(self) -> None:
        bus = await self.bus()
        one, two = Lease(bus.link), Lease(bus.link)
        person = self.user()
        for lease in (one, two):
            await lease.renew([enter(person)], join=True)
        slot = key_slot(PRESENCE.topic.encode())
        source = self.cluster.owner(slot)
        target = next(node for node in self.cluster.primaries if node is not source)
        target.execute("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.execute("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        # The script at the target would not find this key, which is still at the source.
        first = (GATEWAYS, HELD + one.gateway)
        await deferToThread(self.cluster.migrate, source, target, map(PRESENCE.on_cluster, first))
        leaving = Deferred.fromCoroutine(one.renew([leave(person)], join=False))
        while not (leaving.called or bus.link.waiting):
            await turn()
        await deferToThread(self.cluster.finish_move, slot, source, target)
        assert await leaving
        assert await bus.presence.online("user") == [person.uuid]
        assert not self.redis.exists(OWED)  # the other gateway's key was seen
        await deferToThread(self.cluster.move, slot, source)

    async def test_presence_and_logs_go_on_while_another_node_is_lost(self) -> None:
        bus = await self.locked_out_bus()
        presence = self.local(bus)
        person = self.user()
        presence.opened(person)
        await presence.reported()
        owner = self.cluster.owner(key_slot(PRESENCE.topic.encode()))
        lost = next(node for node in self.cluster.primaries if node is not owner)
        await self.lock_out(bus, lost)
        ends = self.redis.zscore(GATEWAYS, presence.gateway)
        presence._renew()
        while self.redis.zscore(GATEWAYS, presence.gateway) == ends:
            await turn()
        presence.closed(person)
        await presence.stop()
        assert self.redis.zscore(GATEWAYS, presence.gateway) is None
        level = next(
            level for level in LogList if self.cluster.owner(key_slot(level.encode())) is not lost
        )
        publisher = LogPublisher(bus, "test")
        publisher.log(level, "still written")
        await publisher.flush()
        assert self.redis.llen(level.value) == 1
        assert not bus.link.is_ready


class KindTests(OnClusterTestCase, test_presence_lease.KindTests):
    async def test_a_key_is_kept_while_its_uuid_is_of_another_kind(self) -> None:
        bus = await self.bus()
        keys, lease = SessionKeys(bus), Lease(bus.link)
        key = await keys.issue("device", UUID)
        user = Identity("user", UUID)
        await lease.renew([enter(user)], join=True)
        assert await keys.redeem("device", key) is None
        await lease.renew([leave(user)], join=False)
        assert await keys.redeem("device", key) == Identity("device", UUID)


class GraceTests(OnClusterTestCase, test_presence_grace.GraceTests):
    pass


class LoginTests(OnClusterTestCase, test_gateway.LoginTests):
    pass


class GatewayPresenceTests(OnClusterTestCase, test_gateway.PresenceTests):
    pass


class RegistryTests(OnClusterTestCase, test_user_manager.RegistryTests):
    async def test_a_comparison_is_repeated_after_another_change(self) -> None:
        bus = await self.bus()
        registry, lease = Registry(bus.link), Lease(bus.link)
        person = Identity("user", UUID)
        online = Change("online", "user", UUID, b"")
        run = bus.link.run

        async def interfere(script: Any, keys: Any, *arguments: Any) -> Any:
            held = await run(script, keys, *arguments)
            if arguments == (f"user.{UUID}",):
                self.patch(bus.link, "run", run)
                await lease.renew([enter(person)], join=True)
                await registry.apply(0, [(b"a", [online])])
            return held

        self.redis.hset(f"{ONLINE}user", UUID, "gateway")  # a ghost, at the time of the first look
        self.patch(bus.link, "run", interfere)
        assert await registry.compare({"user": [], "participant": [], "device": []})
        assert await registry.online("user") == [UUID]
        assert self.redis.llen(LOG) == 1


class SameGatewayTests(OnClusterTestCase, test_returns.SameGatewayTests):
    pass


class OtherGatewayTests(OnClusterTestCase, test_returns.OtherGatewayTests):
    async def test_events_during_a_hand_over_arrive_once_and_in_order(self) -> None:
        old, first = await self.gateway()
        _, second = await self.gateway()
        client = await self.client(first)
        await client.drop()
        await self.is_held(old)
        names = [str(number) for number in range(150)]
        publishing = deferToThread(self.publish, *names)
        assert await client.come_back(second)
        await publishing
        assert await client.until(len(names)) == names


class ClassicTests(OnClusterTestCase, RecoveryTestCase):
    is_classic = True

    test_events_during_a_hand_over_arrive_once_and_in_order = (
        OtherGatewayTests.test_events_during_a_hand_over_arrive_once_and_in_order
    )

    async def test_a_pattern_receives_the_reports_of_presence(self) -> None:
        _, port = await self.gateway()
        bus, got = await self.bus(), Collector()
        await bus.subscribe_pattern("module.*.messages", got)
        await self.client(port)
        (report,) = await got.wait(1)
        assert report.topic == topics.module_messages(topics.USER_MANAGER_MODULE)


class NotRecoveredTests(OnClusterTestCase, RecoveryTestCase):
    of_one_server = test_returns.NotRecoveredTests
    test_a_client_that_opens_within_a_gap_recovers_nothing = (
        of_one_server.test_a_client_that_opens_within_a_gap_recovers_nothing
    )
    test_a_dead_gateway_recovers_nothing = of_one_server.test_a_dead_gateway_recovers_nothing


class ListeningTests(OnClusterTestCase, test_presence_lease.LeaseTestCase):
    of_one_server = test_presence_lease.ListeningTests
    start = of_one_server.start
    test_a_returning_module_gets_every_client_once = (
        of_one_server.test_a_returning_module_gets_every_client_once
    )


class GapTests(OnClusterTestCase, RecoveryTestCase):
    async def test_a_moved_slot_closes_only_the_clients_concerned(self) -> None:
        gate, port = await self.gateway()
        concerned, other = await self.client(port), await self.client(port, uuid=test_returns.OTHER)
        slot = key_slot(topics.websocket_events("user", UUID).encode())
        source = self.cluster.owner(slot)
        target = next(node for node in self.cluster.primaries if node is not source)
        topics_of, read = gate._fanout.topics_of, set()

        def read_topics(client: Any) -> tuple[str, ...]:
            read.add(client.identity.uuid)
            return topics_of(client)

        self.patch(gate._fanout, "topics_of", read_topics)
        await deferToThread(self.cluster.move, slot, target)
        assert (await concerned.websocket.closed)[0] == 1012
        assert not await concerned.come_back(port)
        assert gate.recovery.outcomes == {"gap": 1}
        assert read == {UUID}, "a pass over all sessions"
        self.publish("a")
        self.publish("b", uuid=test_returns.OTHER)
        assert await concerned.until(1) == ["a"]
        assert await other.until(1) == ["b"]
        assert not other.websocket.closed.called
        await deferToThread(self.cluster.move, slot, source)


class LostNodeTests(OnClusterTestCase, RecoveryTestCase):
    async def test_a_lost_node_refuses_only_the_logins_that_need_it(self) -> None:
        owners = parse_slots(self.cluster.nodes[0].execute("CLUSTER", "SLOTS"), HOST)

        def is_lost(*names: str) -> bool:
            return any(
                owners.owners[key_slot(name.encode())] == (HOST, lost.port) for name in names
            )

        async def make_key(uuid: str, *, at_lost: bool) -> str:
            key = await self.keys.issue("user", uuid)
            return key if is_lost(key) == at_lost else await make_key(uuid, at_lost=at_lost)

        def make_uuid(*, at_lost: bool) -> str:
            uuid = str(uuid4())
            names = (topics.websocket_events("user", uuid), topics.disconnect_command(uuid))
            return uuid if is_lost(*names) == at_lost else make_uuid(at_lost=at_lost)

        bus = await self.locked_out_bus()
        gate, port = await self.gateway(bus)
        lost = self.cluster.owner(0)
        shared = (topics.module_messages(topics.USER_MANAGER_MODULE), topic_of("user"))
        assert not is_lost(*shared, *DefaultPolicy().topics(Identity("user", UUID)))
        elsewhere, concerned = make_uuid(at_lost=False), make_uuid(at_lost=True)
        key_at_lost = await make_key(elsewhere, at_lost=True)
        key_of_concerned = await make_key(concerned, at_lost=False)
        good_key = await make_key(elsewhere, at_lost=False)
        await self.lock_out(bus, lost)

        for key in (key_at_lost, key_of_concerned):
            with pytest.raises(HandshakeFailed, match="503"):
                await connect(port, f"/wss/user?id={key}")
            await until(lambda: deferToThread(self.redis.exists, key), bool)  # noqa: B023
        assert set(gate.refusals) == {
            "no link to Redis",
            "no link to the Redis of the client's topics",
        }
        client = Client()
        await client.log_in(port, good_key)
        self.publish("a", uuid=elsewhere)
        assert await client.until(1) == ["a"]
        client.websocket.dropConnection(abort=True)
        self.publish("b", uuid=elsewhere)
        assert await client.come_back(port)
        assert await client.until(1) == ["a", "b"]
        await until(lambda: bus.presence.online("user"), [elsewhere].__eq__)
        assert not bus.link.is_ready

    async def test_a_return_waits_for_the_nodes_of_its_hand_over(self) -> None:
        tag = slot_tags()[0].decode()
        self.patch(handover, "REPLIES", f"{REPLIES}{{{tag}}}")
        lost = self.cluster.owner(0)
        _, first = await self.gateway()
        bus = await self.locked_out_bus()
        new, second = await self.gateway(bus)
        client = await self.client(first)
        while self.cluster.owner(key_slot(client.first["token"][:1].encode())) is lost:
            client = await self.client(first)
        await client.drop()
        self.publish("a")
        await self.lock_out(bus, lost)
        for _ in range(2):
            with pytest.raises(HandshakeFailed, match="503"):
                await client.come_back(second)
        assert set(new.refusals) == {"no link to the Redis of the hand-over"}
        lost.execute("ACL", "SETUSER", "late", "on")
        await bus.connected()
        assert await client.come_back(second)
        assert await client.until(1) == ["a"]


class AdminTests(OnClusterTestCase, AdminTestCase):
    async def test_health_and_metrics_name_each_node(self) -> None:
        admin = await self.admin()
        nodes = {f"127.0.0.1:{node.port}" for node in self.cluster.primaries}
        health = (await admin.ask("/health")).json()
        assert set(health["redis"]["nodes"]) == nodes
        rows = health["redis"]["nodes"].values()
        assert sum(row["slots"] for row in rows) == SLOTS
        assert all(row["ready"] and row["role"] == "primary" for row in rows)
        wanted = health["subscriptions"]["wanted"]
        assert sum(row["topics"]["wanted"] for row in rows) == wanted
        assert health["redis"]["reconnects"] == {"client": 0, "subscriber": 0}
        metrics = (await admin.ask("/metrics")).body.decode()
        for node in nodes:
            assert f'opentera_bus_node_ready{{node="{node}"}} 1.0' in metrics
            assert f'opentera_bus_node_slots{{node="{node}"}} 546' in metrics
            assert f'opentera_bus_node_topics{{node="{node}"}}' in metrics
        refused = await admin.ask("/api/traffic?patterns=t%2A")
        assert refused.status == 400
        assert "?pubsub=classic" in refused.json()["message"]
        await admin.ask("/api/traffic?patterns=t")
        await admin.bus.publish("t", "x")
        watched = await until(
            lambda: admin.ask("/api/traffic?patterns=t"), lambda answer: answer.json()["count"]
        )
        assert [message["topic"] for message in watched.json()["messages"]] == ["t"]


class CompletionTests(OnClusterTestCase):
    async def test_names_are_completed_from_all_nodes(self) -> None:
        bus = await self.bus()
        procedures = Procedures()
        procedures.expose(name="add")(lambda: None)
        keys = [f"S{number}" for number in range(6)]
        for key in keys:
            await bus.serve_service(key, procedures)
        await Lease(bus.link).renew([enter(Identity("user", UUID))], join=True)
        address = RedisAddress.parse(self.url)
        context: Any = SimpleNamespace(params={"server": "service.S1", "kind": "user"})
        for read, names in (
            (suggestions._read_servers, {f"service.{key}" for key in keys}),
            (suggestions._read_procedures, {"add"}),
            (suggestions._read_uuids, {UUID}),
        ):
            assert set(await deferToThread(read, address, context)) == names


class RestartTests(test_presence.PresenceTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster([free_port() for _ in range(4 * PRIMARIES)])
        self.addCleanup(self.cluster.stop)

    async def test_clients_are_online_again_after_all_nodes_restart(self) -> None:
        bus = start_bus(self, self.cluster.url)
        await bus.connected()
        presence, person = self.local(bus), self.user()
        presence.opened(person)
        await presence.reported()
        reports = await self.observe(bus)
        for node in self.cluster.nodes:
            node.kill()
        self.cluster.start()  # without data; not in a thread, with which the servers would end
        await deferToThread(self.cluster.wait)
        assert await reports.wait(1) == [("CONNECTED", person.uuid)]
        assert await bus.presence.online("user") == [person.uuid]
