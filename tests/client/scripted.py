"""A scripted gateway: with or without recovery, it refuses and closes on request."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionDeny
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from opentera_twisted.messages import UserEvent
from opentera_twisted.messages.envelopes import tera_event
from opentera_twisted.messages.text import event_text
from tests.helpers.support import Collector

RECOVERY = "opentera-bus.recovery.v1"
TOPIC = "websocket.device.11111111-2222-3333-4444-555555555555.events"


def event(name: str) -> str:
    """Return the frame of an event as a gateway writes it."""
    message = UserEvent(user_fullname=name, type=UserEvent.USER_CONNECTED)
    return event_text(tera_event(TOPIC, [message], 1_700_000_000.5), [message])


class ScriptedProtocol(WebSocketServerProtocol):  # type: ignore[misc]  # Autobahn is not annotated
    """One websocket of the scripted gateway."""

    speaks_recovery = False
    began_at = 0
    missed: int | None = None

    def onConnect(self, request: Any) -> Any:
        server: ScriptedGateway = self.factory
        server.requests(self.http_request_uri)
        if server.holds:
            return Deferred()
        if server.status:
            raise ConnectionDeny(server.status, "no")
        query = parse_qs(self.http_request_uri.partition("?")[2])
        if "recover" in query:
            position = server.tokens.pop(query["recover"][0], None)
            if position is None:
                raise ConnectionDeny(403, "no")
            self.missed = position + int(query["received"][0])
        elif query["id"][0] not in server.keys:
            raise ConnectionDeny(403, "no")
        server.keys.discard(query.get("id", [""])[0])
        self.speaks_recovery = server.recovery and RECOVERY in request.protocols
        if self.speaks_recovery:
            return RECOVERY
        named = [
            protocol for protocol in request.protocols if not protocol.startswith("opentera-bus.")
        ]
        return named[0] if named and server.names else None

    def onOpen(self) -> None:
        server: ScriptedGateway = self.factory
        server.clients.append(self)
        if self.speaks_recovery:
            recovered = None if self.missed is None else not server.loses
            first = {"token": server.token(), "window": server.window, "recovered": recovered}
            self.began_at = len(server.frames)
            if recovered:
                assert self.missed is not None
                first["missed"] = len(server.frames) - self.missed
                self.began_at = self.missed
            server.tokens[str(first["token"])] = self.began_at
            self.send(json.dumps({"recovery": first}))
            if recovered:
                for frame in server.frames[self.began_at :]:
                    self.send(frame)
        server.opened(self)

    def send(self, text: str) -> None:
        """Send a text frame."""
        self.sendMessage(text.encode())

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        if self in self.factory.clients:
            self.factory.clients.remove(self)
            self.factory.closed((code, reason))

    def onPong(self, payload: bytes) -> None:
        self.factory.pongs(payload)

    def _onPing(self, payload: bytes) -> None:
        self.factory.pings(payload)
        if self.factory.answers_pings:
            super()._onPing(payload)


class ScriptedGateway(WebSocketServerFactory):  # type: ignore[misc]  # Autobahn is not annotated
    """Keeps all frames, and each token for one use.

    Attributes:
        recovery: True to support recovery.
        names: True to select another subprotocol without recovery.
        window: seconds for which it says that a token is good.
        loses: True to report that it could not recover.
        status: Status of each handshake; 0 opens the websocket.
        holds: True to leave handshakes unanswered.
        keys: Session keys to accept, each once.
        frames: All published frames.
    """

    protocol = ScriptedProtocol

    def __init__(self, *, recovery: bool = True, names: bool = True) -> None:
        super().__init__(reactor=reactor)
        self.recovery = recovery
        self.names = names
        self.loses = False
        self.window = 60
        self.status = 0
        self.holds = False
        self.answers_pings = True
        self.keys: set[str] = set()
        self.tokens: dict[str, int] = {}
        self.frames: list[str] = []
        self.clients: list[Any] = []
        self.requests = Collector()
        self.opened = Collector()
        self.closed = Collector()
        self.pings = Collector()
        self.pongs = Collector()
        self._number = 0
        # No autoPing: the test decides when a connection ends.
        self.setProtocolOptions(openHandshakeTimeout=0, closeHandshakeTimeout=0)

    def token(self) -> str:
        """Return a new token."""
        self._number += 1
        return f"SECRET-TOKEN-{self._number}".ljust(43, "x")

    def publish(self, *names: str) -> None:
        """Publish events of these names to connected and returning clients."""
        for name in names:
            self.frames.append(event(name))
            for client in self.clients:
                client.send(self.frames[-1])

    def close(self, code: int, reason: str = "") -> None:
        """Close all websockets."""
        for client in list(self.clients):
            client.sendCloseFrame(code=code, reasonUtf8=reason.encode(), isReply=False)

    def cut(self) -> None:
        """Break all connections."""
        for client in list(self.clients):
            client.transport.abortConnection()


def key_maker(server: ScriptedGateway, asked: Collector) -> Callable[[], str]:
    """Return a key supplier whose keys the server accepts."""

    def make() -> str:
        asked()
        key = f"device.SECRET-KEY-{len(asked.items)}"
        server.keys.add(key)
        return key

    return make
