"""The gateway's limits, each exceeded by a real client."""

from __future__ import annotations

import gc
import socket
import weakref
from typing import Any
from uuid import uuid4

import pytest
from autobahn.websocket.compress import (
    PerMessageDeflateOffer,
    PerMessageDeflateResponse,
    PerMessageDeflateResponseAccept,
)
from twisted.internet.threads import deferToThread

from opentera_twisted import topics
from opentera_twisted.errors import InvalidArgument
from opentera_twisted.gateway import Gateway, GatewayLimits, autobahn_corrections
from opentera_twisted.gateway.send_queue import PIECE
from opentera_twisted.messages import UserEvent
from opentera_twisted.messages.envelopes import tera_event
from tests.gateway.test_gateway import GatewayTestCase
from tests.helpers.support import GUARD, UUID, log_of, start_server, turn, until
from tests.helpers.websockets import HandshakeFailed, WebSocket, connect, connect_bytes, handshake

FORWARDED = (b"X-Forwarded-For: 192.0.2.7", b"X-Forwarded-Proto: https")

TOPIC = topics.websocket_events("user", UUID)


def most(bound: int) -> int:
    """Limit of bytes queued for a client, in the gateway and at its transport."""
    return bound + 2 * PIECE


class LimitTests(GatewayTestCase):
    async def test_excess_clients_get_503_and_keep_their_keys(self) -> None:
        port = await self.gateway(limits=GatewayLimits(max_clients=2))
        first = await self.log_in(port)
        await self.log_in(port)
        key = await self.keys.issue("user", UUID)
        client = await connect_bytes(port)
        client.send(handshake(f"/wss/user?id={key}".encode()))
        answer = await client.closed
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 5\r\n" in answer
        assert self.gate.limited == {"max_clients": 1}
        first.sendClose()
        await first.closed
        await connect(port, f"/wss/user?id={key}")

    async def test_a_refused_client_frees_its_place(self) -> None:
        port = await self.gateway(limits=GatewayLimits(max_clients=1))
        for _ in range(3):
            with pytest.raises(HandshakeFailed, match="403"):
                await connect(port, f"/wss/user?id=user.{'k' * 43}")
        await self.log_in(port)

    async def test_silent_connections_are_limited(self) -> None:
        port = await self.gateway(limits=GatewayLimits(max_clients=2))
        silent = [await connect_bytes(port) for _ in range(4)]
        fifth = await connect_bytes(port)
        assert await fifth.closed == b""
        assert self.gate.limited == {"max_clients": 1}
        assert not any(client.closed.called for client in silent)

    async def test_connections_of_an_identity_are_limited(self) -> None:
        port = await self.gateway(limits=GatewayLimits(max_clients_per_identity=2))
        first, _ = await self.log_in(port), await self.log_in(port)
        with pytest.raises(HandshakeFailed, match="429"):
            await self.log_in(port)
        await self.log_in(port, "device", uuid=str(uuid4()))
        await self.log_in(port, uuid=str(uuid4()))
        assert self.gate.limited == {"max_clients_per_identity": 1}
        first.sendClose()
        await first.closed
        await self.log_in(port)

    async def test_spellings_of_a_uuid_share_the_limit_per_identity(self) -> None:
        port = await self.gateway(limits=GatewayLimits(max_clients_per_identity=2))
        uuid = f"abcdef{str(uuid4())[6:]}"
        lower, _ = await self.log_in(port, uuid=uuid), await self.log_in(port, uuid=uuid.upper())
        with pytest.raises(HandshakeFailed, match="429"):
            await self.log_in(port, uuid=uuid.title())
        lower.sendClose()
        await lower.closed
        await self.log_in(port, uuid=uuid.title())

    async def test_failed_logins_of_an_address_are_limited(self) -> None:
        limits = GatewayLimits(failed_logins_per_minute=2)
        port = await self.gateway(limits=limits, trusted_proxies=["127.0.0.0/8"])
        good = await self.keys.issue("user", UUID)

        async def status(address: str, key: str) -> bytes:
            client = await connect_bytes(port)
            forwarded = f"X-Forwarded-For: {address}".encode()
            client.send(handshake(f"/wss/user?id={key}".encode(), forwarded))
            answer = await client.until(b"\r\n\r\n")
            return answer.split()[1]

        assert [await status("192.0.2.1", "x") for _ in range(3)] == [b"403", b"403", b"429"]
        assert await status("192.0.2.1", good) == b"429", "refused before the key is redeemed"
        assert await status("192.0.2.2", "x") == b"403"
        assert await status("192.0.2.2", good) == b"101"
        assert self.gate.limited == {"failed_logins_per_minute": 2}

    async def test_connections_of_an_address_are_limited(self) -> None:
        limits = GatewayLimits(max_connections_per_address=2)
        port = await self.gateway(limits=limits)
        first, _ = await self.log_in(port), await self.log_in(port)
        with pytest.raises(HandshakeFailed, match="429"):
            await self.log_in(port)
        assert self.gate.limited == {"max_connections_per_address": 1}
        first.sendClose()
        await first.closed
        await self.log_in(port)
        silent = [await connect_bytes(port) for _ in range(2)]
        third = await connect_bytes(port)
        assert await third.closed == b""
        assert not any(client.closed.called for client in silent)
        assert self.gate.limited == {"max_connections_per_address": 2}

    async def test_behind_a_proxy_the_address_of_the_client_counts(self) -> None:
        limits = GatewayLimits(max_connections_per_address=1)
        port = await self.gateway(limits=limits, trusted_proxies=["127.0.0.1"])
        for address, status in (
            (b"192.0.2.1", b"101"),
            (b"192.0.2.2", b"101"),
            (b"192.0.2.1", b"429"),
        ):
            client = await connect_bytes(port)
            key = await self.keys.issue("user", UUID)
            target = f"/wss/user?id={key}".encode()
            client.send(handshake(target, b"X-Forwarded-For: " + address))
            assert (await client.until(b"\r\n\r\n")).split()[1] == status

    async def test_refusals_are_summed_up(self) -> None:
        port = await self.gateway()
        log = log_of(self)
        for _ in range(20):
            with pytest.raises(HandshakeFailed, match="403"):
                await connect(port, "/wss/user?id=x")
        text = "login from 127.0.0.1 over ws refused with 403: the session key is not valid"
        assert [line.removesuffix("''") for line in log.items if "refused with 403" in line] == [
            text
        ]
        self.gate._strangers.flush()
        assert any(
            line.startswith(f"19 more within a minute, the last: {text}") for line in log.items
        )

    async def test_a_handshake_times_out(self) -> None:
        port = await self.gateway(limits=GatewayLimits(handshake_timeout=0.1))
        silent = await connect_bytes(port)
        slow = await connect_bytes(port)
        slow.send(b"GET /wss/user?id=x HTTP/1.1\r\n")
        await silent.closed
        await slow.closed
        assert self.gate.limited == {"handshake_timeout": 2}

    async def test_a_slow_redis_ends_in_the_handshake_timeout(self) -> None:
        port = await self.gateway(limits=GatewayLimits(handshake_timeout=GUARD))
        key = await self.keys.issue("user", UUID)
        self.redis.execute_command("CLIENT", "PAUSE", str(1000 * int(GUARD)), "WRITE")
        self.addCleanup(self.redis.execute_command, "CLIENT", "UNPAUSE")
        client = await connect_bytes(port)
        client.send(handshake(f"/wss/user?id={key}".encode()))
        await until(self.admissions, lambda count: count == 1)
        await until(
            lambda: deferToThread(self.redis.info, "clients"),
            lambda info: info["blocked_clients"] == 1,  # Redis has the gateway's command
        )
        (connection,) = self.gate.factory.connections
        assert connection._timeout is not None
        connection._timeout.reset(0)
        assert await client.closed == b""
        await until(self.gone, lambda count: count == 1)
        self.redis.execute_command("CLIENT", "UNPAUSE")
        # Redis redeems the key too late: the gateway returns it.
        await until(lambda: deferToThread(self.redis.exists, key), bool)
        await connect(port, f"/wss/user?id={key}")
        assert self.gate._admission._present == {("user", UUID): 1}

    async def admissions(self) -> int:
        await turn()
        return sum(each._admission is not None for each in self.gate.factory.connections)

    async def gone(self) -> int:
        await turn()
        return self.gate.logins["gone"]

    async def test_the_size_of_messages_is_limited(self) -> None:
        port = await self.gateway(limits=GatewayLimits(max_message_size=10))
        fits, exceeds = await self.log_in(port), await self.log_in(port)
        fits.sendMessage(b"x" * 10)
        await fits.messages.wait(1)
        exceeds.sendMessage(b"x" * 11)
        assert (await exceeds.closed)[0] == 1009
        assert self.gate.limited == {"max_message_size": 1}

    async def test_bytes_queued_for_a_client_are_bounded(self) -> None:
        limit = 100_000
        self.patch(autobahn_corrections, "CLOSE_TIMEOUT", 0.1)
        port = await self.gateway(limits=GatewayLimits(max_send_buffer=limit))
        log = log_of(self)
        reads = await self.log_in(port)
        key = await self.keys.issue("user", UUID)
        stops = await connect_bytes(port)
        stops.send(handshake(f"/wss/user?id={key}".encode()))
        await stops.until(b"\r\n\r\n")
        stops.stop_reading()
        self.addCleanup(stops.drop)  # it would not notice the close
        event = tera_event(TOPIC, [UserEvent(user_fullname="x" * 50_000)]).SerializeToString()
        sent = 0
        while not self.gate.limited:
            self.redis.publish(TOPIC, event)
            sent += 1
            await reads.messages.wait(sent)
            assert self.gate.backlog <= most(limit) + len(event)
        assert self.gate.limited == {"max_send_buffer": 1}
        assert any("max_send_buffer reached" in text for text in log.items)
        # It ends at the close timeout; the other client missed nothing.
        await until(self.open, lambda count: count == 1)
        assert len(reads.messages.items) == sent

    async def open(self) -> int:
        await turn()
        return len(self.gate.factory.connections)

    async def test_pongs_and_answers_are_bounded_too(self) -> None:
        port = await self.gateway(
            limits=GatewayLimits(max_send_buffer=50_000, max_messages_per_minute=0)
        )
        key = await self.keys.issue("user", UUID)
        client = await connect_bytes(port)
        client.send(handshake(f"/wss/user?id={key}".encode()))
        await client.until(b"\r\n\r\n")
        client.stop_reading()
        self.addCleanup(client.drop)  # it would not notice the close
        (connection,) = self.gate.factory.connections
        connection.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 50_000)
        ping = b"\x89\xfd\x00\x00\x00\x00" + b"x" * 125
        while not self.gate.limited:
            assert not client.closed.called
            client.send(ping * 500)
            await turn()
            assert self.gate.backlog <= most(50_000)
        assert self.gate.limited == {"max_send_buffer": 1}

    async def test_zero_means_no_limit(self) -> None:
        limits = GatewayLimits(
            max_clients=0,
            max_clients_per_identity=0,
            handshake_timeout=0,
            max_message_size=0,
            max_connections_per_address=0,
            max_messages_per_minute=0,
            max_send_buffer=0,
            failed_logins_per_minute=0,
        )
        port = await self.gateway(limits=limits)
        for _ in range(5):
            with pytest.raises(HandshakeFailed, match="403"):
                await connect(port, "/wss/user?id=x")
        clients = [await self.log_in(port) for _ in range(3)]
        clients[0].sendMessage(b"x" * 200_000)
        await clients[0].messages.wait(1)


