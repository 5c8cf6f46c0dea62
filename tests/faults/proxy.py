"""A proxy for Redis that delays, freezes, cuts and half-closes."""

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure


class Proxy:
    """Listens on a port and forwards to another.

    Attributes:
        port: Listening port.
        target: Port of the server for new connections.
        delay: Seconds of delay of each piece, in each direction.
        frozen: True to forward nothing and accept without an answer.
        cuts: For each of the next connections, the bytes from the server after which it breaks.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay = 0.0
        self.frozen = False
        self.cuts: list[int] = []
        self.sides: set[_Side] = set()
        listen: Any = reactor.listenTCP
        self._listener = listen(0, _Factory(self), interface="127.0.0.1")
        self.port: int = self._listener.getHost().port

    async def stop(self) -> None:
        """Close everything."""
        await self._listener.stopListening()
        self.cut()

    def cut(self) -> None:
        """Break every connection."""
        for side in list(self.sides):
            side.transport.abortConnection()

    def half_close(self) -> None:
        """Half-close every client's connection, but go on reading."""
        for side in list(self.sides):
            if isinstance(side, _Client):
                side.transport.loseWriteConnection()

    def stop_reading(self) -> None:
        """Stop reading from the server, so that its buffers fill."""
        for side in list(self.sides):
            if isinstance(side, _Server):
                side.transport.pauseProducing()

    def connect(self, client: _Client) -> None:
        """Connect a client to the server."""
        server = _Server()
        server.proxy = self
        server.peer = client
        client.peer = server
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.target)
        connecting = connectProtocol(endpoint, server)
        connecting.addErrback(lambda _: client.transport.abortConnection())


class _Side(Protocol):
    """One end of a connection; it forwards to its peer."""

    proxy: Proxy
    peer: _Side | None = None
    transport: Any
    _forwarded = 0
    _due = 0.0

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._late: deque[bytes] = deque()
        self._is_open = False

    def connectionMade(self) -> None:
        self.proxy.sides.add(self)
        self._is_open = True
        if self.peer is not None:
            self.peer.flush()

    def dataReceived(self, data: bytes) -> None:
        if self.proxy.delay or self._late:
            now = reactor.seconds()
            self._due = max(self._due, now + self.proxy.delay)
            self._late.append(data)
            reactor.callLater(self._due - now, self._forward_late)
        else:
            self._forward(data)

    def _forward_late(self) -> None:
        # The first piece, because calls that are due at the same time have no order.
        self._forward(self._late.popleft())

    def _forward(self, data: bytes) -> None:
        self._held.append(data)
        self.flush()

    def flush(self) -> None:
        """Forward received pieces, unless frozen or without a peer."""
        if self.proxy.frozen or self.peer is None or not self.peer._is_open:
            return
        held, self._held = self._held, []
        for data in held:
            self.peer.write(data)

    def write(self, data: bytes) -> None:
        """Send bytes to this end's program."""
        self.transport.write(data)

    def connectionLost(self, reason: Failure = Failure(Exception())) -> None:  # noqa: B008
        self.proxy.sides.discard(self)
        self._is_open = False
        if self.peer is None or not self.peer._is_open or self.proxy.frozen:
            return
        if reason.check(ConnectionDone):
            self.peer.transport.loseConnection()  # once it has sent all
        else:
            self.peer.transport.abortConnection()


class _Client(_Side):
    """The end of the program under test."""

    limit: int | None = None

    def connectionMade(self) -> None:
        super().connectionMade()
        self.proxy.connect(self)

    def write(self, data: bytes) -> None:
        if self.limit is not None and self._forwarded + len(data) >= self.limit:
            self.transport.write(data[: self.limit - self._forwarded])
            self.transport.loseConnection()
            self._is_open = False
            return
        self._forwarded += len(data)
        self.transport.write(data)


class _Server(_Side):
    """The end of Redis."""


class _Factory(Factory):
    """Makes the end of each program that connects."""

    noisy = False

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    def buildProtocol(self, addr: object) -> _Client:
        client = _Client()
        client.proxy = self._proxy
        if self._proxy.cuts:
            client.limit = self._proxy.cuts.pop(0)
        return client
