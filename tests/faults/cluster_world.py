"""A world under load on a cluster: callers, servers, subscriptions, publishers, websockets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from itertools import count, islice, pairwise
from time import monotonic
from typing import Any
from uuid import uuid4

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from opentera_twisted import Bus, BusError, Delivery, Procedures, SessionKeys
from opentera_twisted._internal.clock import clock_of
from opentera_twisted.gateway import Gateway
from opentera_twisted.link.slots import SLOTS, key_slot
from opentera_twisted.messages import UserEvent
from opentera_twisted.messages.envelopes import tera_event
from opentera_twisted.topics import websocket_events
from tests.gateway.recovery.client import Client, name_of
from tests.helpers.support import turn
from tests.helpers.websockets import HandshakeFailed, WebSocket, connect, leave
from tools.cluster import Node

from .cluster import ProxiedCluster
from .world import CALLS_IN_FLIGHT

TOPICS = 30
MOVING = 100
"""Number of slots that a test moves; a third of the topics are in them."""

MOVING_CLIENTS = 4
CALL_TIMEOUT = 5.0
PAUSE = 0.1
"""Seconds between two messages of a topic."""


@attrs.define
class ClusterOutcome:
    """The outcome of a fault of a cluster."""

    fault: str
    failed: Counter[str] = attrs.Factory(Counter)
    missed: int = 0
    gaps: int = 0
    topics: int = 0
    late: int = 0
    wrong: list[str] = attrs.Factory(list)
    seconds: float = 0.0


CLUSTER_OUTCOMES: list[ClusterOutcome] = []
"""Outcomes of this run."""


@attrs.define(eq=False)
class Flow:
    """The numbered messages of one topic.

    Attributes:
        sent: numbers that Redis has accepted.
        received: numbers that the subscription has received, in order.
        gaps: number of gaps that the subscription reported.
        late: number of messages that arrived after a newer one.
    """

    topic: str
    encode: Callable[[int], bytes]
    pause: float = PAUSE
    number: int = 0
    sent: list[int] = attrs.Factory(list)
    received: list[int] = attrs.Factory(list)
    gaps: int = 0
    wrong: int = 0
    late: int = 0
    is_sending: bool = False

    @property
    def slot(self) -> int:
        """Slot of the topic."""
        return key_slot(self.topic.encode())

    @property
    def missed(self) -> int:
        """Number of accepted messages that were not received."""
        return len(set(self.sent) - set(self.received))

    def deliver(self, delivery: Delivery) -> None:
        """Receive a message."""
        topic, _, text = delivery.payload.decode().rpartition(" ")
        number = int(text)
        self.wrong += topic != self.topic
        self.late += bool(self.received) and number <= max(self.received[-100:])
        self.received.append(number)

    def gap(self) -> None:
        """Note a gap."""
        self.gaps += 1


@attrs.define(eq=False)
class Plain:
    """A websocket without recovery."""

    uuid: str
    flow: Flow
    websocket: WebSocket

    def numbers(self) -> list[int]:
        """Return the numbers of all received events."""
        return [int(name_of(text)) for text in self.websocket.messages.items]


@attrs.define(eq=False)
class Recovering:
    """A client with recovery that returns after each close, or else logs in again.

    Attributes:
        since: last number that was sent when it last learned of a loss.
    """

    uuid: str
    flow: Flow
    client: Client
    since: int = 0

    def numbers(self) -> list[int]:
        """Return the numbers of the events since the client was last told of a loss."""
        return [int(name) for name in self.client.collect()]


class ClusterWorld:
    """Everything that uses the link, under load.

    Args:
        cluster: the cluster.
        websockets: number of websockets, half of them with recovery.

    Attributes:
        moving: slots of the first primary, with topics, a service and clients.
    """

    def __init__(self, cluster: ProxiedCluster, websockets: int) -> None:
        self.cluster = cluster
        self.outcome = ClusterOutcome("")
        self._buses = [
            Bus(cluster.url, reactor=reactor, name=name)
            for name in ("serving", "calling", "publishing", "gateway")
        ]
        self.serving, self.calling, self.publishing, self.at_gateway = self._buses
        self.gateway = Gateway(self.at_gateway)
        self.services = [_service(cluster, node) for node in cluster.primaries]
        first = key_slot(f"service.{self.services[0]}.rpc".encode())
        self.moving = range(first, min(first + MOVING, SLOTS))
        topics = (f"topic.{number}" for number in count())
        near = islice(filter(self._is_moving, topics), TOPICS // 3)
        self.flows = [_flow(topic) for topic in [*near, *islice(topics, TOPICS * 2 // 3)]]
        self.plain: list[Plain] = []
        self.recovering: list[Recovering] = []
        self._websockets = websockets
        self._listener: Any = None
        self._next = 0
        self._running = True
        self._paused = False
        self._loads: list[Deferred[None]] = []

    async def start(self) -> None:
        """Connect everything and start the load."""
        for bus in self._buses:
            bus.startService()
        await self._connected()
        procedures = Procedures()

        @procedures.expose
        async def echo(number: int) -> int:
            await deferLater(clock_of(reactor), 0.05 * (number % 5))
            return number

        for service in self.services:
            await self.serving.serve_service(service, procedures)
        for flow in self.flows:
            await self.serving.subscribe(flow.topic, flow.deliver, flow.gap)
        self.gateway.startService()
        listen: Any = reactor.listenTCP
        self._listener = listen(0, self.gateway.factory, interface="127.0.0.1")
        for number in range(self._websockets):
            await self._log_in(is_moving=number < MOVING_CLIENTS, is_recovering=bool(number % 2))
        for number in range(CALLS_IN_FLIGHT):
            self._load(self._call(self.services[number % len(self.services)]))
        for flow in self._all_flows():
            self._load(self._publish(flow))
        for client in self.recovering:
            self._load(self._return(client))

    def _load(self, work: Any) -> None:
        self._loads.append(Deferred.fromCoroutine(work))

    def _all_flows(self) -> list[Flow]:
        return [*self.flows, *(client.flow for client in self._clients)]

    @property
    def _clients(self) -> list[Plain | Recovering]:
        return [*self.plain, *self.recovering]

    @property
    def _port(self) -> int:
        port: int = self._listener.getHost().port
        return port

    def _is_moving(self, topic: str) -> bool:
        return key_slot(topic.encode()) in self.moving

    async def _log_in(self, *, is_moving: bool, is_recovering: bool) -> None:
        uuid = str(uuid4())
        while is_moving and not self._is_moving(websocket_events("user", uuid)):
            uuid = str(uuid4())
        key = await SessionKeys(self.calling).issue("user", uuid)
        flow = _events(uuid)
        if is_recovering:
            client = Client()
            await client.log_in(self._port, key)
            self.recovering.append(Recovering(uuid, flow, client))
        else:
            websocket = await connect(self._port, f"/wss/user?id={key}")
            self.plain.append(Plain(uuid, flow, websocket))

    async def _return(self, returning: Recovering) -> None:
        """Return whenever the gateway closes the websocket."""
        client = returning.client
        while True:
            await client.websocket.closed
            while not await self._is_back(returning):
                if not self._running:
                    return
                await deferLater(clock_of(reactor), 0.1)

    async def _is_back(self, returning: Recovering) -> bool:
        client = returning.client
        if not self._running:
            return False
        try:
            if not await client.come_back(self._port):
                returning.since = returning.flow.number
        except HandshakeFailed as refused:
            if "403" not in str(refused):
                return False
            try:
                key = await SessionKeys(self.calling).issue("user", returning.uuid)
                client.collect()
                await client.log_in(self._port, key)
            except (BusError, HandshakeFailed):
                return False
            client.events.clear()
            returning.since = returning.flow.number
        return True

    async def _call(self, service: str) -> None:
        while self._running:
            number = self._next
            self._next += 1
            try:
                answer = await self.calling.call_service(
                    service, "echo", number, timeout=CALL_TIMEOUT
                )
            except BusError as error:
                self.outcome.failed[type(error).__name__] += 1
                await deferLater(clock_of(reactor), 0.01)
            else:
                if answer != number:
                    self.outcome.wrong.append(f"{service} answered {answer} to {number}")

    async def _publish(self, flow: Flow) -> None:
        while self._running:
            if not self._paused and not flow.is_sending:
                await self._send(flow)
            await deferLater(clock_of(reactor), flow.pause)

    async def _send(self, flow: Flow) -> bool:
        """Publish the next message; return True if Redis has accepted it."""
        flow.number += 1
        number = flow.number
        flow.is_sending = True
        try:
            await self.publishing.publish(flow.topic, flow.encode(number))
        except BusError:
            return False  # it may have been delivered
        else:
            flow.sent.append(number)
            return True
        finally:
            flow.is_sending = False

    async def strike(self, fault: str) -> None:
        """Start counting for a fault, with calls in flight and without earlier trouble."""
        while self.calling.caller.in_flight < CALLS_IN_FLIGHT:
            await turn()
        assert not any(flow.gaps for flow in self.flows), "a gap before the fault"
        self.outcome = ClusterOutcome(fault, topics=len(self.flows))

    async def recover(self) -> float:
        """Wait until everything works again; return the seconds since the cluster does."""
        healthy = deferToThread(self.cluster.until_healthy)
        since = await healthy
        await self._connected()
        await self._all(self._until_called(service) for service in self.services)
        for bus in (self.serving, self.at_gateway):
            table = bus.link.subscriptions
            while table.acknowledged != table.wanted:
                await turn()
        await self._all(self._until_received(flow) for flow in self.flows)
        self.outcome.seconds = monotonic() - since
        return self.outcome.seconds

    async def finish(self) -> ClusterOutcome:
        """Check every message, every client and presence."""
        self._paused = True
        for flow in self._all_flows():
            while flow.is_sending:
                await turn()
        for flow in self.flows:
            await self._check_topic(flow)
        for client in self._clients:
            await self._check_client(client)
        truth = {client.uuid for client in self._clients}
        while set(await self.calling.presence.online("user")) != truth:
            await turn()
        self._paused = False
        return self.outcome

    async def _check_topic(self, flow: Flow) -> None:
        await self._until_received(flow)
        self.outcome.missed += flow.missed
        self.outcome.gaps += bool(flow.gaps)
        self.outcome.late += flow.late
        if flow.wrong:
            self.outcome.wrong.append(f"{flow.topic}: {flow.wrong} of another topic")
        if flow.missed and not flow.gaps:
            self.outcome.wrong.append(f"{flow.topic}: {flow.missed} missed without a gap")

    async def _check_client(self, client: Plain | Recovering) -> None:
        await self._until_seen(client)
        numbers = client.numbers()
        self.outcome.late += sum(b <= a for a, b in pairwise(numbers))
        if isinstance(client, Plain):
            if client.websocket.closed.called:
                self.outcome.wrong.append(f"closed: {client.uuid}")
            return
        expected = {number for number in client.flow.sent if number > client.since}
        if expected - set(numbers):
            self.outcome.wrong.append(f"missed unnoticed: {sorted(expected - set(numbers))}")

    async def _all(self, work: Iterable[Coroutine[Any, Any, None]]) -> None:
        await gatherResults([Deferred.fromCoroutine(each) for each in work])

    async def _until_called(self, service: str) -> None:
        while True:
            try:
                assert await self.calling.call_service(service, "echo", 7, timeout=2) == 7
            except BusError:
                await turn()
            else:
                return

    async def _until_received(self, flow: Flow) -> None:
        while True:
            if not flow.is_sending and await self._send(flow):
                break
            await turn()
        last = flow.sent[-1]
        for _ in range(200):
            if flow.received and flow.received[-1] >= last:
                return
            await deferLater(clock_of(reactor), 0.005)
        await self._until_received(flow)

    async def _until_seen(self, client: Plain | Recovering) -> None:
        """Publish until a client has received the last event."""
        while True:
            if not await self._send(client.flow):
                await turn()
                continue
            for _ in range(200):
                if (numbers := client.numbers()) and numbers[-1] == client.flow.number:
                    return
                await deferLater(clock_of(reactor), 0.005)

    async def _connected(self) -> None:
        await gatherResults([bus.connected() for bus in self._buses])

    async def stop(self) -> None:
        """Stop the load and close everything."""
        self._running = False
        for plain in self.plain:
            await leave(plain.websocket)
        for recovering in self.recovering:
            await leave(recovering.client.websocket)
        await gatherResults(self._loads)
        if self._listener is not None:
            await self._listener.stopListening()
        self.gateway.recovery.stop()  # no client returns
        if self.gateway.running:
            await self.gateway.stopService()
        await gatherResults([bus.stopService() for bus in self._buses])
        assert self.calling.caller.in_flight == 0


def _flow(topic: str) -> Flow:
    return Flow(topic, lambda number: f"{topic} {number}".encode())


def _events(uuid: str) -> Flow:
    """Return the events of a user."""
    topic = websocket_events("user", uuid)

    def encode(number: int) -> bytes:
        return tera_event(topic, [UserEvent(user_fullname=str(number))]).SerializeToString()

    return Flow(topic, encode, pause=1.0)


def _service(cluster: ProxiedCluster, primary: Node) -> str:
    """Return a service whose topic is at a primary, with some slots behind it."""
    slots = cluster.slots_of(primary)
    names = (f"Echo{number}" for number in count())

    def is_there(name: str) -> bool:
        slot = key_slot(f"service.{name}.rpc".encode())
        return {slot, slot + MOVING - 1} <= slots

    return next(filter(is_there, names))