class OriginTests(GatewayTestCase):
    async def test_other_origins_are_refused_and_the_key_stays_valid(self) -> None:
        port = await self.gateway(origins=["https://rehab.example.org"])
        key = await self.keys.issue("user", UUID)
        for origin, status in (
            (b"https://evil.example", b"403"),
            (b"null", b"403"),
            (b"http://rehab.example.org", b"403"),
            (b"https://rehab.example.org", b"101"),
        ):
            client = await connect_bytes(port)
            client.send(handshake(f"/wss/user?id={key}".encode(), b"Origin: " + origin))
            assert (await client.until(b"\r\n\r\n")).split()[1] == status

    async def test_an_apps_origin_and_null_are_accepted_by_name(self) -> None:
        origins = ["capacitor://localhost", "app://.", "chrome-extension://abcdefghijkl", "null"]
        port = await self.gateway(origins=origins)
        key = await self.keys.issue("user", UUID)
        client = await connect_bytes(port)
        client.send(handshake(f"/wss/user?id={key}".encode(), b"Origin: tauri://localhost"))
        assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 403 ")
        for origin in [*origins, "file://"]:
            key = await self.keys.issue("user", UUID)
            client = await connect_bytes(port)
            header = b"Origin: " + origin.encode()
            client.send(handshake(f"/wss/user?id={key}".encode(), header))
            assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 "), origin

    async def test_opaque_origins_are_accepted_where_any_is(self) -> None:
        for compression in (0, 9):
            port = await self.gateway(compression=compression)
            key = await self.keys.issue("user", UUID)
            client = await connect_bytes(port)
            client.send(handshake(f"/wss/user?id={key}".encode(), b"Origin: null"))
            assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")

    async def refused_through(self, trusted: str) -> list[str]:
        """Return the log of a login with a proxy's headers, with that address trusted."""
        port = await self.gateway(trusted_proxies=[trusted])
        log = log_of(self)
        client = await connect_bytes(port)
        client.send(handshake(b"/wss/user?id=x", *FORWARDED))
        await client.closed
        return log.items

    async def test_the_log_names_the_client_behind_a_trusted_proxy(self) -> None:
        logged = await self.refused_through("127.0.0.1")
        assert any("login from 192.0.2.7 over wss refused with 403" in text for text in logged)

    async def test_headers_of_untrusted_proxies_are_ignored(self) -> None:
        logged = await self.refused_through("192.0.2.1")
        assert any("login from 127.0.0.1 over ws refused" in text for text in logged)


