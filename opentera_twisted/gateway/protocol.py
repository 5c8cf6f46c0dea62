"""The Autobahn edge of the gateway: the handshake, what a client sends, and closing.

Autobahn speaks RFC 6455; here are the decisions, and guards for what a handshake that takes time
can meet: a peer that goes away meanwhile, or that keeps sending.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final, Protocol

import txaio
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from opentera_twisted.gateway.frames import text_frame
from opentera_twisted.gateway.login import Login, Refusal, parse_login
from opentera_twisted.sessions import Identity

PING_INTERVAL: Final = 10
PONG_TIMEOUT: Final = 20
"""Seconds between pings, and that a client may take to answer one: closed 30 s without a pong."""

HANDSHAKE_TIMEOUT: Final = 10
"""Seconds that a handshake may take, from connecting to open."""

CLOSE_TIMEOUT: Final = 2
"""Seconds that a client may take to answer a close."""

MAX_HANDSHAKE: Final = 16_384
"""Bytes of a handshake's request."""

MAX_MESSAGE: Final = 65_536
"""Bytes of a client's message; nothing is expected from clients at all."""

GOING_AWAY: Final = 1001

_NOT_ALLOWED: Final = text_frame("Not allowed to send message")


class Doorkeeper(Protocol):
    """What the edge asks of the gateway."""

    async def admit(self, client: ClientProtocol, login: Login) -> Identity:
        """Decide on a login; raise `Refusal`, or return who it is, ready to receive events."""

    def opened(self, client: ClientProtocol, identity: Identity) -> None:
        """An admitted client's websocket is open."""

    def closed(self, client: ClientProtocol, identity: Identity) -> None:
        """An admitted client is gone, whether its websocket was open or not."""


