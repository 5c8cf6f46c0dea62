"""Bytes queued for a client: bounded, shared, and freed with its connection."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.ssl import Certificate as TrustRoot
from twisted.internet.ssl import optionsForClientTLS
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from opentera_twisted.gateway import GatewayLimits, autobahn_corrections
from opentera_twisted.gateway.protocol import ClientProtocol
from opentera_twisted.gateway.send_queue import PIECE, STALLED, Sending
from opentera_twisted.gateway.tls import Certificate
from opentera_twisted.messages import UserEvent
from opentera_twisted.messages.envelopes import tera_event
from tests.conformance.frames import PING, close, frame
from tests.gateway.test_gateway import GatewayTestCase
from tests.gateway.test_limits import TOPIC
from tests.helpers.authority import Authority
from tests.helpers.support import UUID, folder_of, log_of, turn
from tests.helpers.websockets import Bytes, connect, connect_bytes, handshake

PROXY = b"PROXY TCP4 203.0.113.9 127.0.0.1 4711 40085\r\n"


class Transport(StringTransport):
    """A transport that pauses its producer at a limit, as Twisted's do."""

    room = 65_536

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.producer is not None and len(self.value()) > self.room:
            self.producer.pauseProducing()

    def drain(self) -> bytes:
        """Accept the written bytes and resume the producer."""
        data: bytes = self.value()
        self.clear()
        if self.producer is not None:
            self.producer.resumeProducing()
        return data


class TestSending:
    def setup_method(self) -> None:
        self.transport = Transport()
        self.clock = Clock()
        self.slow: list[bool] = []
        self.sending = Sending(self.transport, self.clock, 1000, lambda: self.slow.append(True))

    def write(self, data: bytes) -> bool:
        """Write as the gateway does."""
        if not self.sending.has_room(len(data)):
            return False
        self.sending.put(data)
        return True

    def fill(self) -> None:
        """Fill the transport, so that later bytes wait."""
        self.sending.put(b"x" * (self.transport.room + 1))

    @given(st.lists(st.binary(min_size=1, max_size=3 * PIECE), max_size=10))
    def test_everything_is_written_in_order(self, batches: list[bytes]) -> None:
        self.setup_method()
        for batch in batches:
            self.sending.put(batch)
        written = b""
        while data := self.transport.drain():
            written += data
            assert len(data) <= self.transport.room + PIECE
        assert written == b"".join(batches)
        assert self.sending.is_idle

    def test_large_bytes_are_shared_and_not_copied(self) -> None:
        batch = bytes(50_000_000)
        tracemalloc.start()
        try:
            for _ in range(20):
                Sending(Transport(), self.clock, 1000, lambda: None).put(batch)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 10_000_000

    def test_closing_waits_for_queued_bytes(self) -> None:
        self.fill()
        self.sending.put(b"last")
        ended: list[bytes] = []
        self.sending.finish(lambda: ended.append(self.transport.value()))
        assert not ended
        self.transport.drain()
        assert ended == [b"last"]
        assert self.transport.producer is None

    def test_a_client_that_stops_reading_becomes_slow(self) -> None:
        self.fill()
        assert self.write(b"x" * 600)
        assert self.write(b"x" * 600)
        self.clock.advance(STALLED)
        assert self.slow == [True]

    def test_no_client_below_the_bound_is_slow(self) -> None:
        self.fill()
        assert self.write(b"x" * 900)
        self.clock.advance(100 * STALLED)
        assert not self.slow

    def test_exceeding_the_bound_behind_a_batch_fails_at_once(self) -> None:
        self.fill()
        assert self.write(b"x" * 5000), "a single event may exceed the bound"
        written = 0
        while self.write(b"x" * 100):
            written += 100
        assert self.slow == [True]
        assert written == 1000
        assert self.sending.has_room(100), "the close frame is sent"

    def test_a_reading_client_may_queue_much(self) -> None:
        for _ in range(20):
            assert self.write(b"x" * 300_000)
            assert self.write(b"x" * 10)
            while self.transport.drain():
                self.clock.advance(STALLED / 2)
        assert not self.slow

    def test_queued_bytes_are_dropped_with_the_connection(self) -> None:
        self.fill()
        self.write(b"x" * 2000)
        self.sending.drop()
        assert self.sending.backlog == 0
        assert not self.clock.getDelayedCalls()
        assert self.transport.producer is None


