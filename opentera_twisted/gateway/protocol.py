"""The websocket edge of the gateway: the handshake, what a client sends, and closing.

Autobahn speaks RFC 6455, as `autobahn_corrections` corrects it; here are the gateway's decisions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from http import HTTPStatus
from typing import Any, Final, Protocol

from autobahn.websocket.compress import PerMessageDeflateOfferAccept
from autobahn.websocket.types import ConnectionRequest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocolNegotiationFactory,
    IReactorTime,
    ISSLTransport,
)
from twisted.internet.tcp import Port
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from opentera_twisted._internal.ip_addresses import canonical_ip
from opentera_twisted._internal.waiters import Waiters
from opentera_twisted.errors import InvalidArgument
from opentera_twisted.gateway import compression, subprotocols, tls
from opentera_twisted.gateway.autobahn_corrections import (
    CorrectedFactory,
    CorrectedProtocol,
    cancel,
)
from opentera_twisted.gateway.connection_limit import ConnectionLimit, Slot
from opentera_twisted.gateway.frames import Frame
from opentera_twisted.gateway.intake import Intake
from opentera_twisted.gateway.limits import GatewayLimits
from opentera_twisted.gateway.login import (
    Login,
    Refusal,
    header_mistake,
    parse_login,
)
from opentera_twisted.gateway.proxies import UNIX, Peer, TrustedProxies
from opentera_twisted.gateway.rate_limit import RateLimit
from opentera_twisted.gateway.recovery.session import Session
from opentera_twisted.gateway.sending import has_foreign_layer, socket_of
from opentera_twisted.sessions import Identity

PING_INTERVAL: Final = 10
PONG_TIMEOUT: Final = 20
"""Seconds between pings, and that a client may take to answer one: closed 30 s without a pong."""

READ_AT_ONCE: Final = 8192
"""Bytes that one read takes from a client, which has nothing to say."""

ACCEPTED_AT_ONCE: Final = 16
"""Connections that a listening socket accepts in one turn; the others wait in the kernel."""

FRAMES_AT_ONCE: Final = 8
"""Frames that are handled for one client before the next one gets its turn."""

ANSWERS_PER_SECOND: Final = 10
"""Messages of one client that are answered; the others are dropped."""

NORMAL_CLOSURE: Final = 1000
GOING_AWAY: Final = 1001
POLICY_VIOLATION: Final = 1008
SERVICE_RESTART: Final = 1012

_CLOSE: Final = 8
_NOT_ALLOWED: Final = Frame("Not allowed to send message").plain


class IGateway(Protocol):
    """What the edge asks of the gateway."""

    async def admit(self, client: ClientProtocol, login: Login) -> Identity:
        """Decide on a login; raise `Refusal`, or return who it is, ready to receive events."""

    def subprotocols(self) -> Collection[str]:
        """List the reserved subprotocols that can be spoken now."""

    def refused(self, peer: Peer, refusal: Refusal) -> None:
        """A handshake ended without a websocket."""

    def opened(self, client: ClientProtocol, identity: Identity) -> None:
        """An admitted client's websocket is open."""

    def closed(self, client: ClientProtocol, identity: Identity) -> None:
        """An admitted client is gone, whether its websocket was open or not."""

    def tls_failed(self, peer: Peer, reason: Failure) -> None:
        """A connection ended before its TLS handshake was complete."""

    def reached(self, limit: str, client: ClientProtocol) -> None:
        """A client is sent away because of a limit, one of the names of `GatewayLimits`."""


