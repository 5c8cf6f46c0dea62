"""A client's pings in memory: a stall, a long frame, and a dead gateway."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from opentera_twisted._internal.pings import PING_INTERVAL, PONG_TIMEOUT
from opentera_twisted.client.address import GatewayAddress
from opentera_twisted.client.login import Login
from opentera_twisted.client.websocket import GatewayFactory
from opentera_twisted.gateway import GatewayLimits
from opentera_twisted.gateway.protocol import ClientFactory
from opentera_twisted.gateway.trusted_proxies import TrustedProxies
from tests.conformance.frames import PING, TEXT, frame
from tests.gateway.test_handshake import IDENTITY, StubGateway
from tests.gateway.test_pings import Transport


class PingTests(SynchronousTestCase):
    def setUp(self) -> None:
        """Open a websocket of a client at a gateway's protocol, each with its own clock."""
        self.clock, self.gateway_clock = Clock(), Clock()
        self.received: list[bytes] = []
        self.causes: list[Any] = []
        self.factory = GatewayFactory(
            GatewayAddress.parse("ws://127.0.0.1:1/wss/user"),
            self.login(),
            self.clock,
            timeout=15.0,
            max_message_size=1_000_000,
            recovery=False,
        )
        self.factory.received = lambda payload, _: self.received.append(payload)
        self.factory.lost = lambda _, cause: self.causes.append(cause.value)
        gate = StubGateway()
        gateway: Any = ClientFactory(gate, self.gateway_clock, GatewayLimits(), TrustedProxies())
        self.peer = gateway.buildProtocol(None)
        address: Any = None
        self.client = self.factory.buildProtocol(address)
        self.transport, self.peer_transport = Transport(), Transport()
        self.peer.makeConnection(self.peer_transport)
        self.client.makeConnection(self.transport)
        self.to_gateway()
        gate.decisions.pop().callback(IDENTITY)
        self.to_client()
        self.successResultOf(self.client.opened)
        self.client.settled()

    def login(self) -> Login:
        login = Login()
        login.supply("key")
        return login

    def to_gateway(self) -> bytes:
        """Pass what the client wrote to the gateway, which answers, and return it."""
        data = self.transport.take()
        self.peer.dataReceived(data)
        self.gateway_clock.advance(0)
        return data

    def to_client(self) -> None:
        """Pass what the gateway wrote to the client."""
        self.client.dataReceived(self.peer_transport.take())

    def lose(self) -> None:
        """End the connection."""
        self.client.connectionLost(Failure(ConnectionDone()))

    def test_a_stall_of_the_client_keeps_the_connection(self) -> None:
        for _ in range(3):
            self.clock.advance(PING_INTERVAL)
            assert self.to_gateway()
            self.clock.advance(100 * PONG_TIMEOUT)  # the answer waits in the socket
            self.to_client()
            self.clock.advance(0)
        assert not self.transport.was_aborted

    def test_a_part_of_a_long_frame_shows_a_live_gateway(self) -> None:
        text = frame(TEXT, b"x" * 1000, mask=None)
        for i in range(len(text)):
            self.clock.advance(PING_INTERVAL / 10)
            self.client.dataReceived(text[i : i + 1])
        assert not self.transport.was_aborted
        assert self.received == [b"x" * 1000]

    def test_a_silent_gateway_is_dropped(self) -> None:
        self.clock.pump([1.0] * (PING_INTERVAL + PONG_TIMEOUT - 1))
        assert not self.transport.was_aborted
        self.clock.pump([1.0] * 2)
        assert self.transport.was_aborted
        self.lose()
        (cause,) = self.causes
        assert f"silent for {PONG_TIMEOUT} s after a ping" in str(cause)

    def test_a_gateway_that_fell_silent_is_dropped(self) -> None:
        self.clock.pump([1.0] * PING_INTERVAL)
        self.to_gateway()
        self.to_client()
        self.clock.pump([1.0] * (2 * PING_INTERVAL + PONG_TIMEOUT))
        assert self.transport.was_aborted

    def test_a_lost_connection_leaves_no_timer(self) -> None:
        self.clock.advance(PING_INTERVAL)
        self.lose()
        assert self.clock.getDelayedCalls() == []

    def test_a_closing_websocket_sends_no_ping(self) -> None:
        self.client.close()
        self.transport.take()
        self.clock.pump([0.1] * 10 * PING_INTERVAL)
        assert self.transport.take() == b""

    def test_a_failed_ping_drops_the_connection(self) -> None:
        self.patch(self.client, "sendPing", lambda _payload: 1 / 0)
        self.clock.advance(PING_INTERVAL)
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1
        assert self.transport.was_aborted
        self.lose()
        assert "see the log" in str(self.causes[0])

    def test_a_ping_is_a_masked_frame(self) -> None:
        self.clock.advance(PING_INTERVAL)
        first, second, *_ = self.transport.take()
        assert first == 0x80 | PING
        assert second & 0x80
