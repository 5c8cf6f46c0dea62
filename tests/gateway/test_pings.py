"""Pings in memory: their times, their bound per turn, and the end of silent clients."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from opentera_twisted._internal.pings import (
    PAYLOAD,
    PING_INTERVAL,
    PINGS_AT_ONCE,
    PONG_TIMEOUT,
    SHORTEST_PAUSE,
)
from opentera_twisted.gateway import GatewayLimits
from opentera_twisted.gateway.protocol import PING, ClientFactory, ClientProtocol
from opentera_twisted.gateway.trusted_proxies import TrustedProxies
from tests.conformance.frames import CONTINUATION, PONG, TEXT, frame
from tests.gateway.test_handshake import IDENTITY, REQUEST, StubGateway
from tests.helpers.turns import Turns

ANSWER = frame(PONG, PAYLOAD)


class Transport(StringTransport):
    """A transport that records an abort."""

    def __init__(self) -> None:
        super().__init__()
        self.was_aborted = False

    def abortConnection(self) -> None:
        self.was_aborted = True

    def loseWriteConnection(self) -> None:
        """Do nothing."""

    def take(self) -> bytes:
        """Return what was written since the last call."""
        written: bytes = self.value()
        self.clear()
        return written

    def take_pings(self) -> int:
        """Return the number of new pings; the gateway writes nothing else."""
        written = self.take()
        assert written == PING * (len(written) // len(PING))
        return len(written) // len(PING)


class PingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Turns()
        self.gate = StubGateway()
        self.factory: Any = ClientFactory(self.gate, self.clock, GatewayLimits(), TrustedProxies())

    def client(self) -> tuple[ClientProtocol, Transport]:
        """Return an open websocket."""
        client, transport = self.factory.buildProtocol(None), Transport()
        client.makeConnection(transport)
        client.dataReceived(REQUEST)
        self.gate.decisions.pop().callback(IDENTITY)
        transport.clear()
        self.clock.advance(0)
        return client, transport

    def test_many_clients_share_a_timer_and_a_turn_has_few_pings(self) -> None:
        clients = [self.client() for _ in range(3 * PINGS_AT_ONCE + 1)]
        for _ in range(3):
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
            self.clock.rightNow += PING_INTERVAL
            pings = [0] * len(clients)
            for _ in range(4):
                self.clock.turn()
                new = [transport.take_pings() for _, transport in clients]
                self.assertLessEqual(sum(new), PINGS_AT_ONCE)
                pings = [*map(sum, zip(pings, new, strict=True))]
            self.assertEqual(pings, [1] * len(clients))
            for client, _ in clients:
                client.dataReceived(ANSWER)
            self.clock.advance(0)
        for client, _ in clients:
            client.connectionLost(Failure(ConnectionDone()))
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_each_client_has_its_own_times(self) -> None:
        clients = []
        for _ in range(5):
            clients.append(self.client())
            self.clock.advance(PING_INTERVAL / 5)
        for _ in range(3):
            for client, transport in clients:
                self.assertEqual(transport.take_pings(), 1)
                client.dataReceived(ANSWER)
                self.clock.advance(PING_INTERVAL / 5)

    def test_a_client_without_an_answer_is_dropped(self) -> None:
        ends = {}
        for sent in (b"", frame(TEXT, b"x"), frame(PONG, b"x"), ANSWER):
            client, transport = self.client()
            self.clock.advance(PING_INTERVAL)
            self.assertEqual(transport.take_pings(), 1)
            began = self.clock.seconds()
            while not transport.was_aborted and self.clock.seconds() < began + 2 * PONG_TIMEOUT:
                client.dataReceived(sent)
                transport.clear()
                self.clock.advance(0.5)
            ends[sent] = self.clock.seconds() - began
            self.assertEqual(client.cause == "no answer to a ping", transport.was_aborted)
            client.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(ends.pop(ANSWER), 2 * PONG_TIMEOUT)
        for end in ends.values():
            self.assertGreaterEqual(end, PONG_TIMEOUT)
            self.assertLessEqual(end, PONG_TIMEOUT + 0.5 + SHORTEST_PAUSE)

    def test_a_late_answer_is_an_answer(self) -> None:
        client, transport = self.client()
        for _ in range(5):
            while not transport.take_pings():
                self.clock.advance(0.5)
            self.clock.advance(PONG_TIMEOUT - 0.5)
            self.assertEqual(transport.take_pings(), 0)
            client.dataReceived(ANSWER)
        self.assertFalse(transport.was_aborted)

    def test_an_answer_may_arrive_in_pieces_or_behind_another(self) -> None:
        client, transport = self.client()
        for sent in (
            *[(ANSWER[:cut], ANSWER[cut:]) for cut in range(1, len(ANSWER))],
            (ANSWER + frame(PONG),),
            (frame(TEXT, fin=False), ANSWER, frame(CONTINUATION)),
        ):
            self.clock.advance(PING_INTERVAL)
            self.assertEqual(transport.take_pings(), 1)
            for piece in sent:
                client.dataReceived(piece)
            transport.clear()  # the reply to a message
            self.clock.advance(0)

    def test_the_payload_of_a_message_is_not_an_answer(self) -> None:
        client, transport = self.client()
        self.clock.advance(PING_INTERVAL)
        head = frame(TEXT, claim=len(ANSWER))
        for piece in (head, ANSWER):
            client.dataReceived(piece)
        transport.clear()
        self.clock.advance(PING_INTERVAL)
        self.assertEqual(transport.take_pings(), 0)

    def test_answers_count_against_the_rate_limit(self) -> None:
        client, transport = self.client()
        for _ in range(GatewayLimits().max_messages_per_minute):
            client.dataReceived(ANSWER)
        self.assertEqual(self.gate.limits, [])
        client.dataReceived(ANSWER)
        self.assertEqual(self.gate.limits, ["max_messages_per_minute"])
        self.assertIn(b"too many messages", transport.value())

    def test_a_stall_of_the_gateway_drops_no_client(self) -> None:
        client, transport = self.client()
        for _ in range(3):
            self.clock.advance(PING_INTERVAL)
            self.assertEqual(transport.take_pings(), 1)
            self.clock.advance(100 * PONG_TIMEOUT)  # the answer waits in the socket
            client.dataReceived(ANSWER)
            self.clock.advance(0)
        self.assertFalse(transport.was_aborted)

    def test_a_closing_websocket_gets_no_ping(self) -> None:
        client, transport = self.client()
        client.close(1000, "")
        transport.clear()
        self.clock.advance(0)
        transport.clear()
        self.clock.pump([1] * PING_INTERVAL)
        self.assertEqual(transport.value(), b"")

    def test_an_error_of_one_client_spares_the_others(self) -> None:
        broken, transport = self.client()
        _, other = self.client()
        self.patch(broken, "send_bytes", lambda _data: 1 / 0)
        self.clock.advance(PING_INTERVAL)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(transport.was_aborted)
        self.assertEqual(other.take_pings(), 1)
