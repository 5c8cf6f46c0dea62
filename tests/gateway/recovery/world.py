"""A world of two gateways, returning clients and a publisher, with its invariants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import uuid4

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.task import deferLater

from opentera_twisted import Bus, SessionKeys, topics
from opentera_twisted.gateway import Gateway, GatewayLimits
from opentera_twisted.gateway.subprotocols import RECOVERY
from opentera_twisted.messages import UserEvent
from opentera_twisted.messages.envelopes import tera_event
from tests.helpers.support import GATEWAY, Server
from tests.helpers.websockets import HandshakeFailed, WebSocket, connect, leave

from .client import Client
from .publisher import SHARED, event_name, receivers


class Person:
    """A user with one client and the events published for it."""

    def __init__(self) -> None:
        self.uuid = str(uuid4())
        self.published: list[str] = []
        self.client = Client()

    def check(self) -> None:
        """Assert that the client has a contiguous part of the events, and no others."""
        got = self.client.collect()
        if got:
            first = self.published.index(got[0])
            expected = self.published[first : first + len(got)]
            assert got == expected, (got, expected)


class Crowd:
    """People, and one publisher of their events, whose order is Redis's."""

    def __init__(self, server: Server, people: int, pace: float) -> None:
        self.people = [Person() for _ in range(people)]
        self.count = 0
        self._bus = Bus(server.url, reactor=reactor, name="publisher")
        self._pace = pace
        self._is_running = True
        self._loop: Deferred[None]

    async def start(self) -> None:
        """Begin to publish."""
        await self.connect()
        self._loop = Deferred.fromCoroutine(self._publish())

    async def connect(self) -> None:
        """Connect to Redis."""
        self._bus.startService()
        await self._bus.connected()

    async def log_in(self, person: Person, port: int) -> None:
        """Have a client begin with a session key."""
        key = await SessionKeys(self._bus).issue("user", person.uuid, topics=[SHARED])
        await person.client.log_in(port, key)

    async def _publish(self) -> None:
        """Publish to a person, or to all, repeatedly."""
        while self._is_running:
            await self.publish(receivers(self.count + 1, len(self.people)))
            await deferLater(reactor, self._pace)

    async def publish(self, numbers: Sequence[int]) -> None:
        """Publish the next event to a person, or to all."""
        self.count += 1
        self.note(self.count, numbers)
        topic = SHARED
        if len(numbers) == 1:
            topic = topics.websocket_events("user", self.people[numbers[0]].uuid)
        event = tera_event(topic, [UserEvent(user_fullname=event_name(self.count))])
        await self._bus.publish(topic, event)

    def note(self, count: int, numbers: Iterable[int]) -> None:
        """Note an event as published to people."""
        for number in numbers:
            self.people[number].published.append(event_name(count))

    async def wait(self, events: int) -> None:
        """Wait until that many more events are published."""
        until = self.count + events
        while self.count < until:
            if self._loop.called:
                await self._loop  # it failed
            await deferLater(reactor, 0)

    async def has_all(self, number: int) -> bool:
        """Publish a last event for a client; return True if it arrives before a close."""
        person = self.people[number]
        client = person.client
        await self.publish([number])
        last = person.published[-1]
        while client.websocket.state == client.websocket.STATE_OPEN:
            if client.collect()[-1:] == [last]:
                person.check()
                return True
            await deferLater(reactor, 0.001)
        return False

    async def quiet(self) -> None:
        """Publish no more by itself."""
        self._is_running = False
        await self._loop

    async def stop(self) -> None:
        """End all."""
        await self.quiet()
        for person in self.people:
            await person.client.drop()
        await self._bus.stopService()