def event(size: int) -> bytes:
    return tera_event(TOPIC, [UserEvent(user_fullname="x" * size)]).SerializeToString()


class WrappedTestCase(GatewayTestCase):
    """Tests of a gateway behind each kind of transport: TCP, TLS, and the PROXY protocol."""

    async def listen(self, endpoint: str, **options: Any) -> int:
        await self.gateway(**options)
        factory: Any = self.gate.factory
        if endpoint == "tls":
            authority = Authority(folder_of(self))
            pem = str(authority.issue("localhost"))
            self.root = TrustRoot.loadPEM(authority.file.read_bytes())
            factory, endpoint = Certificate(pem, pem).wrap(factory, reactor), "tcp"
        port: Any = await serverFromString(reactor, f"{endpoint}:0:interface=127.0.0.1").listen(
            factory
        )
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number


class SlowTests(WrappedTestCase):
    async def test_the_bound_holds_behind_the_proxy_protocol(self) -> None:
        port = await self.listen("haproxy:tcp", limits=GatewayLimits(max_send_buffer=100_000))
        key = await self.keys.issue("user", UUID)
        client = await connect_bytes(port)
        client.send(PROXY + handshake(f"/wss/user?id={key}".encode()))
        await client.until(b"\r\n\r\n")
        client.stop_reading()
        self.addCleanup(client.drop)
        payload = event(50_000)
        for _ in range(10_000):
            self.redis.publish(TOPIC, payload)
            await turn()
            assert self.gate.backlog < 1_000_000
            if self.gate.limited:
                break
        assert self.gate.limited == {"max_send_buffer": 1}

    async def test_a_client_that_reads_gets_a_small_event_after_large_ones(self) -> None:
        for endpoint, head in (("tcp", b""), ("haproxy:tcp", PROXY)):
            port = await self.listen(endpoint, limits=GatewayLimits(max_send_buffer=100_000))
            key = await self.keys.issue("user", UUID)
            client = await connect_bytes(port)
            client.send(head + handshake(f"/wss/user?id={key}".encode()))
            await client.until(b"\r\n\r\n")
            for name in ("x" * 1_500_000, "y" * 1_500_000, "the last"):
                payload = tera_event(TOPIC, [UserEvent(user_fullname=name)]).SerializeToString()
                self.redis.publish(TOPIC, payload)
            received = await client.until(b"the last")
            assert received.count(b"x") > 1_500_000
            assert received.count(b"y") > 1_500_000
            assert not self.gate.limited
            client.drop()

    async def test_an_event_above_the_maximum_is_dropped(self) -> None:
        port = await self.gateway(limits=GatewayLimits(max_send_buffer=10_000))
        log = log_of(self)
        client = await self.log_in(port)
        for size in (16 * 10_000, 10):
            self.redis.publish(TOPIC, event(size))
        first = await client.event(0)
        assert len(first["events"][0]["userFullname"]) == 10
        assert self.gate.dropped == 1
        assert any("not an event of at most 160,000 bytes" in text for text in log.items)

    async def test_a_large_event_is_in_memory_once_for_many_clients(self) -> None:
        port = await self.gateway()
        clients = []
        for _ in range(20):
            key = await self.keys.issue("user", UUID)
            client = await connect_bytes(port)
            client.send(handshake(f"/wss/user?id={key}".encode()))
            await client.until(b"\r\n\r\n")
            client.stop_reading()
            self.addCleanup(client.drop)
            clients.append(client)
        size = 8_000_000
        payload = event(size)
        tracemalloc.start()
        try:
            self.redis.publish(TOPIC, payload)
            while not self.gate.backlog:
                await turn()
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert self.gate.backlog > 10 * size
        assert held < 5 * size


Ending = Callable[["FreeingTests", Bytes, ClientProtocol], Awaitable[None] | None]


def violate(_: FreeingTests, client: Bytes, there: ClientProtocol) -> None:
    client.send(b"\xff\xff")