class GapTests(GatewayTestCase):
    async def outage(self, **options: Any) -> WebSocket:
        server = start_server(self)
        bus = await self.bus(server.url)
        port = await self.gateway(bus, **options)
        client = await self.log_in(port)
        await deferToThread(server.stop)
        while bus.link.is_ready:
            await turn()
        assert not client.closed.called
        await deferToThread(server.start)
        await bus.connected()
        return client

    async def test_a_gap_closes_clients_with_1012_on_request(self) -> None:
        client = await self.outage(on_gap="close")
        assert (await client.closed)[0] == 1012

    async def test_a_gap_keeps_clients_by_default(self) -> None:
        client = await self.outage()
        client.sendMessage(b"x")
        await client.messages.wait(1)

    async def test_a_bus_does_not_keep_a_gateway_that_was_stopped(self) -> None:
        bus = await self.bus()
        gateway = Gateway(bus, on_gap="close")
        for _ in range(2):
            gateway.startService()
            await gateway.stopService()
        left = weakref.ref(gateway)
        del gateway
        await until(self.collected, lambda _: left() is None)

    async def collected(self) -> None:
        await turn()
        gc.collect()


class CompressionTests(GatewayTestCase):
    async def test_compression_is_off_by_default(self) -> None:
        port = await self.gateway()
        client = await self.connected(port)
        assert not client.websocket_extensions_in_use

    async def test_events_are_compressed_for_clients_that_offer_it(self) -> None:
        port = await self.gateway(compression=10)
        able, unable = await self.connected(port), await self.log_in(port)
        assert able.websocket_extensions_in_use
        for name in ("x" * 1000, "y" * 1000):
            event = tera_event(TOPIC, [UserEvent(user_fullname=name)])
            self.redis.publish(TOPIC, event.SerializeToString())
        for number, letter in enumerate("xy"):
            for client in (able, unable):
                event_ = (await client.event(number))["events"][0]
                assert event_["userFullname"] == letter * 1000
        received = able.trafficStats.incomingOctetsWireLevel
        assert received < unable.trafficStats.incomingOctetsWireLevel / 2
        able.sendMessage(b"hello" * 100)
        assert (await able.messages.wait(3))[2] == "Not allowed to send message"

    async def test_a_compression_bomb_closes_with_1009(self) -> None:
        port = await self.gateway(compression=15)
        client = await self.connected(port)
        client.sendMessage(b"\x00" * 10_000_000)
        assert (await client.closed)[0] == 1009

    async def test_a_window_out_of_bounds_is_refused(self) -> None:
        bus = await self.bus()
        for bits in (1, 8, 16, -1):
            with pytest.raises(InvalidArgument, match="compression must be 0 or 9 to 15"):
                Gateway(bus, compression=bits)

    async def connected(self, port: int) -> WebSocket:
        """Connect a client that offers compression."""
        key = await self.keys.issue("user", UUID)

        def accept(response: object) -> PerMessageDeflateResponseAccept:
            assert isinstance(response, PerMessageDeflateResponse)
            return PerMessageDeflateResponseAccept(response)

        return await connect(
            port,
            f"/wss/user?id={key}",
            perMessageCompressionOffers=[PerMessageDeflateOffer()],
            perMessageCompressionAccept=accept,
        )
