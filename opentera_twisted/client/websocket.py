"""The Autobahn edge of a client: handshake, frames, pings and closing.

Source: RFC 6455.
"""

from __future__ import annotations

from http import HTTPStatus
from math import ceil
from typing import Any, Final

import txaio
from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from autobahn.websocket.types import ConnectingRequest
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from opentera_twisted._internal.pings import PAYLOAD, PING_INTERVAL, PONG_TIMEOUT, Pings
from opentera_twisted._internal.printable import printable
from opentera_twisted.client.address import GatewayAddress
from opentera_twisted.client.login import PLAIN_SUBPROTOCOL, SUBPROTOCOL, Login
from opentera_twisted.errors import BusError, HandshakeFailed, WebSocketClosed

MAX_RESPONSE: Final = 65_536
"""Maximum bytes of the response to a handshake."""

CLOSE_TIMEOUT: Final = 2.0
"""Seconds until the connection is dropped after a close frame."""

NORMAL: Final = 1000  # sent by this client
BROKEN: Final = 1006  # stands for the lack of a close frame
TOO_BIG: Final = 1009  # for a frame above the size limit
DISCONNECTED: Final = 4000  # sent by the gateway on the disconnect command


class GatewayProtocol(WebSocketClientProtocol):  # type: ignore[misc]  # Autobahn is not annotated
    """One websocket to a gateway.

    Attributes:
        opened: fires with the selected subprotocol after the handshake; fails if the connection
            ends before.
        refusal_status: HTTP status of a refused handshake; 0 without one.
        is_unreadable: True if this client closed the connection because of an unreadable frame.
    """

    # Autobahn would log requests, which contain keys.
    log = txaio.make_logger(level="none")

    factory: GatewayFactory
    data: bytes
    connected = 0
    refusal_status = 0
    is_unreadable = False
    _cause: BusError | None = None
    _handshake: IDelayedCall | None = None
    _ending: IDelayedCall | None = None
    _unanswered = 0  # intervals of pings since the last data

    def __init__(self) -> None:
        super().__init__()
        self.opened: Deferred[str | None] = Deferred()

    def connectionMade(self) -> None:
        """Send the request of the handshake."""
        factory = self.factory
        self._handshake = factory.clock.callLater(factory.timeout, self._handshake_timed_out)
        super().connectionMade()

    def onConnecting(self, transport_details: object) -> ConnectingRequest:
        """Describe the handshake request; only it contains the credentials."""
        factory, address = self.factory, self.factory.address
        return ConnectingRequest(
            host=f"[{address.host}]" if ":" in address.host else address.host,
            port=address.port,
            resource=factory.target(),
            protocols=factory.protocols,
            useragent=factory.useragent,
        )

    def processHandshake(self) -> None:
        """Read a bounded response; Autobahn would search an endless one again with each read."""
        head, end, frames = self.data.partition(b"\r\n\r\n")
        if end:  # Autobahn fails on headers that are not UTF-8, such as Latin-1
            self.data = head.decode("latin-1").encode("ascii", "replace") + end + frames
        super().processHandshake()
        if self.state == self.STATE_CONNECTING and len(self.data) > MAX_RESPONSE:
            text = f"the server answered with more than {MAX_RESPONSE:,} bytes of headers"
            self.abort(HandshakeFailed(text))

    def failHandshake(self, reason: str) -> None:
        """End a handshake that the gateway answered without opening a websocket."""
        words = self.http_status_line.split()
        number = words[1] if len(words) > 1 else ""
        if number.isascii() and number.isdecimal() and len(number) == 3 and number != "101":
            status = self.refusal_status = int(number)
            self._cause = _refused(status, self.http_headers.get("retry-after", ""))
        else:
            self._cause = HandshakeFailed("the server does not speak the websocket protocol")
        self.dropConnection(abort=True)

    def onOpen(self) -> None:
        """Report that the handshake is complete, and begin with the pings."""
        self.factory.pings.add(self)
        self.opened.callback(self.websocket_protocol_in_use)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Pass on a frame."""
        if self.connected:
            self.factory.received(payload, isBinary)

    def settled(self) -> None:
        """Stop the timer of the handshake, when the connection is ready."""
        _cancel(self._handshake)

    def _handshake_timed_out(self) -> None:
        seconds = self.factory.timeout
        self.abort(HandshakeFailed(f"the gateway did not open a websocket within {seconds:g} s"))

    def dataReceived(self, data: bytes) -> None:
        """Parse received bytes; any of them show that the gateway is alive."""
        self._unanswered = 0
        super().dataReceived(data)

    def ping(self) -> bool:
        """Send a ping unless one is unanswered; drop a half-open connection.

        Returns:
            True if the websocket is open, and a ping is due again after the interval.
        """
        if self.state != self.STATE_OPEN:
            return False
        if self._unanswered >= self.factory.max_unanswered:
            self.abort(WebSocketClosed(f"the gateway was silent for {PONG_TIMEOUT} s after a ping"))
            return False
        self._unanswered += 1
        if self._unanswered == 1:
            self.sendPing(PAYLOAD)
        return True

    def fail(self) -> None:
        """Drop the connection, which an internal error has left without pings."""
        self.abort(WebSocketClosed("pinging the gateway failed; see the log"))

    def _fail_connection(self, code: int = BROKEN, reason: str = "") -> None:
        """End a connection with an unreadable frame, which is too big or malformed."""
        self.is_unreadable = True
        what = "a frame above the size limit" if code == TOO_BIG else "a malformed frame"
        if self._cause is None:
            self._cause = WebSocketClosed(f"the gateway sent {what}", code=code)
        super()._fail_connection(code, reason)

    def close(self) -> None:
        """Close the websocket; drop the connection if the gateway does not answer in time."""
        if not self.connected:
            return
        if self.state == self.STATE_OPEN:
            self.sendClose(NORMAL)
        self._end_soon()

    def onCloseFrame(self, code: int | None, reasonRaw: bytes | None) -> Any:
        """Answer the gateway's close frame; the gateway then closes the connection."""
        self._end_soon()
        return super().onCloseFrame(code, reasonRaw)

    def abort(self, cause: BusError) -> None:
        """Drop the connection at once, with the cause to report for its loss."""
        self._cause = self._cause or cause
        self.transport.abortConnection()

    def _end_soon(self) -> None:
        if self._ending is None:
            self._ending = self.factory.clock.callLater(
                CLOSE_TIMEOUT, self.transport.abortConnection
            )

    def connectionLost(self, reason: Failure) -> None:
        """Report the end of the connection."""
        super().connectionLost(reason)
        self.connected = 0
        self.factory.pings.forget(self)
        _cancel(self._handshake)
        _cancel(self._ending)
        cause = self._cause or self._cause_of(reason)
        if not self.opened.called:
            self.opened.errback(Failure(cause))
        self.factory.lost(self, Failure(cause))

    def _cause_of(self, reason: Failure) -> BusError:
        if not self.opened.called:
            return HandshakeFailed(f"the connection ended in its handshake: {_described(reason)}")
        code = self.remoteCloseCode
        if code is None:
            return WebSocketClosed(f"the websocket broke: {_described(reason)}")
        text = printable(self.remoteCloseReason or "")
        return WebSocketClosed(
            f"the gateway closed the websocket with {code}" + (f": {text}" if text else ""),
            code=code,
            reason=text,
        )