class World:
    """Gateways, people and a publisher on one server.

    Attributes:
        outcomes: Number of recovered and of other returns.
    """

    def __init__(self, server: Server, people: int = 3) -> None:
        self.outcomes: Counter[bool] = Counter()
        self.crowd = Crowd(server, people, 0.0005)
        self.people = self.crowd.people
        self.gateways: list[Gateway] = []
        self._server = server
        self._buses: list[Bus] = []
        self._ports: list[Any] = []
        self._stopped: list[Deferred[None]] = []

    async def start(self) -> None:
        """Start everything and log every client in."""
        for number in range(2):
            bus = Bus(self._server.url_as(GATEWAY), reactor=reactor, name=f"gateway-{number}")
            bus.startService()
            await bus.connected()
            self._buses.append(bus)
            self._start_gateway(number)
        await self.crowd.start()
        for number, person in enumerate(self.people):
            await self.crowd.log_in(person, self._port(number % 2))

    def _start_gateway(self, number: int) -> None:
        limits = GatewayLimits(shutdown_timeout=2, handshake_timeout=0)
        gateway = Gateway(self._buses[number], limits=limits)
        gateway.startService()
        listening: Any = reactor
        port = listening.listenTCP(0, gateway.factory, interface="127.0.0.1")
        self.gateways[number:] = [gateway, *self.gateways[number + 1 :]]
        self._ports[number:] = [port, *self._ports[number + 1 :]]

    def _port(self, number: int) -> int:
        return int(self._ports[number].getHost().port)

    # --- events of clients

    async def drop(self, number: int) -> None:
        """Break a client's connection."""
        await self.people[number].client.drop()

    async def freeze(self, number: int) -> None:
        """Have a client stop reading."""
        websocket = self.people[number].client.websocket
        if websocket.state == websocket.STATE_OPEN:
            websocket.transport.pauseProducing()

    async def come_back(self, number: int, gateway: int) -> None:
        """Have a client return, in any state of its old connection."""
        client = self.people[number].client
        before = client.websocket
        while True:
            try:
                self.outcomes[await client.come_back(self._port(gateway))] += 1
            except HandshakeFailed as error:
                if "503" not in str(error):  # the link is up, and no other return is under way
                    raise
                await deferLater(reactor, 0.01)
            else:
                break
        await leave(before)

    async def break_return(self, number: int, gateway: int, turns: int) -> None:
        """Break the connection of a return after some iterations of the reactor."""
        client = self.people[number].client
        client.collect()
        connections = self.gateways[gateway].factory.connections
        before = set(connections)
        returning = connect(self._port(gateway), client.way_back(), protocols=[RECOVERY])
        for _ in range(turns):
            await deferLater(reactor, 0)
        broken = connections - before
        for connection in broken:
            connection.transport.abortConnection()
        try:
            websocket = await returning
        except HandshakeFailed as error:
            if not broken and "503" not in str(error):
                raise
            return
        if broken:
            await websocket.closed
        if not broken or websocket.messages.items:
            await self._adopt(client, websocket)

    async def come_back_twice(self, number: int) -> None:
        """Use the same token at both gateways at once; at most one use succeeds."""
        client = self.people[number].client
        client.collect()
        path = client.way_back()
        ports = [self._port(number) for number in (0, 1)]
        returns = [connect(port, path, protocols=[RECOVERY]) for port in ports]
        results = await DeferredList(returns, consumeErrors=True)
        opened = [result for is_open, result in results if is_open]
        refused = [str(result.value) for is_open, result in results if not is_open]
        if not opened:
            assert all("503" in reason for reason in refused), refused
            return
        (winner,) = opened
        assert "403" in refused[0] or "503" in refused[0], refused
        await self._adopt(client, winner)

    async def _adopt(self, client: Client, websocket: WebSocket) -> None:
        before = client.websocket
        await client.adopt(websocket)
        self.outcomes[bool(client.first["recovered"])] += 1
        await leave(before)

    async def cut(self, gateway: int) -> None:
        """Break a gateway's subscriber connection and wait until it is restored."""
        resumed: Deferred[None] = Deferred()
        link = self._buses[gateway].link

        def is_back(_topics: object) -> None:
            if not resumed.called:
                resumed.callback(None)

        link.on_resumed.append(is_back)
        with self._server.client() as client:
            for connection in client.client_list(_type="pubsub"):
                if connection["name"] == f"gateway-{gateway}.subscriber":
                    client.client_kill_filter(_id=connection["id"])
        await resumed

    async def restart(self, gateway: int) -> None:
        """Stop a gateway and start its replacement at once."""
        old = self.gateways[gateway]
        await self._ports[gateway].stopListening()
        self._stopped.append(old.stopService())
        self._start_gateway(gateway)

    async def wait(self, events: int) -> None:
        """Wait until that many more events are published."""
        await self.crowd.wait(events)

    def check(self) -> None:
        """Check the events of every client."""
        for person in self.people:
            person.check()

    # --- the end

    async def finish(self) -> None:
        """Stop publishing and check that every client has all events."""
        await self.crowd.quiet()
        await gatherResults(self._stopped)
        for number in range(len(self.people)):
            await self.come_back(number, number % 2)
            while not await self.crowd.has_all(number):
                await self.come_back(number, number % 2)
        for person in self.people:
            await person.client.leave()  # a gateway that stops would wait for its session

    async def stop(self) -> None:
        """Close everything."""
        await self.crowd.stop()
        await gatherResults(self._stopped)
        await gatherResults([port.stopListening() for port in self._ports])
        await gatherResults([gateway.stopService() for gateway in self.gateways])
        for bus in self._buses:
            await bus.stopService()
