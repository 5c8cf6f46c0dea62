"""Clients that send as much as they can, beside one that only wants its events."""

from __future__ import annotations

from opentera_twisted import topics
from opentera_twisted.gateway import GatewayLimits
from opentera_twisted.gateway.protocol import ANSWERS_PER_SECOND, ClientProtocol
from opentera_twisted.messages import UserEvent
from opentera_twisted.messages.packing import tera_event

from .conformance.frames import CONTINUATION, PING, TEXT, close, frame
from .support import UUID, turn
from .test_gateway import GatewayTestCase
from .websockets import Bytes, connect_bytes, handshake

HOSTILE = "99999999-2222-3333-4444-555555555555"
NOT_ALLOWED = b"Not allowed to send message"


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

    async def test_an_event_arrives_while_a_flood_waits(self) -> None:
        port = await self.gateway(limits=GatewayLimits(max_messages_per_minute=0))
        witness = await self.log_in(port)
        topic = topics.websocket_events("user", UUID)
        event = tera_event(topic, [UserEvent(user_fullname="x")]).SerializeToString()
        hostile = [await self.raw(port) for _ in range(10)]
        for payload in (frame(TEXT, b""), frame(PING, b"")):
            before = len(witness.messages.items)
            for client, _ in hostile:
                client.send(payload * (60_000 // len(payload)))
            while not all(there.data for _, there in hostile):
                await turn()
            self.redis.publish(topic, event)
            await witness.messages.wait(before + 1)
            assert all(there.data for _, there in hostile), "their frames were not taken first"
            while any(there.data for _, there in hostile):
                await turn()

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