class ClientProtocol(CorrectedProtocol):
    """One client's websocket.

    Attributes:
        identity: who it is, once admitted.
        window_bits: of the compression agreed on; 0: none.
        session: what goes on when it breaks, if it asked for recovery.
    """

    _gateway_log = Logger()

    factory: ClientFactory
    identity: Identity | None = None
    window_bits = 0
    session: Session | None = None
    _agreed: PerMessageDeflateOfferAccept | None = None
    _client: Peer | None = None
    _admission: Deferred[Identity] | None = None
    _closing: tuple[int, str] | None = None
    _timeout: IDelayedCall | None = None
    _frames: RateLimit | None = None
    _answers: RateLimit | None = None
    _subprotocol: str | None = None
    _slot: Slot | None = None
    _was_refused = False

    def connectionMade(self) -> None:
        """A peer has connected."""
        self.factory.connections.add(self)
        if (socket := socket_of(self.transport)) is not None:
            socket.bufferSize = READ_AT_ONCE
            self.factory.accepted(socket)
        super().connectionMade()
        timeout = self.factory.limits.handshake_timeout
        if self.factory.is_crowded():
            self.factory.gateway.reached("max_clients", self)
            self.dropConnection(abort=True)
        elif not self._count_unknown():
            self.factory.gateway.reached("max_connections_per_address", self)
            self.dropConnection(abort=True)
        elif timeout:  # Autobahn's own timer is up to a second off
            self._timeout = self.factory.clock.callLater(timeout, self._handshake_timed_out)

    def connectionLost(self, reason: Failure) -> None:
        """The connection is gone; the gateway hears of it when it is this client's turn."""
        super().connectionLost(reason)
        if not self.is_plain and tls.is_incomplete(self.transport):
            self.factory.gateway.tls_failed(_peer(self.transport), reason)
        cancel(self._timeout)
        self._timeout = None  # one that has run holds us
        self.factory.intake.forget(self)
        self.factory.intake.do(self._gone)

    # --- handshake

    def onConnect(self, request: ConnectionRequest) -> Deferred[str | None]:
        """Ask the gateway whether to let the client in; fires with the subprotocol to speak."""
        self._admission = Deferred.fromCoroutine(self._admit(request))
        return self._admission.addCallbacks(self._admitted, self._refused)

    async def _admit(self, request: ConnectionRequest) -> Identity:
        self._client = self.factory.proxies.client(_peer(self.transport), request.headers)
        login = parse_login(self.http_request_uri, self._client, request.origin)
        self._count_as(self._client)
        # All that can be refused comes before the session key is redeemed.
        self._negotiate(request)
        try:
            return await self.factory.gateway.admit(self, login)
        except Refusal:  # many may be refused at once
            await self.factory.intake.turn()
            raise

    def _admitted(self, identity: Identity) -> str | None:
        self.identity = identity
        if self.state != self.STATE_CONNECTING:  # it went away; Autobahn would open it all the same
            self.left()
        return self._subprotocol

    def _count_unknown(self) -> bool:
        """Count a connection for its address, unless a proxy names the client's own later."""
        peer = _peer(self.transport)
        if self.factory.proxies.trusts(peer.address) or has_foreign_layer(self.transport):
            return True
        self._slot = self.factory.unknown.acquire(peer.address)
        return self._slot is not None

    def _count_as(self, client: Peer) -> None:
        """Count the connection among those of its address that log in, instead of the others."""
        slot = self.factory.known.acquire(client.address)
        if slot is None:
            raise Refusal(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too many connections of that address; a proxy is named with --trusted-proxy",
                limit="max_connections_per_address",
                retry_after=60,
            )
        self._release_slot()
        self._slot = slot

    def _release_slot(self) -> None:
        slot, self._slot = self._slot, None
        if slot is not None:
            slot.release()

    def _negotiate(self, request: ConnectionRequest) -> None:
        """Agree on the compression, and select the subprotocol."""
        factory = self.factory
        # Autobahn reads these leniently.
        reason = header_mistake(request.headers)
        if reason is not None:
            raise Refusal(HTTPStatus.BAD_REQUEST, reason)
        offers = request.headers.get("sec-websocket-extensions", "")
        try:
            agreed = compression.agree(offers, factory.window_bits, factory.limits.max_message_size)
        except InvalidArgument as error:
            raise Refusal(HTTPStatus.BAD_REQUEST, str(error)) from None
        if agreed is not None:
            self._agreed = agreed
            self.websocket_extensions: list[tuple[str, dict[str, Any]]] = [(compression.NAME, {})]
        if request.protocols:
            spoken = self.factory.gateway.subprotocols()
            self._subprotocol = subprotocols.select(request.protocols, spoken)

    @property
    def wants_recovery(self) -> bool:
        """Tell whether it speaks the subprotocol of recovery."""
        return self._subprotocol == subprotocols.RECOVERY

    def perMessageCompressionAccept(
        self, offers: Sequence[object]
    ) -> PerMessageDeflateOfferAccept | None:
        """Answer as was agreed on."""
        return self._agreed

    def _refused(self, failure: Failure) -> None:
        if isinstance(failure.value, Refusal):
            refusal = failure.value
        elif failure.check(CancelledError):
            refusal = Refusal(
                HTTPStatus.REQUEST_TIMEOUT, "the client went away, or ran out of time"
            )
        else:
            refusal = Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "an error of the gateway")
            self._gateway_log.failure("a login failed", failure)
        retry = refusal.retry_after
        self._refuse(refusal, [] if retry is None else [("Retry-After", str(retry))])

    def _refuse(self, refusal: Refusal, headers: Iterable[tuple[str, str]]) -> None:
        if self._was_refused:  # for what it sent while that was being decided
            return
        self._was_refused = True
        self._release_slot()  # others of its address need not wait until it is gone
        self.factory.gateway.refused(self._client or _peer(self.transport), refusal)
        self.answer(refusal.status, headers)

    def refuse_request(self, status: HTTPStatus, headers: Iterable[tuple[str, str]]) -> None:
        """Refuse a request that opens no websocket."""
        self._refuse(Refusal(status, "the request does not open a websocket"), headers)

    def _handshake_timed_out(self) -> None:
        self.factory.gateway.reached("handshake_timeout", self)
        self.dropConnection(abort=True)

    # --- open

    def onOpen(self) -> None:
        """The websocket is open: forget the request, which holds the key."""
        assert self.identity is not None  # noqa: S101 (only who was admitted is let in)
        cancel(self._timeout)
        if self.websocket_extensions_in_use:
            self.window_bits = self.factory.window_bits
        self._admission = self._client = self._timeout = None
        self.forget_handshake()
        self.factory.gateway.opened(self, self.identity)
        if self._closing is not None:  # it was sent away before it was open
            self._begin_close()

    def onFrameBegin(self) -> None:
        """Count a frame: messages, their fragments, pings and pongs."""
        limit = self.factory.limits.max_messages_per_minute
        if limit and self.state == self.STATE_OPEN and self.current_frame.opcode != _CLOSE:
            if self._frames is None:
                self._frames = RateLimit()
            if not self._frames.allows(limit, 60.0, self.factory.clock.seconds()):
                self.factory.gateway.reached("max_messages_per_minute", self)
                self._fail_connection(POLICY_VIOLATION, "too many messages")
                return
        super().onFrameBegin()

    def onMessageFrameData(self, payload: bytes) -> None:
        """Keep nothing of a message; Autobahn has checked its size and its text."""

    def onMessageEnd(self) -> None:
        """Clients have nothing to say; nor have we after a close, which the message may cross."""
        self.message_data = None
        if self.state != self.STATE_OPEN:
            return
        if self._answers is None:
            self._answers = RateLimit()
        if self._answers.allows(ANSWERS_PER_SECOND, 1.0, self.factory.clock.seconds()):
            self.sendData(_NOT_ALLOWED)

    def _max_message_size_exceeded(self, msg_size: int, max_msg_size: int, reason: str) -> None:
        self.factory.gateway.reached("max_message_size", self)
        super()._max_message_size_exceeded(msg_size, max_msg_size, reason)

    def write(self, data: bytes, frames: Sequence[Frame] = ()) -> bool:
        """Send finished frames, one or more.

        Returns:
            Whether they were: the websocket is open, and its client reads.
        """
        is_open = self.state == self.STATE_OPEN and self._closing is None
        return bool(is_open) and self.send_bytes(data)

    def too_slow(self) -> None:
        """Close a client that does not read."""
        self.factory.gateway.reached("max_send_buffer", self)
        self.close(POLICY_VIOLATION, "too slow")

    def close(self, code: int, reason: str) -> None:
        """Begin to close the websocket when it is its turn; one that is not open yet, once it is.

        Nothing more is sent to it before.
        """
        if self._closing is None and self.state in {self.STATE_CONNECTING, self.STATE_OPEN}:
            self._closing = (code, reason)
            if self.state == self.STATE_OPEN:
                self.factory.intake.do(self._begin_close)

    def _begin_close(self) -> None:
        if self._closing is not None and self.state == self.STATE_OPEN:
            code, reason = self._closing
            self.sendCloseFrame(code=code, reasonUtf8=reason.encode(), isReply=False)

    @property
    def said_goodbye(self) -> bool:
        """Tell whether the client has ended the connection as one that is done."""
        return not self.closedByMe and self.remoteCloseCode == NORMAL_CLOSURE

    def resumed_elsewhere(self) -> None:
        """Close: the client has come back on another websocket."""
        self.left()
        self.close(GOING_AWAY, "the client has returned on another websocket")

    def missed_events(self) -> None:
        """Close: events may have been missed, which the client is told when it returns."""
        self.close(SERVICE_RESTART, "events may have been missed")

    def consumeData(self) -> None:
        """Have what has come handled when it is this client's turn."""
        self.factory.intake.arrived(self)

    def handle(self) -> bool:
        """Take some of what has come; of a client that we are done with, nothing is kept."""
        if self.state == self.STATE_CONNECTING:
            self.processHandshake()
            return False
        has_more = self.state != self.STATE_CLOSED
        for _ in range(FRAMES_AT_ONCE if has_more else 0):
            has_more = self.processData() and self.state != self.STATE_CLOSED
            if not has_more:
                break
        if self.failedByMe or self.state == self.STATE_CLOSED:
            self.data = b""
            has_more = False
        return bool(has_more)

    def fail(self) -> None:
        """Reset the connection."""
        self.dropConnection(abort=True)

    def hold(self) -> None:
        """Leave what else it sends to TCP."""
        self.transport.pauseProducing()

    def go_on(self) -> None:
        """Read again."""
        self.transport.resumeProducing()

    # --- gone

    def dropConnection(self, abort: bool = False) -> None:
        """Close the connection."""
        cancel(self._timeout)
        super().dropConnection(abort)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """Do nothing: `connectionLost` does what is to do."""

    def _gone(self) -> None:
        if self._admission is not None:
            self._admission.cancel()
        self.left()
        self._release_slot()
        self.factory.lost(self)

    def left(self) -> None:
        """Report the client as gone, once."""
        identity, self.identity = self.identity, None
        if identity is not None:
            self.factory.gateway.closed(self, identity)


