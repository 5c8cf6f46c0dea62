"""Corrections of Autobahn's server protocol; each docstring names the behaviour it corrects.

The classes in `protocol` inherit from these and make the decisions. The overridden methods belong
to ``autobahn.websocket.protocol`` (26.10). ``autobahn.twisted``, which adapts that module to
Twisted, also imports WAMP and a reactor; these classes need only the few methods that remain of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from http import HTTPStatus
from typing import Any, Final

import txaio
from autobahn.websocket.compress import PerMessageDeflate, PerMessageDeflateOfferAccept
from autobahn.websocket.protocol import (
    WebSocketProtocol,
    WebSocketServerFactory,
    WebSocketServerProtocol,
)
from autobahn.websocket.utf8validator import Utf8Validator
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ISSLTransport
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.internet.tcp import Connection
from twisted.internet.unix import Server as UnixServer
from twisted.python.failure import Failure
from txaio._common import _BatchedTimer

from opentera_twisted.gateway.handshake import HEAD_END, VERSION, Request, parse_request, response
from opentera_twisted.gateway.login import Refusal
from opentera_twisted.gateway.send_queue import Sending

CLOSE_TIMEOUT: Final = 5
"""Seconds allowed for a client's close frame, and again for the end of its connection."""

MAX_DISCARDED: Final = 1_048_576
"""Maximum bytes discarded from a client after its websocket is closed."""

TIMER_BUCKET: Final = 0.2
TIMER_CHUNK: Final = 32
"""Seconds of Autobahn's calls per timer, and calls per reactor iteration."""

MAX_HANDSHAKE: Final = 16_384
"""Maximum bytes of a handshake request."""

_GOING_AWAY: Final = 1001

txaio.use_twisted()


class _Ignored:
    """Replacement for Autobahn's Deferreds, which would hold a connection in a reference cycle."""

    def callback(self, result: object) -> None:
        """Do nothing."""


_IGNORED: Final = _Ignored()