class ClientProtocol(WebSocketServerProtocol):  # type: ignore[misc]  # Autobahn is not annotated
    """One client's websocket.

    Attributes:
        identity: who it is, once admitted.
        was_opened: whether the handshake was completed.
    """

    # Autobahn warns several times of each client that breaks a rule; who it was is not our trouble.
    log = txaio.make_logger(level="error")
    _gateway_log = Logger()

    factory: ClientFactory
    closeHandshakeTimeoutCall: IDelayedCall | None
    identity: Identity | None = None
    was_opened = False
    _admission: Deferred[Identity] | None = None
    _drop: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """A peer has connected."""
        self.factory.connections.add(self)
        super().connectionMade()

    def connectionLost(self, reason: Failure) -> None:
        """The connection is gone; `onClose` has heard of it when this returns."""
        super().connectionLost(reason)
        if self._drop is not None and self._drop.active():
            self._drop.cancel()
        if self.closeHandshakeTimeoutCall is not None:  # Autobahn would keep it, and us with it
            self.closeHandshakeTimeoutCall.cancel()
            self.closeHandshakeTimeoutCall = None
        self.factory.lost(self)

    # --- handshake

    def processHandshake(self) -> None:
        """Take the request, once; what follows it waits for the answer."""
        if len(self.data) > MAX_HANDSHAKE:
            self.failHandshake("", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif self._admission is None:
            super().processHandshake()

    def onConnect(self, request: ConnectionRequest) -> Deferred[None]:
        """Ask the gateway whether to let the client in."""
        self._admission = Deferred.fromCoroutine(self._admit(request))
        return self._admission.addCallbacks(self._admitted, self._refused)

    async def _admit(self, request: ConnectionRequest) -> Identity:
        login = parse_login(request.path, request.params)
        return await self.factory.doorkeeper.admit(self, login)

    def _admitted(self, identity: Identity) -> None:
        self.identity = identity
        if self.state != self.STATE_CONNECTING:  # it went away; Autobahn would open it all the same
            self._leave()

    def _refused(self, failure: Failure) -> None:
        if isinstance(failure.value, Refusal):
            status, cause = failure.value.status, failure.value.cause
        elif failure.check(CancelledError):
            status, cause = HTTPStatus.BAD_REQUEST, "the client went away"
        else:
            status, cause = HTTPStatus.INTERNAL_SERVER_ERROR, "an error of the gateway"
            self._gateway_log.failure("a login failed", failure)
        self._gateway_log.info(
            "login from {peer} refused with {status}: {cause}",
            peer=self.peer,
            status=int(status),
            cause=cause,
        )
        raise ConnectionDeny(int(status), status.phrase)

    def succeedHandshake(self, res: object) -> None:
        """Complete the handshake, unless the peer has gone meanwhile."""
        if self.state == self.STATE_CONNECTING:
            super().succeedHandshake(res)

    def failHandshake(self, reason: str, code: int = 400, responseHeaders: Any = None) -> None:
        """Answer with the status alone: Autobahn's reasons repeat what the client sent."""
        if self.state != self.STATE_CONNECTING:
            return
        status = HTTPStatus(code)
        headers = [("Connection", "close"), ("Content-Length", "0"), *(responseHeaders or ())]
        if status is HTTPStatus.UPGRADE_REQUIRED:
            headers.append(("Upgrade", "websocket"))
        self.wasClean = True  # it was refused as it should be: nothing to warn of
        self.sendHttpErrorResponse(code, status.phrase, headers)
        self.dropConnection(abort=False)

    # --- open

    def onOpen(self) -> None:
        """The websocket is open: forget the request, which holds the key."""
        assert self.identity is not None  # noqa: S101 (only who was admitted is let in)
        self.was_opened = True
        self._admission = None
        self.http_request_data = self.http_response_data = b""
        self.http_status_line = self.http_request_uri = ""
        self.http_request_params: dict[str, list[str]] = {}
        self.http_headers: dict[str, str] = {}
        self.factory.doorkeeper.opened(self, self.identity)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Clients have nothing to say."""
        self.send_frame(_NOT_ALLOWED)

    def send_frame(self, frame: bytes) -> None:
        """Send a finished frame, if the websocket is open."""
        if self.state == self.STATE_OPEN:
            self.sendData(frame)

    def close(self, code: int, reason: str) -> None:
        """Begin to close the websocket."""
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(code=code, reasonUtf8=reason.encode(), isReply=False)

    # --- gone

    def dropConnection(self, abort: bool = False) -> None:
        """Close the connection; a client that does not read cannot put that off for ever."""
        super().dropConnection(abort)
        if not abort and self._drop is None and self in self.factory.connections:
            self._drop = self.factory.clock.callLater(CLOSE_TIMEOUT, self.transport.abortConnection)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """The connection is gone, in whatever state it was."""
        if self._admission is not None:
            self._admission.cancel()
        self._leave()

    def _leave(self) -> None:
        identity, self.identity = self.identity, None
        if identity is not None:
            self.factory.doorkeeper.closed(self, identity)


class ClientFactory(WebSocketServerFactory):  # type: ignore[misc]  # Autobahn is not annotated
    """Makes the protocol of each connection to a websocket endpoint.

    Args:
        doorkeeper: decides who comes in.
        reactor: for time.

    Attributes:
        connections: all that are connected, open or not.
    """

    protocol = ClientProtocol
    noisy = False

    def __init__(self, doorkeeper: Doorkeeper, reactor: Any) -> None:
        super().__init__(server="", reactor=reactor)
        self.clock = reactor
        self.doorkeeper = doorkeeper
        self.connections: set[ClientProtocol] = set()
        self._emptied: list[Deferred[None]] = []
        self.setProtocolOptions(
            webStatus=False,
            failByDrop=False,
            allowNullOrigin=True,
            maxFramePayloadSize=MAX_MESSAGE,
            maxMessagePayloadSize=MAX_MESSAGE,
            openHandshakeTimeout=HANDSHAKE_TIMEOUT,
            closeHandshakeTimeout=CLOSE_TIMEOUT,
            autoPingInterval=PING_INTERVAL,
            autoPingTimeout=PONG_TIMEOUT,
            autoPingRestartOnAnyTraffic=False,
        )

    def close_all(self, code: int, reason: str) -> Deferred[None]:
        """Close open websockets properly, and the others at once.

        Returns:
            Fires when no connection is left; a peer that does not answer is dropped in time.
        """
        emptied: Deferred[None] = Deferred()
        self._emptied.append(emptied)
        for client in list(self.connections):
            if client.state == client.STATE_OPEN:
                client.close(code, reason)
            elif client.state == client.STATE_CONNECTING:
                client.dropConnection(abort=True)
        self._tell_if_empty()
        return emptied

    def lost(self, client: ClientProtocol) -> None:
        """A connection is gone."""
        self.connections.discard(client)
        self._tell_if_empty()

    def _tell_if_empty(self) -> None:
        if not self.connections:
            emptied, self._emptied = self._emptied, []
            for one in emptied:
                one.callback(None)
