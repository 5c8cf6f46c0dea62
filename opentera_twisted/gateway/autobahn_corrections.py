"""Corrections of Autobahn's server protocol, each with the behaviour of Autobahn that it corrects.

The decisions are in `protocol`, whose classes inherit from these. The methods named here are those
of ``autobahn.websocket.protocol`` and ``autobahn.twisted.websocket`` (26.10).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Final

import txaio
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.protocol import WebSocketProtocol
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ISSLTransport
from twisted.internet.tcp import Connection
from twisted.internet.unix import Server as UnixServer
from twisted.python.failure import Failure
from txaio._common import _BatchedTimer

from opentera_twisted.gateway.login import HEAD_END, checked_head
from opentera_twisted.gateway.sending import Sending

CLOSE_TIMEOUT: Final = 5
"""Seconds that a client may take to answer a close frame, and then to end its connection."""

MAX_DISCARDED: Final = 1_048_576
"""Bytes that are read and dropped of a client once its websocket is closed."""

TIMER_BUCKET: Final = 0.2
TIMER_CHUNK: Final = 32
"""Seconds that share one timer of Autobahn's, and calls that one reactor turn makes of it."""

MAX_HANDSHAKE: Final = 16_384
"""Bytes of a handshake's request."""

_GOING_AWAY: Final = 1001


class _Unheard:
    """Stands for Autobahn's Deferreds of a connection, which would hold it in a reference cycle."""

    def callback(self, result: object) -> None:
        """Do nothing."""


_UNHEARD: Final = _Unheard()


