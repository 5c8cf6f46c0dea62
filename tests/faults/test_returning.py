"""Faults while a client is away: it recovers each event once, or learns that it did not."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterable
from uuid import uuid4

import pytest
from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.threads import deferToThread

from opentera_twisted import BusError, Delivery, SessionKeys
from opentera_twisted.gateway import admission
from opentera_twisted.gateway.recovery import handover
from opentera_twisted.gateway.recovery.peers import GATEWAYS
from opentera_twisted.gateway.recovery.tokens import _TAKE, TOKENS
from opentera_twisted.gateway.subprotocols import RECOVERY
from opentera_twisted.holders import DUE, REPORTS
from opentera_twisted.messages import TeraModuleMessage, UserEvent
from opentera_twisted.messages.envelopes import tera_event, unpack
from opentera_twisted.topics import websocket_events
from tests.gateway.recovery.client import Client, name_of
from tests.helpers.processes import Process, twistd
from tests.helpers.support import GUARD, caught_up, free_port, turn, until
from tests.helpers.websockets import HandshakeFailed, connect, leave

from .case import FaultTestCase
from .proxy import Proxy
from .world import World

CLIENTS = 5
PATIENT = ("--handshake-timeout", "0", "--shutdown-timeout", "0", "--recovery-window", "600")


class ReturningTests(FaultTestCase):
    async def program(self) -> tuple[Process, int]:
        """Start a gateway as a program; return it with its port."""
        port = free_port()
        endpoint = f"tcp:{port}:interface=127.0.0.1"
        program = twistd(
            "--websocket", endpoint, "--admin", "none", "--redis", self.server.url, *PATIENT
        )
        self.addCleanup(program.kill)
        await program.says("is ready")
        return program, port

    async def client(self, world: World, port: int) -> tuple[Client, str]:
        """Return a client that has logged in with recovery, and its UUID."""
        uuid = str(uuid4())
        client = Client()
        await client.log_in(port, await SessionKeys(world.calling).issue("user", uuid))
        self.addCleanup(client.drop)
        return client, uuid

    def send(self, uuid: str, name: str) -> None:
        """Publish an event of a user."""
        topic = websocket_events("user", uuid)
        event = tera_event(topic, [UserEvent(user_fullname=name)])
        self.redis.publish(topic, event.SerializeToString())

    async def is_held(self, world: World, count: int = 1) -> None:
        """Wait until that many clients of the world's gateway are away."""
        while world.gateway.recovery.held != count:
            await turn()

    async def come_back(self, world: World, client: Client, uuid: str) -> bool:
        """Have a client return as a browser does: it tries again, or logs in with a new key.

        Returns:
            True if it recovered; else its events begin anew.
        """
        while True:
            try:
                return await client.come_back(world.port)
            except HandshakeFailed as error:
                if "403" in str(error):
                    break
                if "503" not in str(error):
                    raise
            await turn()
        while True:
            try:
                key = await SessionKeys(world.calling).issue("user", uuid)
                await client.log_in(world.port, key)
            except (BusError, HandshakeFailed):
                await turn()
            else:
                client.events.clear()
                return False

    async def presence_is(self, world: World, clients: Iterable[tuple[object, str]]) -> None:
        """Wait until exactly these clients and those of the world are online."""
        expected = sorted(uuid for _, uuid in (*clients, *world.clients))
        await until(lambda: world.calling.presence.online("user"), expected.__eq__)

    async def test_a_gateway_killed_while_a_client_is_away(self) -> None:
        world = await self.patient_world()
        program, port = await self.program()
        client, uuid = await self.client(world, port)
        self.send(uuid, "a")
        await client.until(1)
        await client.drop()
        await world.strike("gateway killed while a client is away: the client learns of its loss")
        program.send(signal.SIGKILL)
        await program.ended()
        self.send(uuid, "b")
        assert not await client.come_back(world.port)
        self.send(uuid, "c")
        assert await client.until(1) == ["c"]
        await self.finish(world)

    async def test_the_network_of_a_client_off_and_on(self) -> None:
        world = await self.patient_world()
        network = Proxy(world.port)
        self.addCleanup(lambda: Deferred.fromCoroutine(network.stop()))
        client, uuid = await self.client(world, network.port)
        self.send(uuid, "a")
        await client.until(1)
        await world.strike("network of a client off and on: 0 lost, 0 doubled")
        network.frozen = True
        self.send(uuid, "b")
        self.send(uuid, "c")
        network.cut()
        network.frozen = False
        await client.websocket.closed
        assert await client.come_back(network.port)
        self.send(uuid, "d")
        assert await client.until(3) == ["a", "b", "c", "d"]
        await client.drop()
        outcome = await self.finish(world)
        assert outcome.missed == 0
        assert not outcome.failed

    async def test_the_link_cut_while_a_client_is_away(self) -> None:
        world = await self.patient_world()
        stays, _ = await self.client(world, world.port)
        away, uuid = await self.client(world, world.port)
        await away.drop()
        await self.is_held(world)
        await world.strike("link to Redis cut while a client is away: clients learn of their loss")
        world.proxy.cut()
        assert (await stays.websocket.closed)[0] == 1012
        await world.serving.connected()
        assert not await stays.come_back(world.port)
        assert not await away.come_back(world.port)
        self.send(uuid, "a")
        assert await away.until(1) == ["a"]
        await self.finish(world)

    async def test_a_gateway_restarted_beside_another(self) -> None:
        self.patch(handover, "TIMEOUT", GUARD)
        world = await self.patient_world()
        program, port = await self.program()
        await until(
            lambda: deferToThread(lambda: int(self.redis.zcard(GATEWAYS))),
            lambda count: count == 2,
        )
        clients = [await self.client(world, port) for _ in range(CLIENTS)]
        for client, uuid in clients:
            self.send(uuid, "a")
            await client.until(1)
        await world.strike(
            f"gateway with {CLIENTS} clients restarted (SIGTERM) beside another: 0 lost, 0 doubled"
        )
        program.send(signal.SIGTERM)
        for client, uuid in clients:
            assert (await client.websocket.closed)[0] == 1001
            self.send(uuid, "b")
        _, new_port = await self.program()
        for number, (client, uuid) in enumerate(clients):
            assert await client.come_back((world.port, new_port)[number % 2])
            self.send(uuid, "c")
            assert await client.until(2) == ["a", "b", "c"]
        await program.ended()
        outcome = await self.finish(world)
        assert outcome.missed == 0
        assert not outcome.failed

    async def test_a_token_used_at_two_gateways_at_once(self) -> None:
        self.patch(handover, "TIMEOUT", GUARD)
        world = await self.patient_world()
        _, other = world.start_gateway(world.calling)
        client, uuid = await self.client(world, world.port)
        await client.drop()
        await self.is_held(world)
        await world.strike("a recovery token used 6 times at once at two gateways: one return")
        self.send(uuid, "a")
        returns = [
            connect(port, client.way_back(), protocols=[RECOVERY])
            for port in (world.port, other) * 3
        ]
        results = await DeferredList(returns, consumeErrors=True)
        (winner,) = [result for is_open, result in results if is_open]
        first, event = (await winner.messages.wait(2))[:2]
        assert json.loads(first)["recovery"]["recovered"] is True
        assert name_of(event) == "a"
        await leave(winner)
        outcome = await self.finish(world)
        assert outcome.missed == 0
        assert not outcome.failed

    @pytest.mark.skipif(not os.environ.get("FAULTS"), reason="make faults runs it")
    async def test_redis_restarted_empty_amid_returns(self) -> None:
        self.patch(admission, "REDEEM_TIMEOUT", GUARD)
        world = await self.patient_world()
        clients = [await self.client(world, world.port) for _ in range(CLIENTS)]
        for number, (client, uuid) in enumerate(clients):
            self.send(uuid, f"a{number}")
            await client.until(1)
        for client, _ in clients[1:]:  # the first returns while its websocket is open
            await client.drop()
        await self.is_held(world, CLIENTS - 1)
        await world.strike(
            f"Redis restarted, empty, amid {CLIENTS} returns: clients learn of their loss"
        )
        self.redis.script_load(_TAKE.text)  # without its answer, no text would be sent
        world.proxy.stop_reading()
        returns = [
            Deferred.fromCoroutine(self.come_back(world, client, uuid)) for client, uuid in clients
        ]
        await until(  # each claim adds the next token
            lambda: deferToThread(lambda: len(self.redis.keys(f"{TOKENS}*"))),
            lambda count: count == 2 * CLIENTS,
        )
        for number, (_, uuid) in enumerate(clients):
            self.send(uuid, f"b{number}")
        await self.restart()
        world.proxy.cut()
        assert await gatherResults(returns) == [False] * CLIENTS
        for number, (client, uuid) in enumerate(clients):
            self.send(uuid, f"c{number}")
            assert await client.until(1) == [f"c{number}"]
        await self.finish(world)
        await self.presence_is(world, clients)
        for number, (client, _) in enumerate(clients):
            assert client.collect() == [f"c{number}"]

    async def test_redis_emptied_within_the_grace_of_presence(self) -> None:
        world = await self.patient_world(presence_grace=600)
        reports: dict[str, int] = {}

        def reported(delivery: Delivery) -> None:
            message = TeraModuleMessage.FromString(delivery.payload)
            for event in map(unpack, message.data):
                assert isinstance(event, UserEvent)
                reports[event.user_uuid] = event.type

        await world.calling.subscribe(REPORTS, reported)
        stays, returns, leaves = clients = [await self.client(world, world.port) for _ in range(3)]
        for client, uuid in clients:
            self.send(uuid, "a")
            await client.until(1)
        for client, _ in (returns, leaves):
            await client.drop()
        await self.is_held(world, 2)
        presence = world.gateway._presence
        await presence.reported()
        await world.strike("FLUSHDB within the grace of presence: departures are reported")
        self.redis.flushdb()
        for _, uuid in clients:
            self.send(uuid, "b")
        assert await stays[0].until(2) == ["a", "b"]
        assert not await self.come_back(world, *returns)
        self.send(returns[1], "c")
        assert await returns[0].until(1) == ["c"]
        presence._renew()
        await self.presence_is(world, clients)
        due = f"user.{leaves[1]}"
        assert self.redis.zrange(DUE, 0, -1) == [due.encode()]
        self.redis.zadd(DUE, {due: 1})
        presence._renew()
        await self.presence_is(world, (stays, returns))
        await caught_up(world.calling)
        expected = dict.fromkeys(reports, UserEvent.USER_CONNECTED)
        assert reports == expected | {leaves[1]: UserEvent.USER_DISCONNECTED}
        await self.finish(world)
