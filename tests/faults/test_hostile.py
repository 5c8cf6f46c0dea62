"""Hostile clients and programs, stepped clocks and busy threads: the same load, the same checks."""

from __future__ import annotations

import os
import signal
import time
from threading import Event
from uuid import uuid4

import redis
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python import runtime

from opentera_twisted import BusError, Procedures, SessionKeys
from opentera_twisted._internal.clock import clock_of
from opentera_twisted.holders import REPORTS
from opentera_twisted.messages import TeraModuleMessage, UserEvent
from opentera_twisted.messages.envelopes import tera_event, unpack_all
from opentera_twisted.presence_lease import LEASE
from opentera_twisted.rpc.wire import encode_request
from opentera_twisted.topics import websocket_events
from tests.conformance.frames import TEXT, frame
from tests.helpers.support import GUARD, Collector, start_bus, turn, until
from tests.helpers.websockets import Bytes, connect_bytes, handshake

from .case import FaultTestCase
from .world import World

HOUR = 3600.0


class HostileTests(FaultTestCase):
    async def raw(self, world: World, uuid: str) -> Bytes:
        """Return a logged-in client that sends bytes."""
        client = await connect_bytes(world.port)
        key = await SessionKeys(world.calling).issue("user", uuid)
        client.send(handshake(f"/wss/user?id={key}".encode()))
        await client.until(b"\r\n\r\n")
        return client

    def reports(self) -> redis.client.PubSub:
        """Subscribe to reports on a connection that no fault here breaks."""
        pubsub: redis.client.PubSub = self.redis.pubsub()
        self.addCleanup(pubsub.close)
        pubsub.subscribe(REPORTS)
        pubsub.get_message(timeout=GUARD)
        return pubsub

    def gone(self, reports: redis.client.PubSub, world: World) -> set[str]:
        """Return the open clients that were reported gone."""
        gone: set[str] = set()
        while (report := reports.get_message()) is not None:
            for event in unpack_all(TeraModuleMessage.FromString(report["data"]).data):
                if isinstance(event, UserEvent) and event.type == UserEvent.USER_DISCONNECTED:
                    gone.add(event.user_uuid)
        return gone & {uuid for _, uuid in world.clients}

    async def test_many_tiny_frames(self) -> None:
        world = await self.patient_world()
        reports = self.reports()
        hostile = [await self.raw(world, str(uuid4())) for _ in range(20)]
        await world.strike("64 kB of empty text frames from each of 20 clients")
        for client in hostile:
            client.send(frame(TEXT) * 10_000)
        await gatherResults([client.closed for client in hostile])
        outcome = await self.finish(world)
        assert world.gateway.limited["max_messages_per_minute"] == len(hostile)
        assert not outcome.failed
        assert outcome.missed == 0
        assert not self.gone(reports, world)

    async def test_clients_closed_while_much_waits(self) -> None:
        world = await self.patient_world()
        reports = self.reports()
        uuid = str(uuid4())
        topic = websocket_events("user", uuid)
        slow = [await self.raw(world, uuid) for _ in range(10)]
        await world.strike("10 clients that read nothing, each closed with 1 MB waiting")
        for client in slow:
            client.stop_reading()
        event = tera_event(topic, [UserEvent(user_fullname="x" * 500_000)]).SerializeToString()

        async def clients() -> int:
            await world.calling.publish(topic, event)
            return world.gateway.clients["user"]

        await until(clients, lambda count: count == len(world.clients))
        outcome = await self.finish(world)
        assert world.gateway.backlog == 0
        assert not self.gone(reports, world)
        assert not outcome.failed
        for client in slow:
            client.drop()

    async def test_forged_replies(self) -> None:
        world = await self.patient_world()
        deputy = start_bus(self, self.server.url, "deputy")
        procedures = Procedures()
        procedures.expose(forge)
        await deputy.serve_service("Deputy", procedures)
        await world.strike("replies forged through a third service")
        # A program that may list reply topics knows them. It cannot know the ids; here it does.
        victim = world.calling.caller._reply_to
        before = world.calling.caller.dropped_replies
        ids = [*range(50), *world.calling.caller._calls]
        for number in ids:
            forged = encode_request("forge", victim, number, ())
            self.redis.publish("service.Deputy.rpc", forged)

        async def dropped() -> int:
            await world.calling.variables.get("x")
            return world.calling.caller.dropped_replies - before

        await until(dropped, lambda count: count == len(ids))
        outcome = await self.finish(world)
        assert not outcome.failed

    async def test_clock_steps(self) -> None:
        step = [0.0]

        def stepped() -> float:
            return time.time() + step[0]

        self.patch(runtime, "seconds", stepped)
        self.patch(reactor, "seconds", stepped)
        world = await self.patient_world()
        reports = self.reports()
        await world.strike("the clock steps back by an hour, and forward again")

        async def in_flight() -> set[int]:
            await turn()
            return set(world.calling.caller._calls)

        for step[0] in (-HOUR, 0.0):
            await until(in_flight, set(world.calling.caller._calls).isdisjoint)
            for _ in range(3):
                world.publish()
                await world.calling.call_service("Echo", "echo", 4)
        outcome = await self.finish(world)
        assert not outcome.failed
        assert outcome.missed == 0
        assert not self.gone(reports, world)

    async def test_threads_busy_while_redis_restarts(self) -> None:
        world = await self.world()
        release = Event()
        self.addCleanup(release.set)
        procedures = Procedures()

        @procedures.expose(thread=True)
        def block() -> None:
            release.wait(GUARD)

        await world.serving.serve_service("Busy", procedures)
        await world.strike("40 blocking procedures, 40 busy threads, Redis killed and restarted")
        calls = [world.calling.call_service("Busy", "block") for _ in range(40)]
        for call in calls:
            call.addErrback(lambda failure: failure.trap(BusError))
        busy = [deferToThread(release.wait) for _ in range(40)]
        self.server.stop()
        self.server.start()
        await self.finish(world)
        release.set()
        await gatherResults(busy)
        await gatherResults(calls)

    async def test_an_outage_longer_than_the_lease(self) -> None:
        world = await self.world()
        buses = [world.serving, *(start_bus(self, self.server.url, name) for name in "ab")]
        for bus in buses[1:]:
            await bus.connected()
            gateway, port = world.start_gateway(bus)
            self.addCleanup(gateway.stopService)  # before its bus stops
            for _ in range(5):
                await world.log_in(port)
        reports = self.reports()
        await world.strike("Redis frozen (SIGSTOP) for longer than the lease of three gateways")
        lost = [Collector() for _ in buses]
        for bus, collector in zip(buses, lost, strict=True):
            bus.link.on_lost.append(collector)
        os.kill(self.server.process.pid, signal.SIGSTOP)
        try:
            await self.until_noticed()
            await gatherResults([collector.wait(1) for collector in lost])
            await deferLater(clock_of(reactor), LEASE)
        finally:
            os.kill(self.server.process.pid, signal.SIGCONT)
        await self.finish(world)
        assert not self.gone(reports, world)


def forge() -> str:
    """Reply that a confused deputy sends to a victim."""
    return "forged"