class CorrectedProtocol(Protocol, WebSocketServerProtocol):  # type: ignore[misc]  # Autobahn is not annotated
    """Autobahn's protocol for one connection, corrected.

    Its factory makes connections of a subclass that holds Autobahn's initial state.

    Attributes:
        is_plain: True for TCP or a Unix socket, without TLS or another layer.
        is_request_read: True once the request was complete and parsed.
        was_opened: True once the handshake was complete.
    """

    # Autobahn logs several warnings per protocol violation, with the client's data.
    log = txaio.make_logger(level="error")

    factory: CorrectedFactory
    transport: Any  # of any kind: TCP, TLS, a Unix socket, memory
    data: bytes
    state: int
    current_frame: Any
    closeHandshakeTimeoutCall: IDelayedCall | None
    websocket_version = 13
    is_plain = False
    is_request_read = False
    was_opened = False
    _discarded: int | None = None  # bytes since the websocket closed
    _drop: IDelayedCall | None = None
    _sending: Sending | None = None
    _held: list[bytes] | None = None  # bytes to write once the websocket is open

    def __init__(self) -> None:
        """Do nothing: see `CorrectedFactory`."""

    # --- hooks for subclasses

    def requested(self, request: Request) -> None:
        """Decide on a request; call `open_websocket` or `answer`, now or later."""
        raise NotImplementedError

    def refuse(self, refusal: Refusal) -> None:
        """Refuse a request that opens no websocket; call `answer`."""
        raise NotImplementedError

    def too_slow(self) -> None:
        """Close the websocket of a client whose send queue is full."""
        raise NotImplementedError

    def left(self) -> None:
        """Forget a client whose websocket is closed; its connection may still be open."""
        raise NotImplementedError

    # --- calls by Autobahn, which its adapters pass on

    def _onMessageBegin(self, isBinary: bool) -> None:
        self.onMessageBegin(isBinary)

    def _onMessageFrameBegin(self, length: int) -> None:
        self.onMessageFrameBegin(length)

    def _onMessageFrameData(self, payload: bytes) -> None:
        self.onMessageFrameData(payload)

    def _onMessageFrame(self, payload: list[bytes]) -> None:
        self.onMessageFrame(payload)

    def _onMessageFrameEnd(self) -> None:
        self.onMessageFrameEnd()

    def _onMessageEnd(self) -> None:
        self.onMessageEnd()

    def _onPing(self, payload: bytes) -> None:
        self.onPing(payload)

    def _onPong(self, payload: bytes) -> None:
        self.onPong(payload)

    def _onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.onClose(wasClean, code, reason)

    @cached_property
    def utf8validator(self) -> Utf8Validator:
        """Validator of text messages; clients seldom send one."""
        return Utf8Validator()

    # --- connection
    # These hooks bypass Autobahn's server, which looks up details of the peer and formats
    # unused log lines: a fifth of a login's time, and half of a close's.

    def connectionMade(self) -> None:
        """Prepare the connection for a request."""
        self.is_plain = isinstance(self.transport, Connection)
        if self.is_plain and not isinstance(self.transport, UnixServer):
            self.transport.setTcpNoDelay(True)
        self.factory.countConnections += 1

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Cancel timers and drop the send queue; ``onClose`` has run when this returns."""
        WebSocketProtocol._connectionLost(self, reason)  # noqa: SLF001
        self.factory.countConnections -= 1
        cancel(self._drop)
        self._drop = None  # a finished call holds a reference to this object
        # Autobahn's `_connectionLost` does not cancel this timer.
        if self.closeHandshakeTimeoutCall is not None:
            self.closeHandshakeTimeoutCall.cancel()
            self.closeHandshakeTimeoutCall = None
        if self._sending is not None:
            self._sending.drop()
            self._sending = None

    def dataReceived(self, data: bytes) -> None:
        """Parse received bytes; discard them after the websocket is closed."""
        if self._discarded is None:
            self._dataReceived(data)
            return
        self._discarded += len(data)
        if self._discarded > MAX_DISCARDED:
            self.transport.abortConnection()

    # --- handshake

    # Autobahn's handshake accepts more than HTTP/1.1 allows, fails on unknown extensions, keeps the
    # request, which holds the session key, and takes twice as long.

    def processHandshake(self) -> None:
        """Read a bounded request, once, even if more bytes arrive during the decision."""
        if len(self.data) > MAX_HANDSHAKE:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            self.refuse(Refusal(status, "the request does not open a websocket"))
        elif not self.is_request_read and (end := self.data.find(HEAD_END)) >= 0:
            self.is_request_read = True
            end += len(HEAD_END)
            head, self.data = self.data[:end], self.data[end:]
            try:
                request = parse_request(head)
            except Refusal as refusal:
                self.refuse(refusal)
            else:
                self.requested(request)

    def open_websocket(
        self,
        request: Request,
        subprotocol: str | None,
        compression: PerMessageDeflateOfferAccept | None,
    ) -> None:
        """Complete the handshake with a peer that is still connected.

        The response leaves with the first frames, because each write costs a system call.

        Args:
            request: the client's request.
            subprotocol: selected subprotocol.
            compression: accepted offer of permessage-deflate.
        """
        extension = None
        if compression is not None:
            extension = compression.get_extension_string()
            deflate = PerMessageDeflate.create_from_offer_accept(True, compression)
            self._perMessageCompress = deflate
        self._held = [response(request, subprotocol, extension)]
        self.state = self.STATE_OPEN
        self.inside_message = False
        self.current_frame = None
        self.was_opened = True
        try:
            self.onOpen()
        finally:
            held = self._held
            del self._held
            self.send_bytes(b"".join(held))
        if self.data:
            self.consumeData()

    def answer(self, status: HTTPStatus, headers: Iterable[tuple[str, str]]) -> None:
        """Send an HTTP error; Autobahn's omits Content-Length, Upgrade and the version."""
        if self.state != self.STATE_CONNECTING:
            return
        headers = [("Connection", "close"), ("Content-Length", "0"), *headers]
        if status is HTTPStatus.UPGRADE_REQUIRED:
            headers.append(("Upgrade", "websocket"))
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append(("Allow", "GET"))
        if status in {HTTPStatus.BAD_REQUEST, HTTPStatus.UPGRADE_REQUIRED}:
            headers.append(("Sec-WebSocket-Version", VERSION))
        self.wasClean = True  # an orderly refusal, without a warning
        self.sendHttpErrorResponse(int(status), status.phrase, headers)
        self.dropConnection(abort=False)

    # --- writing

    def send_bytes(self, data: bytes) -> bool:
        """Write as many bytes as the socket accepts, and queue the rest up to the bound.

        Autobahn queues in the transport, without a bound.

        Returns:
            True if the bytes were written or queued; False after a call of `too_slow`.
        """
        if self._held is not None:
            self._held.append(data)
            return True
        transport: Any = self.transport
        sending = self._sending
        rest: bytes | memoryview = data
        if (
            self.is_plain
            and (sending is None or sending.is_idle)
            and not (transport.dataBuffer or transport._tempDataBuffer)  # noqa: SLF001
        ):
            # Twisted waits until the socket is writable, which costs two system calls. Nearly
            # always it is writable already.
            try:
                sent = transport.socket.send(data)
            except OSError:  # full or broken: the transport finds out which
                sent = 0
            if sent == len(data):
                return True
            rest = memoryview(data)[sent:]
        if sending is None:
            bound = self.factory.max_send_buffer
            sending = Sending(transport, self.factory.clock, bound, self.too_slow)
            self._sending = sending
        if self.state == self.STATE_OPEN and not sending.has_room(len(rest)):
            return False
        sending.put(rest)
        return True

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Send Autobahn's own frames (replies, pongs, closes) through the bounded queue.

        Sending at once keeps them in order with the events.
        """
        self.send_bytes(data)

    @property
    def backlog(self) -> int:
        """Bytes queued for the client."""
        return 0 if self._sending is None else self._sending.backlog

    # --- a client that breaks a rule

    def _fail_connection(self, code: int = _GOING_AWAY, reason: str = "") -> None:
        """Send a close frame with the reason, and discard further data: RFC 6455, section 7.1.7.

        Autobahn closes the socket after its close frame. If bytes are unread, the kernel resets the
        connection, and the reset can overtake that frame. So this method closes only the gateway's
        half. It discards data until the peer closes its half, or for `CLOSE_TIMEOUT`.
        """
        super()._fail_connection(code, reason)
        self._linger()

    def _protocol_violation(self, reason: str) -> bool:
        super()._protocol_violation(reason)
        return True  # stop; Autobahn would continue with the invalid frame

    def _invalid_payload(self, reason: str) -> bool:
        super()._invalid_payload(reason)
        return True

    def processData(self) -> bool:
        """Parse the next frame or a part of it; Autobahn continues after a violation."""
        return not self.failedByMe and bool(super().processData())

    # --- gone

    def dropConnection(self, abort: bool = False) -> None:
        """Close the connection; abort it after `CLOSE_TIMEOUT` if the client does not read.

        Autobahn waits for the send queue without a limit. It resets a connection whose close
        handshake is complete.
        """
        abort = abort and not self.wasClean
        super().dropConnection(abort)
        if not abort and self._drop is None and self in self.factory.connections:
            self._drop = self.factory.clock.callLater(CLOSE_TIMEOUT, self.transport.abortConnection)

    def _closeConnection(self, abort: bool = False) -> None:
        if abort:
            if self._sending is not None:
                self._sending.drop()
            self.transport.abortConnection()
        elif self.was_opened:
            self._linger()
        else:
            self._end_with(self.transport.loseConnection)

    def _linger(self) -> None:
        """Close this half of the connection, and discard data until the client closes its half.

        Closing a socket resets the connection if bytes are unread or arrive later. A reset can
        overtake the close frame, and fails a client that still answers a ping or a close. Autobahn
        closes at once; RFC 6455, section 7.1.1, describes this method.
        """
        if self._discarded is None:
            self._discarded = 0
            self.left()
        if ISSLTransport.providedBy(self.transport):  # a TLS alert closes one half
            self._end_with(self.transport.loseConnection)
        else:
            self._end_with(self.transport.loseWriteConnection)

    def _end_with(self, close: Callable[[], None]) -> None:
        """Close the transport after the send queue is written."""
        if self._sending is None:
            close()
        else:
            self._sending.finish(close)

    def unregisterProducer(self) -> None:
        """Do nothing: `Sending` unregisters it when the queue is empty, Autobahn too early."""


class CorrectedFactory(WebSocketServerFactory, ServerFactory):  # type: ignore[misc]  # Autobahn is not annotated
    """Autobahn's factory, corrected.

    Args:
        clock: Clock for all timers, including Autobahn's.
        protocol: Class of the connections.
        max_send_buffer: Maximum bytes queued for one client; 0 for no limit.
        options: Options for ``setProtocolOptions``, passed in one call, because a second call would
            reset the origins.

    Attributes:
        clock: Clock for all timers.
        max_send_buffer: Maximum bytes queued for one client.
        connections: All connections, including those in the handshake.
    """

    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        protocol: type[CorrectedProtocol],
        max_send_buffer: int,
        **options: Any,
    ) -> None:
        super().__init__(server="")
        self.clock = clock
        self.max_send_buffer = max_send_buffer
        self.connections: set[CorrectedProtocol] = set()
        # Autobahn's timer uses txaio's global reactor.
        self._batched_timer = _BatchedTimer(
            TIMER_BUCKET * 1000.0, TIMER_CHUNK, clock.seconds, clock.callLater
        )
        self.setProtocolOptions(
            failByDrop=False,
            openHandshakeTimeout=0,
            closeHandshakeTimeout=CLOSE_TIMEOUT,
            **options,
        )
        self.protocol = self._configured(protocol)

    def _configured(self, protocol: type[CorrectedProtocol]) -> type[CorrectedProtocol]:
        """Return a subclass of the protocol with Autobahn's initial state as class attributes.

        Autobahn sets it on each connection, with the factory's options and with objects that
        nothing reads here. This copy costs kilobytes, and most of an accept.
        """
        sample = protocol()
        WebSocketProtocol.__init__(sample)
        sample.factory = self
        WebSocketProtocol._connectionMade(sample)  # noqa: SLF001
        state = {name: value for name, value in vars(sample).items() if name != "factory"}
        del state["utf8validator"]  # each connection has its own
        state.update(is_open=_IGNORED, is_closed=_IGNORED, _transport_details=None, send_queue=())
        return type(protocol.__name__, (protocol,), state)


def cancel(call: IDelayedCall | None) -> None:
    """Cancel a call that may have run, or may not have been scheduled."""
    if call is not None and call.active():
        call.cancel()