class CorrectedProtocol(WebSocketServerProtocol):  # type: ignore[misc]  # Autobahn is not annotated
    """Autobahn's protocol of one connection, corrected.

    Attributes:
        is_plain: TCP or a Unix socket, without TLS or another layer.
        is_request_read: the request was complete and was parsed.
        was_opened: the handshake was completed.
    """

    # Autobahn warns several times of each client that breaks a rule, with what the client sent.
    log = txaio.make_logger(level="error")

    factory: CorrectedFactory
    data: bytes
    closeHandshakeTimeoutCall: IDelayedCall | None
    is_plain = False
    is_request_read = False
    was_opened = False
    _discarded: int | None = None  # bytes, once the websocket is closed
    _drop: IDelayedCall | None = None
    _sending: Sending | None = None

    def __init__(self) -> None:
        super().__init__()
        self.is_open = self.is_closed = _UNHEARD

    # --- what the decisions supply

    def refuse_request(self, status: HTTPStatus, headers: Iterable[tuple[str, str]]) -> None:
        """Refuse a request that opens no websocket; call `answer`."""
        raise NotImplementedError

    def too_slow(self) -> None:
        """Close a client for which too much waits."""
        raise NotImplementedError

    def left(self) -> None:
        """Forget the client, whose websocket is closed; its connection may last a while."""
        raise NotImplementedError

    # --- connection
    # These four hooks skip those of Autobahn's server, which look up details of the peer and format
    # log lines that nobody reads: a fifth of a login's time, half of that of a close.

    def connectionMade(self) -> None:
        """Begin to expect a request."""
        self.is_plain = isinstance(self.transport, Connection)
        if self.is_plain and not isinstance(self.transport, UnixServer):
            self.transport.setTcpNoDelay(True)
        WebSocketProtocol._connectionMade(self)  # noqa: SLF001
        self.factory.countConnections += 1

    def connectionLost(self, reason: Failure) -> None:
        """Release what holds the connection; ``onClose`` has run when this returns."""
        WebSocketProtocol._connectionLost(self, reason)  # noqa: SLF001
        self.factory.countConnections -= 1
        cancel(self._drop)
        self._drop = None  # one that has run holds us
        # `_connectionLost` cancels the other timers only.
        if self.closeHandshakeTimeoutCall is not None:
            self.closeHandshakeTimeoutCall.cancel()
            self.closeHandshakeTimeoutCall = None
        if self._sending is not None:
            self._sending.drop()
            self._sending = None

    def dataReceived(self, data: bytes) -> None:
        """Take what the client sends; drop it once its websocket is closed."""
        if self._discarded is None:
            self._dataReceived(data)
            return
        self._discarded += len(data)
        if self._discarded > MAX_DISCARDED:
            self.transport.abortConnection()

    def _onOpen(self) -> None:
        self.was_opened = True
        self.onOpen()

    # --- handshake

    def processHandshake(self) -> None:
        """Parse a bounded, well-formed request, once.

        Autobahn keeps a request of any length, parses lines leniently, and parses the request again
        for each piece that arrives while the Deferred of ``onConnect`` waits.
        """
        if len(self.data) > MAX_HANDSHAKE:
            self.failHandshake("", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif not self.is_request_read and (end := self.data.find(HEAD_END)) >= 0:
            self.is_request_read = True
            rest = end + len(HEAD_END)
            checked = checked_head(self.data[:rest])
            if checked is None:
                self.failHandshake("", HTTPStatus.BAD_REQUEST)
            else:
                self.data = checked + self.data[rest:]
                super().processHandshake()

    def _parseExtensionsHeader(
        self, header: str, removeQuotes: bool = True
    ) -> list[tuple[str, dict[str, list[str]]]]:
        """Leave the offers to `compression`: Autobahn fails at those that it cannot use."""
        return []

    def succeedHandshake(self, res: object) -> None:
        """Complete the handshake; Autobahn does so too when the peer has gone meanwhile."""
        if self.state == self.STATE_CONNECTING:
            super().succeedHandshake(res)

    def failHandshake(self, reason: str, code: int = 400, responseHeaders: Any = None) -> None:
        """Answer with the status alone: Autobahn's reasons repeat what the client sent."""
        if self.state == self.STATE_CONNECTING:
            self.refuse_request(HTTPStatus(code), responseHeaders or ())

    def answer(self, status: HTTPStatus, headers: Iterable[tuple[str, str]]) -> None:
        """Refuse the handshake; Autobahn's answer has neither length nor upgrade."""
        if self.state != self.STATE_CONNECTING:
            return
        headers = [("Connection", "close"), ("Content-Length", "0"), *headers]
        if status is HTTPStatus.UPGRADE_REQUIRED:
            headers.append(("Upgrade", "websocket"))
        self.wasClean = True  # it was refused as it should be: nothing to warn of
        self.sendHttpErrorResponse(int(status), status.phrase, headers)
        self.dropConnection(abort=False)

    def forget_handshake(self) -> None:
        """Drop the request, which holds the key; Autobahn keeps it with the connection."""
        kept = {
            name: value for name, value in self.__dict__.items() if not name.startswith("http_")
        }
        kept.update(
            _transport_details=None,  # of Autobahn's clients
            send_queue=(),  # `sendData` puts nothing there
            websocket_extensions=(),
            websocket_protocols=(),
            http_request_data=b"",
            http_response_data=b"",
        )
        self.__dict__ = kept

    # --- writing

    def send_bytes(self, data: bytes) -> bool:
        """Write bytes at once where the socket takes them, and queue the rest up to the bound.

        Autobahn leaves the queue to the transport, which has no bound.

        Returns:
            Whether they were taken; if not, `too_slow` was called.
        """
        transport: Any = self.transport
        sending = self._sending
        rest: bytes | memoryview = data
        if (
            self.is_plain
            and (sending is None or sending.is_idle)
            and not (transport.dataBuffer or transport._tempDataBuffer)  # noqa: SLF001
        ):
            # Twisted would wait for the socket to be writable, which it nearly always is: two
            # system calls for nothing.
            sent = transport.writeSomeData(data)
            if sent == len(data):
                return True
            if isinstance(sent, int):
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
        """Bound what Autobahn itself sends: answers, pings and pongs.

        It goes out at once, so that it keeps its order with the events.
        """
        self.send_bytes(data)

    @property
    def backlog(self) -> int:
        """Bytes that wait for the client to read."""
        return 0 if self._sending is None else self._sending.backlog

    # --- a client that breaks a rule

    def _fail_connection(self, code: int = _GOING_AWAY, reason: str = "") -> None:
        """Say why and take nothing more: RFC 6455, section 7.1.7.

        Autobahn closes the socket after its close frame. A socket closed with unread bytes is
        reset, and a reset can overtake that frame. So only our half is closed, and what still comes
        is dropped until the peer has closed its own, or for `CLOSE_TIMEOUT`.
        """
        super()._fail_connection(code, reason)
        self._linger()

    def _protocol_violation(self, reason: str) -> bool:
        super()._protocol_violation(reason)
        return True  # stop there; Autobahn would go on with the frame that broke the rule

    def _invalid_payload(self, reason: str) -> bool:
        super()._invalid_payload(reason)
        return True

    def processData(self) -> bool:
        """Take the next frame, or a piece of it; Autobahn takes those behind a broken rule too."""
        return not self.failedByMe and bool(super().processData())

    # --- gone

    def dropConnection(self, abort: bool = False) -> None:
        """Close the connection; a client that does not read cannot put that off for ever.

        Autobahn waits without a limit for what is queued, and resets a connection whose close was
        answered.
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
        """Close this half of the connection, and drop what comes until the client closes its own.

        To close a socket resets the connection if bytes are unread, or arrive later. A reset can
        overtake the close frame, and fails a client that still answers a ping or a close. Autobahn
        closes at once; RFC 6455, section 7.1.1, has an example of this way.
        """
        if self._discarded is None:
            self._discarded = 0
            self.left()
        if ISSLTransport.providedBy(self.transport):  # TLS: an alert closes one half
            self._end_with(self.transport.loseConnection)
        else:
            self._end_with(self.transport.loseWriteConnection)

    def _end_with(self, how: Callable[[], None]) -> None:
        """End the transport in some way, once what waits was given to it."""
        if self._sending is None:
            how()
        else:
            self._sending.finish(how)

    def unregisterProducer(self) -> None:
        """Leave it to `Sending`, when all is written: Autobahn asks for it before."""


class CorrectedFactory(WebSocketServerFactory):  # type: ignore[misc]  # Autobahn is not annotated
    """Autobahn's factory, corrected.

    Args:
        clock: for all timers, Autobahn's too.
        protocol: class of the connections.
        max_send_buffer: bytes that may wait for one client; 0: any number.
        options: for ``setProtocolOptions``; in one call, as another would take back what this one
            says of origins.

    Attributes:
        clock: as given.
        max_send_buffer: as given.
        connections: all that are connected, open or not.
    """

    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        protocol: type[CorrectedProtocol],
        max_send_buffer: int,
        **options: Any,
    ) -> None:
        super().__init__(server="", reactor=clock)
        self.clock = clock
        self.max_send_buffer = max_send_buffer
        self.connections: set[CorrectedProtocol] = set()
        # Autobahn's runs on the reactor that txaio holds for the whole process.
        self._batched_timer = _BatchedTimer(
            TIMER_BUCKET * 1000.0, TIMER_CHUNK, clock.seconds, clock.callLater
        )
        self.setProtocolOptions(
            versions=[13],
            webStatus=False,
            failByDrop=False,
            allowNullOrigin=True,
            openHandshakeTimeout=0,
            closeHandshakeTimeout=CLOSE_TIMEOUT,
            autoPingRestartOnAnyTraffic=False,
            **options,
        )
        self.protocol = self._configured(protocol)

    def _configured(self, protocol: type[CorrectedProtocol]) -> type[CorrectedProtocol]:
        """The protocol with the factory's options as attributes of the class.

        Autobahn copies them into each connection: kilobytes and most of an accept's time.
        """
        options: dict[str, Any] = {
            name: getattr(self, name)
            for name in protocol.CONFIG_ATTRS
            if name != "perMessageCompressionAccept"  # a method of ours
        }
        return type(protocol.__name__, (protocol,), {**options, "CONFIG_ATTRS": ()})


def cancel(call: IDelayedCall | None) -> None:
    """Cancel a call that may have run, or may not have been scheduled."""
    if call is not None and call.active():
        call.cancel()
