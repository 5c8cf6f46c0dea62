"""Websocket clients of tests: Autobahn's, and raw sockets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from tests.helpers.support import Collector


class Messages(Collector):
    """The messages of a websocket; a wait for more than it received fails when it closes."""

    def __init__(self) -> None:
        super().__init__()
        self._end: AssertionError | None = None

    def wait(self, count: int) -> Deferred[list[Any]]:
        """Fire with all messages when there are that many; fail if the websocket closes first."""
        if self._end is not None and len(self.items) < count:
            return fail(self._end)
        return super().wait(count)

    def end(self, code: int | None, reason: str | None) -> None:
        """Fail all waits."""
        self._end = AssertionError(f"closed after {len(self.items)} messages: {code} {reason}")
        waiting, self._waiting = self._waiting, []
        for _, deferred in waiting:
            deferred.errback(self._end)


class WebSocket(WebSocketClientProtocol):  # type: ignore[misc]  # Autobahn is not annotated
    """A client that collects received messages."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: Deferred[WebSocket] = Deferred()
        self.closed: Deferred[tuple[int | None, str | None]] = Deferred()
        self.messages = Messages()

    def onOpen(self) -> None:
        self.opened.callback(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        assert not isBinary
        self.messages(payload.decode())

    async def event(self, number: int) -> dict[str, Any]:
        """Return the event in that message, counted from 0."""
        text = (await self.messages.wait(number + 1))[number]
        message: dict[str, Any] = json.loads(text)["message"]
        return message

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        if not self.opened.called:
            self.opened.errback(HandshakeFailed(str(reason)))
        self.closed.callback((code, reason))
        self.messages.end(code, reason)


async def leave(client: WebSocket) -> None:
    """Break a client's connection, if any, and wait for its end."""
    if not client.closed.called:
        client.dropConnection(abort=True)
    await client.closed


_PATIENT = dict.fromkeys(
    ("openHandshakeTimeout", "closeHandshakeTimeout", "serverConnectionDropTimeout"), 0
)
"""Disable Autobahn's timeouts of 5 s and 1 s, which a busy machine exceeds."""


class HandshakeFailed(Exception):
    """The websocket handshake failed."""


def connect(
    port: int,
    path: str,
    trusting: IOpenSSLClientConnectionCreator | None = None,
    source: str | None = None,
    protocols: Sequence[str] = (),
    **options: Any,
) -> Deferred[WebSocket]:
    """Open a websocket.

    Args:
        port: Port on this machine.
        path: Path with the query.
        trusting: TLS settings; None for plain TCP.
        source: Source address.
        protocols: Subprotocols to offer.
        options: Options of Autobahn's protocol.

    Returns:
        Fires with the open websocket; fails with `HandshakeFailed`.
    """
    factory = WebSocketClientFactory(
        f"ws://127.0.0.1:{port}{path}", reactor=reactor, protocols=list(protocols)
    )
    factory.setProtocolOptions(**{**_PATIENT, **options})
    protocol = WebSocket()
    protocol.factory = factory
    endpoint: Any = TCP4ClientEndpoint(
        reactor, "127.0.0.1", port, bindAddress=None if source is None else (source, 0)
    )
    if trusting is not None:
        endpoint = wrapClientTLS(trusting, endpoint)
    connecting = connectProtocol(endpoint, protocol)
    return connecting.addCallback(lambda _: protocol.opened)  # type: ignore[no-any-return]


class Bytes(Protocol):
    """Sends bytes and collects received ones."""

    connections: ClassVar[set[Bytes]] = set()

    def __init__(self) -> None:
        self.received = b""
        self.closed: Deferred[bytes] = Deferred()
        self._waiting: list[tuple[bytes, Deferred[bytes]]] = []

    def connectionMade(self) -> None:
        self.connections.add(self)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        for wanted, waiting in list(self._waiting):
            if wanted in self.received:
                self._waiting.remove((wanted, waiting))
                waiting.callback(self.received)

    def connectionLost(self, reason: Failure = Failure(Exception())) -> None:  # noqa: B008
        self.connections.discard(self)
        self.closed.callback(self.received)
        waiting, self._waiting = self._waiting, []
        for wanted, arrived in waiting:
            arrived.errback(AssertionError(f"closed without {wanted!r}: {self.received!r}"))

    def send(self, data: bytes) -> None:
        """Write bytes unchanged."""
        assert self.transport is not None
        self.transport.write(data)

    def until(self, wanted: bytes) -> Deferred[bytes]:
        """Fire with all received bytes once these are among them; fail if the connection ends."""
        waiting: Deferred[bytes] = Deferred()
        self._waiting.append((wanted, waiting))
        self.dataReceived(b"")
        return waiting

    def stop_reading(self) -> None:
        """Stop reading."""
        assert self.transport is not None
        self.transport.pauseProducing()  # type: ignore[attr-defined]

    def drop(self) -> None:
        """Break the connection."""
        assert self.transport is not None
        self.transport.abortConnection()  # type: ignore[attr-defined]


def drop_bytes() -> None:
    """Break the connections that answer no close: a gateway that stops waits for answers."""
    for client in list(Bytes.connections):
        client.drop()


async def connect_bytes(port: int) -> Bytes:
    """Connect to a port."""
    protocol = Bytes()
    await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), protocol)
    return protocol


def handshake(target: bytes, *headers: bytes) -> bytes:
    """Return the request that opens a websocket."""
    lines = [
        b"GET %b HTTP/1.1" % target,
        b"Host: 127.0.0.1",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        b"Sec-WebSocket-Version: 13",
        *headers,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"
