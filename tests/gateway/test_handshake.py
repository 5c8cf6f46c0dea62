"""The websocket protocol in memory: events during the decision on a login."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from opentera_twisted import Identity
from opentera_twisted.gateway.limits import GatewayLimits
from opentera_twisted.gateway.login import Login, Refusal
from opentera_twisted.gateway.protocol import ClientFactory, ClientProtocol
from opentera_twisted.gateway.trusted_proxies import Peer, TrustedProxies
from opentera_twisted.topics import Kind
from tests.helpers.support import UUID
from tests.helpers.websockets import handshake

REQUEST = handshake(b"/wss/user?id=key")
IDENTITY = Identity("user", UUID)


class StubGateway:
    """A gateway that decides on request and records its notifications."""

    def __init__(self) -> None:
        self.logins: list[Login] = []
        self.decisions: list[Deferred[Identity]] = []
        self.told: list[str] = []
        self.refusals: list[int] = []
        self.limits: list[str] = []

    async def admit(self, client: ClientProtocol, login: Login) -> Identity:
        self.logins.append(login)
        self.decisions.append(Deferred())
        return await self.decisions[-1]

    def subprotocols(self) -> Collection[str]:
        return ()

    def refused(self, peer: Peer, refusal: Refusal, kind: Kind | None = None) -> None:
        self.refusals.append(int(refusal.status))

    def tls_failed(self, peer: Peer, reason: Failure) -> None:
        raise AssertionError

    def reached(self, limit: str, client: ClientProtocol) -> None:
        self.limits.append(limit)

    def opened(self, client: ClientProtocol, identity: Identity) -> None:
        self.told.append("opened")

    def has_token(self, client: ClientProtocol) -> None:
        pass

    def closed(self, client: ClientProtocol, identity: Identity) -> None:
        self.told.append(f"closed, opened before: {client.was_opened}")


class HandshakeTests(TestCase):
    def setUp(self) -> None:
        self.gate = StubGateway()
        self.clock = Clock()
        factory: Any = ClientFactory(self.gate, self.clock, GatewayLimits(), TrustedProxies())
        self.client: ClientProtocol = factory.buildProtocol(None)
        self.transport = StringTransportWithDisconnection()
        self.transport.protocol = self.client
        self.transport.abortConnection = lambda: None  # type: ignore[method-assign]
        self.transport.unregisterProducer = lambda: None  # type: ignore[method-assign]
        self.client.makeConnection(self.transport)
        self.client.dataReceived(REQUEST)

    def end(self) -> None:
        self.client.connectionLost(Failure(ConnectionDone()))

    def test_an_admitted_client_is_opened_and_later_closed(self) -> None:
        self.gate.decisions[0].callback(IDENTITY)
        self.assertTrue(self.transport.value().startswith(b"HTTP/1.1 101 "))
        self.end()
        self.assertEqual(self.gate.told, ["opened", "closed, opened before: True"])

    def test_a_dropped_client_is_not_opened_by_a_late_decision(self) -> None:
        self.clock.advance(GatewayLimits().handshake_timeout)
        self.assertEqual(self.gate.limits, ["handshake_timeout"])
        self.gate.decisions[0].callback(IDENTITY)
        self.assertEqual(self.transport.value(), b"")
        self.assertEqual(self.gate.told, ["closed, opened before: False"])
        self.end()
        self.assertEqual(len(self.gate.told), 1)
        self.assertEqual(self.client.factory.connections, set())

    def test_leaving_early_cancels_the_decision(self) -> None:
        self.end()
        self.assertTrue(self.gate.decisions[0].called)
        self.assertEqual(self.gate.told, [])

    def test_a_flood_before_the_decision_is_one_refusal(self) -> None:
        self.client.dataReceived(b"x" * 20_000)
        self.assertTrue(self.transport.value().startswith(b"HTTP/1.1 431 "))
        self.end()
        self.assertEqual(self.gate.refusals, [431])

    def test_bytes_after_the_request_are_no_second_request(self) -> None:
        for _ in range(3):
            self.client.dataReceived(REQUEST)
        self.assertEqual(
            self.gate.logins, [Login("user", "key", Peer("192.168.1.1", secure=False))]
        )
        self.end()

    def test_an_internal_error_is_500_without_details(self) -> None:
        self.gate.decisions[0].errback(ValueError("hush"))
        answer = self.transport.value()
        self.assertTrue(answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n"))
        self.assertNotIn(b"hush", answer)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.end()

    def test_a_close_before_the_opening_applies_after_it(self) -> None:
        self.client.close(4000, "CMD_CLIENT_DISCONNECT")
        self.gate.decisions[0].callback(IDENTITY)
        _, _, frames = self.transport.value().partition(b"\r\n\r\n")
        self.assertEqual(frames, b"\x88\x17\x0f\xa0CMD_CLIENT_DISCONNECT")
        self.end()
        self.assertEqual(self.gate.told, ["opened", "closed, opened before: True"])
