"""The edge of the gateway in memory: what can happen while a login is being decided."""

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
from opentera_twisted.gateway.proxies import Peer, TrustedProxies
from tests.helpers.support import UUID
from tests.helpers.websockets import handshake

REQUEST = handshake(b"/wss/user?id=key")
IDENTITY = Identity("user", UUID)


class StubGateway:
    """Decides when the test says so, and remembers what it was told."""

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

    def refused(self, peer: Peer, refusal: Refusal) -> None:
        self.refusals.append(int(refusal.status))

    def tls_failed(self, peer: Peer, reason: Failure) -> None:
        raise AssertionError

    def reached(self, limit: str, client: ClientProtocol) -> None:
        self.limits.append(limit)

    def opened(self, client: ClientProtocol, identity: Identity) -> None:
        self.told.append("opened")

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

    def test_who_is_admitted_is_opened_and_then_closed(self) -> None:
        self.gate.decisions[0].callback(IDENTITY)
        self.assertTrue(self.transport.value().startswith(b"HTTP/1.1 101 "))
        self.end()
        self.assertEqual(self.gate.told, ["opened", "closed, opened before: True"])

    def test_who_was_dropped_for_slowness_is_not_opened_when_the_decision_comes(self) -> None:
        self.clock.advance(GatewayLimits().handshake_timeout)
        self.assertEqual(self.gate.limits, ["handshake_timeout"])
        self.gate.decisions[0].callback(IDENTITY)
        self.assertEqual(self.transport.value(), b"")
        self.assertEqual(self.gate.told, ["closed, opened before: False"])
        self.end()
        self.assertEqual(len(self.gate.told), 1)
        self.assertEqual(self.client.factory.connections, set())

    def test_who_leaves_before_the_decision_ends_it(self) -> None:
        self.end()
        self.assertTrue(self.gate.decisions[0].called)
        self.assertEqual(self.gate.told, [])

    def test_a_flood_before_the_decision_is_one_refusal(self) -> None:
        self.client.dataReceived(b"x" * 20_000)
        self.assertTrue(self.transport.value().startswith(b"HTTP/1.1 431 "))
        self.end()
        self.assertEqual(self.gate.refusals, [431])

    def test_what_follows_the_request_is_not_another_one(self) -> None:
        for _ in range(3):
            self.client.dataReceived(REQUEST)
        self.assertEqual(
            self.gate.logins, [Login("user", "key", Peer("192.168.1.1", secure=False))]
        )
        self.end()

    def test_an_error_of_the_gateway_is_its_own_and_tells_nothing(self) -> None:
        self.gate.decisions[0].errback(ValueError("hush"))
        answer = self.transport.value()
        self.assertTrue(answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n"))
        self.assertNotIn(b"hush", answer)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.end()

    def test_who_is_sent_away_before_it_is_open_is_closed_when_it_is(self) -> None:
        self.client.close(4000, "CMD_CLIENT_DISCONNECT")
        self.gate.decisions[0].callback(IDENTITY)
        _, _, frames = self.transport.value().partition(b"\r\n\r\n")
        self.assertEqual(frames, b"\x88\x17\x0f\xa0CMD_CLIENT_DISCONNECT")
        self.end()
        self.assertEqual(self.gate.told, ["opened", "closed, opened before: True"])
