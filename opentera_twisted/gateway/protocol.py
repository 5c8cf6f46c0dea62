"""The gateway's websocket protocol: handshake, incoming frames, closing.

Autobahn implements RFC 6455, with the corrections in `autobahn_corrections`; this module makes the
gateway's decisions.
"""

from __future__ import annotations

from collections.abc import Collection
from http import HTTPStatus
from math import ceil
from struct import Struct
from typing import Any, Final, Protocol

from autobahn.websocket.compress import PerMessageDeflateOfferAccept
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocolNegotiationFactory,
    IReactorTime,
    ISSLTransport,
)
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Port
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from opentera_twisted._internal.ip_addresses import canonical_ip
from opentera_twisted._internal.pings import PAYLOAD, PING_INTERVAL, PONG_TIMEOUT, Pings
from opentera_twisted._internal.waiters import Waiters
from opentera_twisted.errors import InvalidArgument
from opentera_twisted.gateway import deflate, subprotocols, tls
from opentera_twisted.gateway.autobahn_corrections import (
    CorrectedFactory,
    CorrectedProtocol,
    cancel,
)
from opentera_twisted.gateway.counters import ConnectionLimit, RateLimit, Slot
from opentera_twisted.gateway.frames import Frame, Frames
from opentera_twisted.gateway.handshake import Request
from opentera_twisted.gateway.intake import Intake
from opentera_twisted.gateway.limits import GatewayLimits
from opentera_twisted.gateway.login import (
    Login,
    Refusal,
    parse_login,
)
from opentera_twisted.gateway.recovery.session import HAS_TOKEN, Session
from opentera_twisted.gateway.send_queue import has_foreign_layer, socket_of
from opentera_twisted.gateway.trusted_proxies import UNIX, Peer, TrustedProxies
from opentera_twisted.sessions import Identity
from opentera_twisted.topics import Kind

READ_AT_ONCE: Final = 8192
"""Maximum bytes per read; small, because clients only listen."""

ACCEPTED_AT_ONCE: Final = 16
"""Connections that a socket accepts per reactor iteration; the others wait in the kernel."""

FRAMES_AT_ONCE: Final = 8
"""Frames handled for one client before the next client's."""

ANSWERS_PER_SECOND: Final = 10
"""Maximum replies to one client's messages; further messages get no reply."""

NORMAL_CLOSURE: Final = 1000
GOING_AWAY: Final = 1001
POLICY_VIOLATION: Final = 1008
SERVICE_RESTART: Final = 1012

PING: Final = bytes([0x89, len(PAYLOAD)]) + PAYLOAD
"""Frame of a ping."""

_CLOSE: Final = 8
_PONG: Final = Struct("!HLL")  # head, mask and masked payload
_PONG_HEAD: Final = 0x8A84
_PONG_PAYLOAD: Final = int.from_bytes(PAYLOAD, "big")
_NOT_ALLOWED: Final = Frame("Not allowed to send message").plain


class IGateway(Protocol):
    """The gateway as its protocols see it."""

    async def admit(self, client: ClientProtocol, login: Login) -> Identity:
        """Admit a client and return its identity, or raise `Refusal`."""

    def subprotocols(self) -> Collection[str]:
        """Return the reserved subprotocols that are available now."""

    def refused(self, peer: Peer, refusal: Refusal, kind: Kind | None = None) -> None:
        """Record a handshake that ended without a websocket."""

    def opened(self, client: ClientProtocol, identity: Identity) -> None:
        """Record that an admitted client's websocket opened."""

    def has_token(self, client: ClientProtocol) -> None:
        """Record that a returned client has received its next recovery token."""

    def closed(self, client: ClientProtocol, identity: Identity) -> None:
        """Forget an admitted client, even if its websocket never opened."""

    def tls_failed(self, peer: Peer, reason: Failure) -> None:
        """Record a connection that closed during its TLS handshake."""

    def reached(self, limit: str, client: ClientProtocol) -> None:
        """Record a client that exceeded a limit, named as in `GatewayLimits`."""


