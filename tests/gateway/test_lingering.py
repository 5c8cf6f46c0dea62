"""The end of a connection: the gateway closes its half and waits for the client's."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from opentera_twisted.gateway import autobahn_corrections
from tests.conformance.frames import PING, close, frame
from tests.gateway.test_gateway import REPORTS, GatewayTestCase
from tests.helpers.support import GUARD, UUID, message, turn
from tests.helpers.websockets import Bytes, handshake


@implementer(IHalfCloseableProtocol)
class HalfClosing(Bytes):
    """A client that keeps its half of the connection open."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: Deferred[bytes] = Deferred()

    def readConnectionLost(self) -> None:
        """Report that the gateway has closed its half."""
        self.ended.callback(self.received)

    def writeConnectionLost(self) -> None:
        """Do nothing."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        if not self.ended.called:
            self.ended.errback(AssertionError(f"reset without an end: {self.received!r}"))


class LingeringTests(GatewayTestCase):
    async def closed(self) -> HalfClosing:
        """Return a client that closed its websocket but keeps its connection."""
        self.patch(autobahn_corrections, "CLOSE_TIMEOUT", GUARD)
        port = await self.gateway()
        client = HalfClosing()
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), client)
        self.addCleanup(client.drop)
        key = await self.keys.issue("user", UUID)
        client.send(handshake(f"/wss/user?id={key}".encode()))
        await client.until(b"\r\n\r\n")
        client.send(close(1000))
        assert (await client.ended).endswith(b"\x88\x02\x03\xe8")
        return client

    async def test_client_is_reported_before_it_closes_its_half(self) -> None:
        reports = self.subscribed(REPORTS)
        client = await self.closed()
        await message(reports)  # the report of its login
        await message(reports)  # the report of its end
        assert self.gate.clients["user"] == 0
        assert len(self.gate.factory.connections) == 1
        client.send(close(1000))
        client.transport.loseConnection()  # type: ignore[union-attr]
        while self.gate.factory.connections:
            await turn()

    async def test_flood_of_a_closed_client_ends_its_connection(self) -> None:
        client = await self.closed()
        while not client.closed.called:
            client.send(frame(PING, b"x" * 100) * 100)
            await turn()

    async def test_connection_of_a_closed_client_lasts_a_bounded_time(self) -> None:
        await self.closed()
        (connection,) = self.gate.factory.connections
        assert connection._drop is not None
        connection._drop.reset(0)
        while self.gate.factory.connections:
            await turn()
