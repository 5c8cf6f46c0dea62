"""A small world under load behind a proxy: callers, a server, subscriptions, a gateway, clients."""

from __future__ import annotations

from collections import Counter
from time import monotonic
from typing import Any
from uuid import uuid4

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from opentera_twisted import Bus, BusError, Delivery, Procedures, SessionKeys
from opentera_twisted._internal.clock import clock_of
from opentera_twisted.gateway import Gateway
from opentera_twisted.messages import UserEvent
from opentera_twisted.messages.envelopes import tera_event
from opentera_twisted.topics import websocket_events
from tests.helpers.support import Server
from tests.helpers.websockets import HandshakeFailed, WebSocket, connect

from .proxy import Proxy

CALLS_IN_FLIGHT = 20
CLIENTS = 5


@attrs.define
class Outcome:
    """The outcome of a fault."""

    fault: str
    in_flight: int = 0
    failed: Counter[str] = attrs.Factory(Counter)
    missed: int = 0
    wrong: int = 0
    seconds: float = 0.0


OUTCOMES: list[Outcome] = []
"""Outcomes of this run."""


class World:
    """Everything that uses the link, under load.

    Args:
        server: Server behind the proxy.
        topics: Number of subscriptions.
        call_timeout: Seconds allowed for each call.
        gateway: Options of each gateway.
    """

    def __init__(
        self, server: Server, topics: int = 50, call_timeout: float = 5.0, **gateway: Any
    ) -> None:
        self.server = server
        self.proxy = Proxy(server.port)
        url = f"redis://127.0.0.1:{self.proxy.port}"
        self.serving = Bus(url, reactor=reactor, name="serving")
        self.calling = Bus(url, reactor=reactor, name="calling")
        self._gateways: list[Gateway] = []
        self._ports: list[Any] = []
        self.outcome = Outcome("")
        self.gaps = 0
        self.clients: list[tuple[WebSocket, str]] = []
        self._options = gateway
        self._topics = topics
        self._call_timeout = call_timeout
        self._next = 0
        self._published = 0
        self._received: list[int] = []
        self._running = True
        self._loads: list[Deferred[None]] = []

    async def start(self) -> None:
        """Connect everything and start the load."""
        self.serving.startService()
        self.calling.startService()
        self.gateway, self.port = self.start_gateway(self.serving)
        await gatherResults([self.serving.connected(), self.calling.connected()])
        procedures = Procedures()

        @procedures.expose
        async def echo(number: int) -> int:
            await deferLater(clock_of(reactor), 0.002 * (number % 5))
            return number

        await self.serving.serve_service("Echo", procedures)
        await self.serving.subscribe("events", self._event, on_gap=self._gap)
        for number in range(self._topics):
            await self.serving.subscribe(f"topic.{number}", self._event)
        for _ in range(CLIENTS):
            await self.log_in()
        self._loads = [Deferred.fromCoroutine(self._call()) for _ in range(CALLS_IN_FLIGHT)]

    def start_gateway(self, bus: Bus) -> tuple[Gateway, int]:
        """Start another gateway; return it with its port."""
        gateway = Gateway(bus, **self._options)
        gateway.startService()
        self._gateways.append(gateway)
        listen: Any = reactor.listenTCP
        self._ports.append(listen(0, gateway.factory, interface="127.0.0.1"))
        return gateway, self._ports[-1].getHost().port

    async def log_in(self, port: int | None = None) -> None:
        """Open another websocket."""
        uuid = str(uuid4())
        key = await SessionKeys(self.calling).issue("user", uuid)
        client = await connect(port or self.port, f"/wss/user?id={key}")
        self.clients.append((client, uuid))

    def _gap(self) -> None:
        self.gaps += 1

    def _event(self, delivery: Delivery) -> None:
        try:
            number = int(delivery.payload)
        except ValueError:
            self.outcome.wrong += 1
            return
        if self._received and number <= self._received[-1]:
            self.outcome.wrong += 1
        self._received.append(number)

    async def _call(self) -> None:
        while self._running:
            number = self._next
            self._next += 1
            try:
                answer = await self.calling.call_service(
                    "Echo", "echo", number, timeout=self._call_timeout
                )
            except BusError as error:
                self.outcome.failed[type(error).__name__] += 1
                await deferLater(clock_of(reactor), 0.01)
            else:
                self.outcome.wrong += answer != number

    def publish(self, topic: str = "events") -> None:
        """Publish one event from a program that no fault affects."""
        with self.server.client() as client:
            self._published += 1
            client.publish(topic, str(self._published))

    async def strike(self, fault: str) -> None:
        """Start counting for a fault, with calls in flight."""
        self.outcome = Outcome(fault)
        self._published_before, self._received_before = self._published, len(self._received)
        self.publish()
        while self.calling.caller.in_flight < CALLS_IN_FLIGHT:
            await deferLater(clock_of(reactor), 0)
        self.outcome.in_flight = self.calling.caller.in_flight

    async def recover(self) -> Outcome:
        """Wait until everything has recovered, and count the losses."""
        began = monotonic()
        await gatherResults([self.serving.connected(), self.calling.connected()])
        await self._try_call()
        await self._until_delivered()
        self.outcome.seconds = monotonic() - began
        await self._check_clients()
        wanted = self.serving.link.subscriptions.wanted
        assert self.serving.link.subscriptions.acknowledged == wanted
        received = len(self._received) - self._received_before
        self.outcome.missed = self._published - self._published_before - received
        return self.outcome

    async def _try_call(self) -> None:
        while True:
            try:
                answer = await self.calling.call_service("Echo", "echo", 7, timeout=2)
            except BusError:
                await deferLater(clock_of(reactor), 0.01)
            else:
                assert answer == 7
                return

    async def _until_delivered(self) -> None:
        while True:
            self.publish()
            for _ in range(100):
                if self._received and self._received[-1] == self._published:
                    return
                await deferLater(clock_of(reactor), 0.002)

    async def _check_clients(self) -> None:
        """Check that every websocket is open and gets its events, and that a new one logs in."""
        while True:
            try:
                await self.log_in()
            except (BusError, HandshakeFailed):
                await deferLater(clock_of(reactor), 0.01)
            else:
                break
        with self.server.client() as other:
            for client, uuid in self.clients:
                topic = websocket_events("user", uuid)
                event = tera_event(topic, [UserEvent(user_uuid=uuid)])
                assert other.publish(topic, event.SerializeToString()) == 1
                received = await client.event(len(client.messages.items))
                assert received["events"][0]["userUuid"] == uuid

    async def stop(self) -> None:
        """Stop the load, close everything, and check that nothing is left."""
        self._running = False
        await gatherResults(self._loads)
        await gatherResults([port.stopListening() for port in self._ports])
        for gateway in self._gateways:
            gateway.recovery.stop()  # no client returns
        await gatherResults([gateway.stopService() for gateway in self._gateways])
        await gatherResults([self.serving.stopService(), self.calling.stopService()])
        assert self.calling.caller.in_flight == 0
        await self.proxy.stop()