def say_goodbye(_: FreeingTests, client: Bytes, there: ClientProtocol) -> None:
    client.send(close(1000))


def leave(_: FreeingTests, client: Bytes, there: ClientProtocol) -> None:
    client.drop()


def send_away(_: FreeingTests, client: Bytes, there: ClientProtocol) -> None:
    there.close(4000, "CMD_CLIENT_DISCONNECT")
    client.send(close(4000))


def stay_silent_when_sent_away(_: FreeingTests, client: Bytes, there: ClientProtocol) -> None:
    there.close(4000, "CMD_CLIENT_DISCONNECT")


def flood(_: FreeingTests, client: Bytes, there: ClientProtocol) -> None:
    client.send(frame(PING) * 601)


async def stop_reading(test: FreeingTests, client: Bytes, there: ClientProtocol) -> None:
    client.stop_reading()
    test.addCleanup(client.drop)
    payload = event(500_000)
    while not test.gate.limited:
        test.redis.publish(TOPIC, payload)
        await turn()


ENDINGS: tuple[Ending, ...] = (
    violate,
    say_goodbye,
    leave,
    send_away,
    stay_silent_when_sent_away,
    flood,
    stop_reading,
)


class FreeingTests(WrappedTestCase):
    """No end of a connection leaves reference cycles; the collector rarely runs."""

    async def freed(self, endpoint: str, head: bytes) -> None:
        self.patch(autobahn_corrections, "CLOSE_TIMEOUT", 0.1)  # two ends wait for it
        port = await self.listen(endpoint)
        left = []
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        for end in ENDINGS:
            self.gate.limited.clear()
            client = await connect_bytes(port)
            key = await self.keys.issue("user", UUID)
            client.send(head + handshake(f"/wss/user?id={key}".encode()))
            await client.until(b"\r\n\r\n")
            (there,) = self.gate.factory.connections
            kept = [weakref.ref(there), weakref.ref(there.transport)]
            ending = end(self, client, there)
            del there
            if ending is not None:
                await ending
            while self.gate.factory.connections:
                await turn()
            await turn()
            left += [end.__name__ for reference in kept if reference() is not None]
        assert not left

    async def test_nothing_is_left_of_clients(self) -> None:
        await self.freed("tcp", b"")

    async def test_nothing_is_left_behind_the_proxy_protocol(self) -> None:
        await self.freed("haproxy:tcp", PROXY)

    async def test_nothing_is_left_of_tls(self) -> None:
        port = await self.listen("tls")
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        left = []
        for end in ("close", "drop", "send away"):
            key = await self.keys.issue("user", UUID)
            client = await connect(
                port, f"/wss/user?id={key}", optionsForClientTLS("localhost", self.root)
            )
            (there,) = self.gate.factory.connections
            # Twisted keeps a broken connection's wrapper in a cycle, without its bytes.
            kept = [weakref.ref(there), weakref.ref(there.transport.wrappedProtocol)]
            if end == "close":
                client.sendClose()
            elif end == "drop":
                client.dropConnection(abort=True)
            else:
                there.close(4000, "CMD_CLIENT_DISCONNECT")
            del there
            await client.closed
            while self.gate.factory.connections:
                await turn()
            await turn()
            left += [end for reference in kept if reference() is not None]
        assert not left

    async def test_nothing_is_left_of_handshakes(self) -> None:
        port = await self.gateway(limits=GatewayLimits(handshake_timeout=0.5))
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        left = []
        for request in (
            b"",
            b"junk\r\n\r\n",
            b"x" * 20_000,
            handshake(b"/wss/nobody?id=x"),
            handshake(b"/wss/user?id=x"),
            handshake(b"/wss/user?id=user." + b"k" * 43),
        ):
            client = await connect_bytes(port)
            while not self.gate.factory.connections:
                await turn()
            (there,) = self.gate.factory.connections
            kept = [weakref.ref(there), weakref.ref(there.transport)]
            del there
            client.send(request)
            await client.closed
            while self.gate.factory.connections:
                await turn()
            await turn()
            left += [request[:30] for reference in kept if reference() is not None]
        assert not left