class ClientProtocol(CorrectedProtocol):
    """One client's websocket.

    Attributes:
        identity: The client's identity, once admitted.
        window_bits: Compression window agreed with the client, as a logarithm; 0 for none.
        session: The client's session, if it requested recovery.
        is_return: True if the client sent a recovery token, not a session key.
        opened_at: Time of the gateway's clock at which the websocket opened.
    """

    _gateway_log = Logger()

    factory: ClientFactory
    identity: Identity | None = None
    window_bits = 0
    session: Session | None = None
    is_return = False
    opened_at = 0.0
    _kind: Kind | None = None
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
    _is_silent = False
    _unanswered = 0  # intervals of pings since the last pong

    def connectionMade(self) -> None:
        """Check the connection limits, and start the handshake timeout."""
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

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Release the connection; the intake schedules the report to the gateway."""
        super().connectionLost(reason)
        if not self.is_plain and tls.is_incomplete(self.transport):
            self.factory.gateway.tls_failed(_peer(self.transport), reason)
        cancel(self._timeout)
        self._timeout = None  # a finished call holds a reference to this object
        self.factory.pings.forget(self)
        self.factory.intake.forget(self)
        self.factory.intake.do(self._gone)

    # --- handshake

    def requested(self, request: Request) -> None:
        """Request admission from the gateway."""
        self._admission = Deferred.fromCoroutine(self._admit(request))
        self._admission.addCallbacks(self._admitted, self._refused, callbackArgs=(request,))
        self._admission.addErrback(self._failed)

    async def _admit(self, request: Request) -> Identity:
        self._client = self.factory.proxies.client(self.address, request.headers)
        login = parse_login(request.target, self._client, request.origin)
        self._kind = login.kind
        if login.received is not None:
            self.is_return = True
        self._count_as(self._client)
        # Negotiate before the session key is redeemed, so that a bad offer costs no key.
        self._negotiate(request)
        try:
            return await self.factory.gateway.admit(self, login)
        except Refusal:  # spread a burst of refusals
            await self.factory.intake.turn()
            raise

    @property
    def is_being_admitted(self) -> bool:
        """True while the gateway decides on the login."""
        return self._admission is not None and not self._admission.called

    def _admitted(self, identity: Identity, request: Request) -> None:
        self.identity = identity
        if self.state == self.STATE_CONNECTING:
            self.open_websocket(request, self._subprotocol, self._agreed)
        else:  # the client has left
            self.left()

    def _failed(self, failure: Failure) -> None:
        self._gateway_log.failure("opening a websocket failed", failure)
        self.dropConnection(abort=True)

    def _count_unknown(self) -> bool:
        """Count a connection for its address, unless it comes from a trusted proxy."""
        if has_foreign_layer(self.transport):
            return True
        peer = self._client = _peer(self.transport)
        if self.factory.proxies.trusts(peer.address):
            return True
        self._slot = self.factory.unknown.acquire(peer.address)
        return self._slot is not None

    def _count_as(self, client: Peer) -> None:
        """Count the connection against its address's limit on logins, no longer as unknown."""
        slot = self.factory.known.acquire(client.address)
        if slot is None:
            raise Refusal(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too many connections from the address; name a proxy with --trusted-proxy",
                limit="max_connections_per_address",
                retry_after=60,
            )
        self._release_slot()
        self._slot = slot

    def _release_slot(self) -> None:
        slot, self._slot = self._slot, None
        if slot is not None:
            slot.release()

    def _negotiate(self, request: Request) -> None:
        """Agree on the compression, and select the subprotocol."""
        factory = self.factory
        try:
            self._agreed = deflate.agree(
                request.extensions, factory.window_bits, factory.limits.max_message_size
            )
        except InvalidArgument as error:
            raise Refusal(HTTPStatus.BAD_REQUEST, str(error)) from None
        if request.subprotocols:
            spoken = factory.gateway.subprotocols()
            self._subprotocol = subprotocols.select(request.subprotocols, spoken)

    @property
    def wants_recovery(self) -> bool:
        """True if the client speaks the recovery subprotocol."""
        return self._subprotocol == subprotocols.RECOVERY

    def _refused(self, failure: Failure) -> None:
        if isinstance(failure.value, Refusal):
            refusal = failure.value
        elif failure.check(CancelledError):
            refusal = Refusal(HTTPStatus.REQUEST_TIMEOUT, "the client disconnected or timed out")
        else:
            refusal = Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error of the gateway")
            self._gateway_log.failure("a login failed", failure)
        self.refuse(refusal)

    def refuse(self, refusal: Refusal) -> None:
        """Answer with the refusal's status, once, and record it."""
        if self._was_refused:  # the client broke a rule while its login was pending
            return
        self._was_refused = True
        self._release_slot()  # free the slot before the connection closes
        self.factory.gateway.refused(self.address, refusal, self._kind)
        retry = refusal.retry_after
        self.answer(refusal.status, [] if retry is None else [("Retry-After", str(retry))])

    def _handshake_timed_out(self) -> None:
        self.factory.gateway.reached("handshake_timeout", self)
        self.dropConnection(abort=True)

    # --- open

    def onOpen(self) -> None:
        """Report the open websocket."""
        assert self.identity is not None  # noqa: S101 (set on admission)
        cancel(self._timeout)
        if self._agreed is not None:
            self.window_bits = self.factory.window_bits
        self._admission = self._timeout = None
        self.opened_at = self.factory.clock.seconds()
        self.factory.pings.add(self)
        closing, self._closing = self._closing, None  # a recovery token comes before the close
        self.factory.gateway.opened(self, self.identity)
        if closing is not None:
            self.close(*closing)

    def onPong(self, payload: bytes) -> None:
        """Record the pong to a ping, or report the pong to the first frame of a return."""
        if payload == PAYLOAD:
            self.answered()
        elif payload == HAS_TOKEN:
            self.factory.gateway.has_token(self)

    def ping(self) -> bool:
        """Send a ping, or drop the connection if the last one is unanswered for too long.

        Returns:
            True if the websocket is open, and a ping is due again after the interval.
        """
        if self.state != self.STATE_OPEN or self._closing is not None:
            return False
        if self._unanswered >= self.factory.max_unanswered:
            self._is_silent = True
            self.dropConnection(abort=True)
            return False
        self._unanswered += 1
        return self._unanswered > 1 or self.send_bytes(PING)

    def answered(self) -> None:
        """Note the answer to a ping."""
        self._unanswered = 0

    def dataReceived(self, data: bytes) -> None:
        """Record a pong at once, and parse any other data.

        Most clients send nothing else. The parser and the intake would double the cost of a pong.
        """
        if (
            len(data) == _PONG.size
            and self.state == self.STATE_OPEN
            and self.current_frame is None
            and not self.data
        ):
            head, mask, payload = _PONG.unpack(data)
            if head == _PONG_HEAD and mask ^ payload == _PONG_PAYLOAD:
                if self._is_within_rate():
                    self.answered()
                return
        super().dataReceived(data)

    def onFrameBegin(self) -> None:
        """Count a frame of any kind except close against the rate limit."""
        is_counted = self.state == self.STATE_OPEN and self.current_frame.opcode != _CLOSE
        if not is_counted or self._is_within_rate():
            super().onFrameBegin()

    def _is_within_rate(self) -> bool:
        """Count a frame; close the websocket if the frame exceeds the rate limit."""
        limit = self.factory.limits.max_messages_per_minute
        if not limit:
            return True
        if self._frames is None:
            self._frames = RateLimit()
        if self._frames.allows(limit, 60.0, self.factory.clock.seconds()):
            return True
        self.factory.gateway.reached("max_messages_per_minute", self)
        self._fail_connection(POLICY_VIOLATION, "too many messages")
        return False

    def onMessageFrameData(self, payload: bytes) -> None:
        """Discard the data of a message; Autobahn has checked its size and its text."""

    def onMessageEnd(self) -> None:
        """Reply that clients may not send messages; after a close frame, send no reply."""
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

    def write(self, data: bytes, frames: Frame | Frames | None = None) -> bool:
        """Send finished frames.

        Returns:
            True if the frames were written or queued; False if the websocket is closing or the
            client reads too slowly.
        """
        is_open = self.state == self.STATE_OPEN and self._closing is None
        return bool(is_open) and self.send_bytes(data)

    def too_slow(self) -> None:
        """Close the websocket of a client that reads too slowly."""
        self.factory.gateway.reached("max_send_buffer", self)
        self.close(POLICY_VIOLATION, "too slow")

    def close(self, code: int, reason: str) -> bool:
        """Stop sending, and schedule the close frame; a pending websocket closes once it opens.

        Returns:
            False if the websocket is closing already.
        """
        if self._closing is not None:
            return False
        if self.state not in {self.STATE_CONNECTING, self.STATE_OPEN}:
            return False
        self._closing = (code, reason)
        if self.state == self.STATE_OPEN:
            self.factory.intake.do(self._begin_close)
        return True

    def _begin_close(self) -> None:
        if self._closing is not None and self.state == self.STATE_OPEN:
            code, reason = self._closing
            self.sendCloseFrame(code=code, reasonUtf8=reason.encode(), isReply=False)

    @property
    def address(self) -> Peer:
        """Address of the client, behind trusted proxies."""
        return self._client or _peer(self.transport)

    @property
    def cause(self) -> str:
        """Cause of the websocket's end, for the audit log; without text of the client."""
        if self._closing is not None:
            return "closed by the gateway with {}: {}".format(*self._closing)
        if self.closedByMe:
            return f"closed by the gateway with {self.localCloseCode}: {self.localCloseReason}"
        if self.remoteCloseCode is not None:
            return f"closed by the client with {self.remoteCloseCode}"
        return "no answer to a ping" if self._is_silent else "connection lost"

    @property
    def said_goodbye(self) -> bool:
        """True if the client closed the websocket with a normal closure."""
        return not self.closedByMe and self.remoteCloseCode == NORMAL_CLOSURE

    def resumed_elsewhere(self) -> None:
        """Close the websocket because its client has returned on another one."""
        self.close(GOING_AWAY, "the client has returned on another websocket")
        self.left()

    def missed_events(self) -> None:
        """Close the websocket because events may have been missed; the client can return."""
        self.close(SERVICE_RESTART, "events may have been missed")

    def consumeData(self) -> None:
        """Pass received bytes to the intake, which calls `handle`."""
        self.factory.intake.arrived(self)

    def handle(self) -> bool:
        """Parse some of the received bytes; discard the bytes of a closed websocket."""
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
        """Pause reading, so that TCP slows the client down."""
        self.transport.pauseProducing()

    def go_on(self) -> None:
        """Resume reading."""
        self.transport.resumeProducing()

    # --- gone

    def dropConnection(self, abort: bool = False) -> None:
        """Close the connection, and cancel the handshake timeout."""
        cancel(self._timeout)
        super().dropConnection(abort)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """Do nothing, because `connectionLost` cleans up."""

    def _gone(self) -> None:
        if self._admission is not None:
            self._admission.cancel()
        self.left()
        self._release_slot()
        self.factory.lost(self)

    def left(self) -> None:
        """Report the client as disconnected, once."""
        identity, self.identity = self.identity, None
        if identity is not None:
            self.factory.gateway.closed(self, identity)