class GatewayFactory(WebSocketClientFactory):  # type: ignore[misc]  # Autobahn is not annotated
    """Makes the websocket protocol of each attempt.

    Args:
        address: address of the gateway.
        login: credentials of the next handshake.
        clock: clock for all timers.
        timeout: seconds until a handshake fails.
        max_message_size: maximum size of a frame in bytes.
        recovery: request recovery.

    Attributes:
        address: address of the gateway.
        pings: pings of the open websocket.
        max_unanswered: intervals of pings without any data after which a gateway is dropped.
        received: called with each frame, and True for a binary one.
        lost: called with a protocol and the cause when its connection is lost.
    """

    noisy = False

    def __init__(
        self,
        address: GatewayAddress,
        login: Login,
        clock: IReactorTime,
        timeout: float,
        max_message_size: int,
        recovery: bool,
    ) -> None:
        # Both names: a gateway without recovery selects the second, or neither.
        protocols = [SUBPROTOCOL, PLAIN_SUBPROTOCOL] if recovery else []
        super().__init__(protocols=protocols, useragent="opentera-twisted", reactor=clock)
        self.clock = clock
        self.timeout = timeout
        self.address = address
        self._login = login
        self.pings = Pings(clock, PING_INTERVAL)
        self.max_unanswered = ceil(PONG_TIMEOUT / PING_INTERVAL)
        self.received: Any = None
        self.lost: Any = None
        self.setProtocolOptions(
            maxFramePayloadSize=max_message_size,
            maxMessagePayloadSize=max_message_size,
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
            serverConnectionDropTimeout=0,
        )

    def target(self) -> str:
        """Write the target of the next request, with its credentials."""
        url = self.address.url
        query = "&".join(filter(None, (url.query, self._login.query())))
        return f"{url.path or '/'}?{query}"

    def buildProtocol(self, addr: IAddress) -> GatewayProtocol:
        """Make the protocol of a new connection."""
        protocol = GatewayProtocol()
        protocol.factory = self
        return protocol


def _refused(status: int, retry_after: str) -> HandshakeFailed:
    try:
        phrase = f" {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = ""
    seconds = float(retry_after) if retry_after.isascii() and retry_after.isdecimal() else 0.0
    return HandshakeFailed(
        f"the gateway refused the websocket: {status}{phrase}", status=status, retry_after=seconds
    )


def _described(reason: Failure) -> str:
    """Describe how a connection ended."""
    if reason.check(ConnectionDone):
        return "the other side closed the connection"
    if reason.check(VerificationError):
        return "the certificate is for another host than the URL names"
    if reason.check(SSL.Error):
        error: Any = reason.value
        texts = [str(entry[-1]) for entry in error.args[0] if entry] if error.args else []
        return f"TLS failed ({', '.join(texts) or type(error).__name__})"
    return printable(reason.getErrorMessage())


def _cancel(call: IDelayedCall | None) -> None:
    if call is not None and call.active():
        call.cancel()