@implementer(IProtocolNegotiationFactory)
class ClientFactory(CorrectedFactory):
    """Makes the protocol of each connection to a websocket endpoint.

    Args:
        gateway: decides who comes in.
        clock: for all timers, Autobahn's too.
        limits: of connections and what they may take.
        proxies: whose word on their clients is taken.
        window_bits: of the compression that clients are offered; 0: none.

    Attributes:
        connections: all that are connected, open or not.
    """

    connections: set[ClientProtocol]  # it makes no others

    def __init__(
        self,
        gateway: IGateway,
        clock: IReactorTime,
        limits: GatewayLimits,
        proxies: TrustedProxies,
        window_bits: int = 0,
    ) -> None:
        super().__init__(
            clock,
            ClientProtocol,
            limits.max_send_buffer,
            maxFramePayloadSize=limits.max_message_size,
            maxMessagePayloadSize=limits.max_message_size,
            autoPingInterval=PING_INTERVAL,
            autoPingTimeout=PONG_TIMEOUT,
        )
        self.gateway = gateway
        self.limits = limits
        self.proxies = proxies
        self.window_bits = window_bits
        self.unknown = ConnectionLimit(limits.max_connections_per_address)
        self.known = ConnectionLimit(limits.max_connections_per_address)
        self.intake = Intake(clock)
        self._listening: set[Port] = set()
        self._emptied: Waiters[None] = Waiters()

    def acceptableProtocols(self) -> list[bytes]:
        """List the protocols that TLS may negotiate, for users' own endpoints too."""
        return [tls.HTTP]

    def accepted(self, socket: Any) -> None:
        """Have the listening socket of a connection accept few in the next turn.

        Twisted accepts a hundred at a time, and more and more while there are so many.
        """
        port = getattr(socket, "server", None)
        if isinstance(port, Port):
            if not self._listening:
                self.clock.callLater(0, self._accept_few)
            self._listening.add(port)

    def _accept_few(self) -> None:
        for port in self._listening:
            port.numberAccepts = min(port.numberAccepts, ACCEPTED_AT_ONCE)
        self._listening.clear()

    def is_crowded(self) -> bool:
        """Whether there is no room even for one more handshake."""
        limit = 2 * self.limits.max_clients
        return bool(limit) and len(self.connections) > limit

    def close_open(self, code: int, reason: str) -> None:
        """Begin to close every open websocket; a peer that does not answer is dropped in time."""
        for client in list(self.connections):
            client.close(code, reason)

    def close_all(self, code: int, reason: str, timeout: float) -> Deferred[None]:
        """Close open websockets properly, and drop the others at once.

        Args:
            code: of the close.
            reason: of the close.
            timeout: seconds after which whoever is left is dropped; 0: as long as that takes.

        Returns:
            Fires when no connection is left.
        """
        emptied = self._emptied.wait()
        self.close_open(code, reason)
        for client in list(self.connections):
            if client.state == client.STATE_CONNECTING:
                client.dropConnection(abort=True)
        self._tell_if_empty()
        if timeout and not emptied.called:
            dropping = self.clock.callLater(timeout, self._drop_all)
            emptied.addCallback(lambda _: dropping.cancel() if dropping.active() else None)
        return emptied

    def _drop_all(self) -> None:
        for client in list(self.connections):
            client.transport.abortConnection()

    def lost(self, client: ClientProtocol) -> None:
        """A connection is gone, and the gateway knows."""
        self.connections.discard(client)
        self._tell_if_empty()

    def _tell_if_empty(self) -> None:
        if not self.connections:
            self._emptied.fire(None)


def _peer(transport: Any) -> Peer:
    address = canonical_ip(getattr(transport.getPeer(), "host", None) or "")
    return Peer(address or UNIX, ISSLTransport.providedBy(transport))