@implementer(IProtocolNegotiationFactory)
class ClientFactory(CorrectedFactory):
    """Factory for the protocol of each connection to a websocket endpoint.

    Attributes:
        connections: All connections, including those in the handshake.
        pings: Pings to all open websockets.
        max_unanswered: Intervals of pings without a pong after which a client is dropped.
    """

    connections: set[ClientProtocol]  # the only class it makes

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
        )
        self.gateway = gateway
        self.limits = limits
        self.proxies = proxies
        self.window_bits = window_bits
        self.unknown = ConnectionLimit(limits.max_connections_per_address)
        self.known = ConnectionLimit(limits.max_connections_per_address)
        self.intake = Intake(clock)
        self.pings = Pings(clock, PING_INTERVAL)
        self.max_unanswered = ceil(PONG_TIMEOUT / PING_INTERVAL)
        self._listening: set[Port] = set()
        self._emptied: Waiters[None] = Waiters()

    def acceptableProtocols(self) -> list[bytes]:
        """Return the protocols for TLS negotiation, which custom endpoints read too."""
        return [tls.HTTP]

    def accepted(self, socket: Any) -> None:
        """Limit the listening socket's accepts in the next reactor iteration.

        Twisted accepts a hundred at a time, and raises that number under load.
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
        """Return True if too many connections are open for another handshake."""
        limit = 2 * self.limits.max_clients
        return bool(limit) and len(self.connections) > limit

    def close_all(self, code: int, reason: str, timeout: float) -> Deferred[None]:
        """Close open websockets properly, and drop the others.

        A pending login completes first, because the client's token or key may be redeemed already.
        The websocket then opens and closes, or the client gets the refusal.

        Args:
            code: Close code.
            reason: Close reason.
            timeout: Seconds until the remaining connections are aborted; 0 waits for all of them.

        Returns:
            Fires when no connection is left.
        """
        emptied = self._emptied.wait()
        for client in list(self.connections):
            client.close(code, reason)
            if client.state == client.STATE_CONNECTING and not client.is_being_admitted:
                client.dropConnection(abort=True)
        self._fire_if_empty()
        if timeout and not emptied.called:
            dropping = self.clock.callLater(timeout, self._drop_all)
            emptied.addCallback(lambda _: dropping.cancel() if dropping.active() else None)
        return emptied

    def _drop_all(self) -> None:
        for client in list(self.connections):
            client.transport.abortConnection()

    def lost(self, client: ClientProtocol) -> None:
        """Forget a closed connection, which was reported to the gateway."""
        self.connections.discard(client)
        self._fire_if_empty()

    def _fire_if_empty(self) -> None:
        if not self.connections:
            self._emptied.fire(None)


def _peer(transport: Any) -> Peer:
    address = canonical_ip(getattr(transport.getPeer(), "host", None) or "")
    return Peer(address or UNIX, ISSLTransport.providedBy(transport))
