"""Handshakes with unacceptable offers: declined or refused, without consuming the key."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.web.resource import Resource
from twisted.web.server import Site

from opentera_twisted.gateway import GatewayLimits
from tests.conformance.frames import PING, PONG, frame
from tests.gateway.test_gateway import GatewayTestCase
from tests.helpers.support import UUID
from tests.helpers.websockets import connect_bytes, handshake

UNUSABLE = [
    b"permessage-deflate; " + parameters
    for parameters in (
        b"client_max_window_bits=8",
        b"server_max_window_bits=8",
        b"server_max_window_bits=16",
        b"unknown",
        b"server_no_context_takeover; server_no_context_takeover",
    )
] + [b"permessage-bzip2; unknown"]


class NegotiationTestCase(GatewayTestCase):
    async def answer(self, port: int, request: bytes) -> bytes:
        """Send a request and return the head of the answer."""
        client = await connect_bytes(port)
        client.send(request)
        head = await client.until(b"\r\n\r\n")
        client.drop()
        await client.closed
        return head

    async def request(self, *headers: bytes) -> bytes:
        """Return a handshake with a valid key."""
        key = await self.keys.issue("user", UUID)
        return handshake(f"/wss/user?id={key}".encode(), *headers)

    async def is_refused(self, port: int, bad: bytes, good: bytes, status: bytes) -> None:
        """Assert that a request is refused and its key stays valid."""
        assert (await self.answer(port, bad)).split()[1] == status, bad
        assert (await self.answer(port, good)).split()[1] == b"101", bad


class OfferTests(NegotiationTestCase):
    async def test_an_unusable_offer_of_compression_is_declined(self) -> None:
        for compression in (0, 15):
            port = await self.gateway(compression=compression)
            for offer in UNUSABLE:
                request = await self.request(b"Sec-WebSocket-Extensions: " + offer)
                answer = await self.answer(port, request)
                assert answer.split()[1] == b"101", offer
                assert b"extensions" not in answer.lower()

    async def test_a_smaller_window_is_answered_as_offered(self) -> None:
        port = await self.gateway(compression=15)
        offer = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=9"
        assert b"client_max_window_bits=9\r\n" in await self.answer(port, await self.request(offer))

    async def test_offers_on_several_lines_are_read_as_one(self) -> None:
        port = await self.gateway(compression=15)
        header = b"Sec-WebSocket-Extensions: "
        for lines, accepted in (
            ((b"x; a=1", b"permessage-deflate"), True),
            (
                (
                    b"permessage-deflate; unknown",
                    b"",
                    b"permessage-deflate; client_max_window_bits",
                ),
                True,
            ),
            ((b"x", b"y"), False),
        ):
            request = await self.request(*(header + line for line in lines))
            answer = await self.answer(
                port, request.replace(b"Sec-WebSocket-Ext", b"sec-WEBSOCKET-ext", 1)
            )
            assert answer.split()[1] == b"101", lines
            assert (b"\r\nSec-WebSocket-Extensions: permessage-deflate" in answer) == accepted, (
                lines
            )

    async def test_a_refusal_leaves_the_key(self) -> None:
        port = await self.gateway(compression=15)
        for header in (
            b"Sec-WebSocket-Protocol: opentera-bus.other.v1",
            b"Sec-WebSocket-Protocol: a/b",
            b"Sec-WebSocket-Protocol: a, a",
            b"Sec-WebSocket-Extensions: permessage-deflate;",
            b"Sec-WebSocket-Extensions: x\r\nSec-WebSocket-Extensions: permessage-deflate;",
        ):
            good = await self.request()
            await self.is_refused(port, good[:-2] + header + b"\r\n\r\n", good, b"400")
        for old, new in (
            (b"Version: 13", b"Version: 1_3"),
            (b"Version: 13", b"Version: 013"),
            (b"Host: 127.0.0.1", b"Host: 127.0.0.1:8_0"),
        ):
            good = await self.request()
            await self.is_refused(port, good.replace(old, new), good, b"400")

    async def test_a_subprotocol_is_selected(self) -> None:
        port = await self.gateway()
        for offered, selected in (
            (b"chat, superchat", b"chat"),
            (b"opentera-bus.other.v1, events", b"events"),
            (b"opentera-bus.recovery.v1, events", b"opentera-bus.recovery.v1"),
        ):
            request = await self.request(b"Sec-WebSocket-Protocol: " + offered)
            answer = await self.answer(port, request)
            assert b"\r\nSec-WebSocket-Protocol: " + selected + b"\r\n" in answer


class SiteTests(NegotiationTestCase):
    async def site(self) -> int:
        await self.gateway()
        root = Resource()
        root.putChild(b"wss", self.gate.resource())
        listening: Any = reactor
        site: Any = listening.listenTCP(0, Site(root), interface="127.0.0.1")
        self.addCleanup(site.stopListening)
        return int(site.getHost().port)

    async def test_frames_in_the_segment_of_the_request_are_read(self) -> None:
        client = await connect_bytes(await self.site())
        client.send(await self.request() + frame(PING, b"early"))
        await client.until(frame(PONG, b"early", mask=None))
        client.drop()

    async def test_a_site_passes_the_request_on_unchanged(self) -> None:
        port = await self.site()
        good = await self.request()
        old = good.replace(b"HTTP/1.1", b"HTTP/1.0")
        await self.is_refused(port, old, good, b"505")
        for more in (b"Host: b", b"Origin: https://a.example\r\nOrigin: https://b.example"):
            good = await self.request()
            await self.is_refused(port, good[:-2] + more + b"\r\n\r\n", good, b"400")


class GuessTests(NegotiationTestCase):
    async def test_guesses_in_flight_count_for_the_limit(self) -> None:
        port = await self.gateway(limits=GatewayLimits(failed_logins_per_minute=5))
        guesses = [handshake(b"/wss/user?id=user.%043d" % number) for number in range(50)]
        answers = await gatherResults([self.begin(port, guess) for guess in guesses])
        statuses = [answer.split()[1] for answer in answers]
        assert statuses.count(b"403") == 5
        assert statuses.count(b"429") == 45

    async def test_many_valid_keys_at_once_are_all_accepted(self) -> None:
        port = await self.gateway(limits=GatewayLimits(failed_logins_per_minute=5))
        requests = [await self.request() for _ in range(50)]
        answers = await gatherResults([self.begin(port, request) for request in requests])
        assert {answer.split()[1] for answer in answers} == {b"101"}

    def begin(self, port: int, request: bytes) -> Any:
        return Deferred.fromCoroutine(self.answer(port, request))
