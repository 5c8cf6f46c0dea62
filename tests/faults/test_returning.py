"""Faults while a client is away: it recovers each event once, or learns that it did not."""

from __future__ import annotations

import json
import signal
from uuid import uuid4

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.threads import deferToThread

from opentera_twisted import SessionKeys
from opentera_twisted.gateway.recovery import handover
from opentera_twisted.gateway.recovery.peers import GATEWAYS
from opentera_twisted.gateway.subprotocols import RECOVERY
from opentera_twisted.messages import UserEvent
from opentera_twisted.messages.envelopes import tera_event
from opentera_twisted.topics import websocket_events
from tests.gateway.recovery.client import Client, name_of
from tests.helpers.processes import Process, twistd
from tests.helpers.support import GUARD, free_port, turn, until
from tests.helpers.websockets import connect, leave

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

    async def is_held(self, world: World) -> None:
        """Wait until one client of the world's gateway is away."""

        async def held() -> int:
            await turn()
            return world.gateway.recovery.held

        await until(held, lambda count: count == 1)

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
