"""Clients that send as much as they can, beside one that only wants its events."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from opentera_twisted.gateway import GatewayLimits
from opentera_twisted.gateway.intake import HANDSHAKE, WORK_AT_ONCE, WORK_PER_TURN
from opentera_twisted.gateway.login import Refusal
from opentera_twisted.gateway.protocol import ANSWERS_PER_SECOND, ClientFactory, ClientProtocol
from opentera_twisted.gateway.proxies import TrustedProxies
from tests.conformance.frames import CONTINUATION, PING, TEXT, close, frame
from tests.gateway.test_gateway import GatewayTestCase
from tests.gateway.test_handshake import IDENTITY, REQUEST, StubGateway
from tests.gateway.test_intake import Turns
from tests.helpers.websockets import Bytes, connect_bytes, handshake

HOSTILE = "99999999-2222-3333-4444-555555555555"
NOT_ALLOWED = b"Not allowed to send message"


class TurnTests(SynchronousTestCase):
    """In memory, where each turn is the test's to take."""

    def setUp(self) -> None:
        self.clock = Turns()
        self.gate = StubGateway()
        limits = GatewayLimits(max_messages_per_minute=0)
        self.factory: Any = ClientFactory(self.gate, self.clock, limits, TrustedProxies())

    def client(self) -> tuple[ClientProtocol, StringTransport]:
        """A websocket that is open."""
        client, transport = self.factory.buildProtocol(None), StringTransport()
        client.makeConnection(transport)
        client.dataReceived(REQUEST)
        while not self.gate.decisions:
            self.clock.turn()
        self.gate.decisions.pop().callback(IDENTITY)
        transport.clear()
        self.clock.turn()
        return client, transport

    def test_an_event_is_written_while_a_flood_waits(self) -> None:
        witness, received = self.client()
        hostile = [self.client() for _ in range(20)]
        for opcode in (TEXT, PING):
            sent = frame(opcode) * 1_000
            for client, _ in hostile:
                client.dataReceived(sent)
            turns = 0
            while any(client.data for client, _ in hostile):
                waiting = sum(len(client.data) for client, _ in hostile)
                assert all(
                    transport.producerState == "paused"
                    for client, transport in hostile
                    if client.data
                ), "what else they send is left to TCP"
                assert witness.write(b"event")
                witness.dataReceived(frame(PING, b"alive"))
                self.clock.turn()
                taken = waiting - sum(len(client.data) for client, _ in hostile)
                assert taken <= (WORK_PER_TURN + WORK_AT_ONCE) * len(frame(opcode))
                assert b"event" in received.value()
                turns += 1
            assert turns > 100
            self.clock.turn()
            assert received.value().count(b"\x8a\x05alive") == turns
            assert all(transport.producerState == "producing" for _, transport in hostile)
            received.clear()

    def test_handshakes_take_turns_too(self) -> None:
        for _ in range(100):
            client = self.factory.buildProtocol(None)
            client.makeConnection(StringTransport())
            client.dataReceived(REQUEST)
        begun = len(self.gate.logins)
        assert begun <= WORK_PER_TURN // HANDSHAKE
        while begun < 100:
            self.clock.turn()
            now = len(self.gate.logins)
            assert now - begun <= WORK_PER_TURN // HANDSHAKE
            begun = now

    def test_a_piece_of_a_handshake_costs_no_whole_one(self) -> None:
        transports = []
        for _ in range(WORK_PER_TURN):
            client, transport = self.factory.buildProtocol(None), StringTransport()
            transports.append(transport)
            client.makeConnection(transport)
            client.dataReceived(REQUEST[:1])
        assert all(transport.producerState == "producing" for transport in transports)

    def test_a_refused_client_takes_no_slot_of_its_address(self) -> None:
        limits = GatewayLimits(max_connections_per_address=1)
        self.factory = ClientFactory(self.gate, self.clock, limits, TrustedProxies())
        refused, transport = self.factory.buildProtocol(None), StringTransport()
        refused.makeConnection(transport)
        refused.dataReceived(REQUEST)
        self.gate.decisions.pop().errback(Refusal(HTTPStatus.FORBIDDEN, "no such key"))
        assert b" 403 " in transport.value()
        client = self.factory.buildProtocol(None)
        client.makeConnection(StringTransport())
        client.dataReceived(REQUEST)
        assert self.gate.decisions, "the next one is let in"


class FloodTests(GatewayTestCase):
    async def raw(self, port: int) -> tuple[Bytes, ClientProtocol]:
        """A logged-in client that sends bytes, and its other end at the gateway."""
        known = set(self.gate.factory.connections)
        client = await connect_bytes(port)
        key = await self.keys.issue("user", HOSTILE)
        client.send(handshake(f"/wss/user?id={key}".encode()))
        await client.until(b"\r\n\r\n")
        self.addCleanup(client.drop)
        (there,) = self.gate.factory.connections - known
        return client, there

    async def test_more_messages_than_allowed_close_with_1008(self) -> None:
        port = await self.gateway(limits=GatewayLimits(max_messages_per_minute=20))
        for sent in (
            frame(TEXT, b"x") * 21,
            frame(PING, b"") * 21,
            frame(0xA, b"") * 21,
            frame(TEXT, b"x", fin=False) + frame(CONTINUATION, b"", fin=False) * 20,
        ):
            self.gate.limited.clear()
            client, _ = await self.raw(port)
            client.send(sent)
            closed = await client.until(b"\x03\xf0too many messages")
            assert closed.endswith(b"\x03\xf0too many messages")
            assert self.gate.limited == {"max_messages_per_minute": 1}

    async def test_a_close_is_not_one_message_too_many(self) -> None:
        port = await self.gateway(limits=GatewayLimits(max_messages_per_minute=5))
        client, _ = await self.raw(port)
        client.send(frame(PING, b"") * 5 + close(1000))
        assert b"\x88\x02\x03\xe8" in await client.closed
        assert not self.gate.limited

    async def test_only_some_messages_a_second_are_answered(self) -> None:
        port = await self.gateway(limits=GatewayLimits(max_messages_per_minute=0))
        self.patch(self.gate.factory.clock, "seconds", lambda: 1000.0)
        client, _ = await self.raw(port)
        client.send(frame(TEXT, b"x") * 500 + frame(PING, b"the last"))
        received = await client.until(b"\x8a\x08the last")
        assert received.count(NOT_ALLOWED) == ANSWERS_PER_SECOND

    async def test_fragments_without_end_are_not_kept(self) -> None:
        port = await self.gateway(limits=GatewayLimits(max_messages_per_minute=0))
        client, there = await self.raw(port)
        fragments = frame(CONTINUATION, b"x", fin=False) * 2000
        client.send(frame(TEXT, b"x", fin=False) + fragments + frame(PING, b"the last"))
        await client.until(b"\x8a\x08the last")
        assert there.inside_message
        assert not there.message_data
