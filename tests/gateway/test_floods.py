"""Clients that send at full speed, beside one that only receives events."""

from __future__ import annotations

import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from twisted.internet import reactor
from twisted.internet.error import ConnectionLost
from twisted.internet.task import deferLater
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from opentera_twisted.gateway import GatewayLimits
from opentera_twisted.gateway.intake import SHARE
from opentera_twisted.gateway.login import Refusal
from opentera_twisted.gateway.protocol import (
    ACCEPTED_AT_ONCE,
    ANSWERS_PER_SECOND,
    FRAMES_AT_ONCE,
    SERVICE_RESTART,
    ClientFactory,
    ClientProtocol,
)
from opentera_twisted.gateway.trusted_proxies import TrustedProxies
from tests.conformance.frames import CONTINUATION, PING, TEXT, close, frame
from tests.gateway.test_gateway import GatewayTestCase
from tests.gateway.test_handshake import IDENTITY, REQUEST, StubGateway
from tests.helpers.support import GUARD
from tests.helpers.turns import Turns
from tests.helpers.websockets import Bytes, connect_bytes, handshake

HOSTILE = "99999999-2222-3333-4444-555555555555"
NOT_ALLOWED = b"Not allowed to send message"

STEPS = 16
"""Clock readings in a turn's share of time, and so its maximum of steps."""


class Ticking(Turns):
    """A clock that advances a little at each reading, as work takes time."""

    def seconds(self) -> float:
        self.rightNow += SHARE / STEPS
        return super().seconds()


class TurnTests(SynchronousTestCase):
    """Tests in memory, which control each turn."""

    def setUp(self) -> None:
        self.clock = Ticking()
        self.gate = StubGateway()
        limits = GatewayLimits(max_messages_per_minute=0)
        self.factory: Any = ClientFactory(self.gate, self.clock, limits, TrustedProxies())

    def client(self) -> tuple[ClientProtocol, StringTransport]:
        """Return an open websocket."""
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
                ), "further data stays in TCP buffers"
                assert witness.write(b"event")
                witness.dataReceived(frame(PING, b"alive"))
                self.clock.turn()
                taken = waiting - sum(len(client.data) for client, _ in hostile)
                assert taken <= STEPS * FRAMES_AT_ONCE * len(frame(opcode))
                assert b"event" in received.value()
                turns += 1
            assert turns > 100
            while witness.data:
                self.clock.turn()
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
        assert begun <= STEPS
        while begun < 100:
            self.clock.turn()
            now = len(self.gate.logins)
            assert now - begun <= STEPS
            begun = now

    def count_in_turns(self, count: Callable[[], int], total: int) -> None:
        """Run turns until all work is done; check the bound of each turn."""
        done = count()
        assert done <= STEPS
        while done < total:
            self.clock.turn()
            assert count() - done <= STEPS
            done = count()

    def test_closes_take_turns_and_nothing_is_sent_before_them(self) -> None:
        clients = [self.client() for _ in range(100)]
        for client, _ in clients:
            client.missed_events()
        for client, _ in clients:
            assert not client.write(b"hidden")
            client.close(SERVICE_RESTART, "again")
        closes = b"\x88", SERVICE_RESTART.to_bytes(2, "big")
        self.count_in_turns(
            lambda: sum(
                all(close in received.value() for close in closes) for _, received in clients
            ),
            len(clients),
        )
        for _, received in clients:
            assert b"hidden" not in received.value()
            assert received.value().count(b"events may have been missed") == 1

    def test_broken_connections_take_turns(self) -> None:
        clients = [self.client() for _ in range(100)]
        told = len(self.gate.told)
        for client, _ in clients:
            client.connectionLost(Failure(ConnectionLost()))
        assert not any(client.write(b"event") for client, _ in clients)
        self.count_in_turns(lambda: len(self.gate.told) - told, len(clients))
        assert not self.factory.connections

    def test_refusals_take_turns(self) -> None:
        for _ in range(100):
            client = self.factory.buildProtocol(None)
            client.makeConnection(StringTransport())
            client.dataReceived(REQUEST)
        while len(self.gate.logins) < 100:
            self.clock.turn()
        for decision in self.gate.decisions:
            decision.errback(Refusal(HTTPStatus.FORBIDDEN, "no such key"))
        self.count_in_turns(lambda: len(self.gate.refusals), 100)

    def test_a_refused_client_frees_the_slot_of_its_address(self) -> None:
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
        assert self.gate.decisions, "the next client is accepted"


class FloodTests(GatewayTestCase):
    async def test_a_turn_accepts_few_connections(self) -> None:
        port = await self.gateway()
        (await connect_bytes(port)).drop()
        (listening,) = {connection.transport.server for connection in self.gate.factory.connections}
        accepted: list[int] = []
        do_read = listening.doRead

        def counted() -> None:
            before = len(self.gate.factory.connections)
            do_read()
            accepted.append(len(self.gate.factory.connections) - before)

        listening.doRead = counted
        for _ in range(3):  # all of them wait in the kernel before the reactor polls
            crowd = [socket.create_connection(("127.0.0.1", port), GUARD) for _ in range(45)]
            for client in crowd:
                self.addCleanup(client.close)
            done = sum(accepted) + len(crowd)
            while sum(accepted) < done:
                await deferLater(reactor, 0)
        assert max(accepted) <= ACCEPTED_AT_ONCE

    async def raw(self, port: int) -> tuple[Bytes, ClientProtocol]:
        """Return a logged-in client that sends bytes, and its connection at the gateway."""
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

    async def test_a_close_does_not_count_as_a_message(self) -> None:
        port = await self.gateway(limits=GatewayLimits(max_messages_per_minute=5))
        client, _ = await self.raw(port)
        client.send(frame(PING, b"") * 5 + close(1000))
        assert b"\x88\x02\x03\xe8" in await client.closed
        assert not self.gate.limited

    async def test_answers_per_second_are_limited(self) -> None:
        port = await self.gateway(limits=GatewayLimits(max_messages_per_minute=0))
        self.patch(self.gate.factory.clock, "seconds", lambda: 1000.0)
        client, _ = await self.raw(port)
        client.send(frame(TEXT, b"x") * 500 + frame(PING, b"the last"))
        received = await client.until(b"\x8a\x08the last")
        assert received.count(NOT_ALLOWED) == ANSWERS_PER_SECOND

    async def test_endless_fragments_are_bounded(self) -> None:
        port = await self.gateway(limits=GatewayLimits(max_messages_per_minute=0))
        client, there = await self.raw(port)
        fragments = frame(CONTINUATION, b"x", fin=False) * 2000
        client.send(frame(TEXT, b"x", fin=False) + fragments + frame(PING, b"the last"))
        await client.until(b"\x8a\x08the last")
        assert there.inside_message
        assert not there.message_data
