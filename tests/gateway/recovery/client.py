"""A client with recovery: it counts event frames and returns with its token."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred

from opentera_twisted.gateway.subprotocols import RECOVERY
from tests.helpers.websockets import WebSocket, connect, leave


class Client:
    """One user's client, over all its websockets.

    Attributes:
        kind: Kind of the websocket.
        events: ``name`` of each event since its last login.
        first: First frame of the present connection.
        websocket: Present connection.
        logins: Number of logins with a session key.
    """

    websocket: WebSocket

    def __init__(self, kind: str = "user") -> None:
        self.kind = kind
        self.events: list[str] = []
        self.first: dict[str, Any] = {}
        self.logins = 0
        self._counted = 0

    async def log_in(self, port: int, key: str) -> None:
        """Log in with a session key."""
        self.logins += 1
        await self._open(port, f"/wss/{self.kind}?id={key}")
        assert self.first["recovered"] is None, self.first

    async def come_back(self, port: int, **options: Any) -> bool:
        """Return with the token.

        Returns:
            True if recovered; `events` then includes the missed events.
        """
        self.collect()
        websocket = await connect(port, self.way_back(), protocols=[RECOVERY], **options)
        await self.adopt(websocket)
        recovered: bool = self.first["recovered"]
        return recovered

    def way_back(self, received: object = None) -> str:
        """Return the path of a return."""
        count = self.received if received is None else received
        return f"/wss/{self.kind}?recover={self.first['token']}&received={count}"

    async def _open(self, port: int, path: str, **options: Any) -> None:
        await self._take(await connect(port, path, protocols=[RECOVERY], **options))

    async def adopt(self, websocket: WebSocket) -> None:
        """Go on with a websocket with which somebody has returned."""
        await self._take(websocket)
        if not self.first["recovered"]:
            self.events.clear()

    async def _take(self, websocket: WebSocket) -> None:
        assert websocket.websocket_protocol_in_use == RECOVERY
        (first, *_) = await websocket.messages.wait(1)
        self.websocket = websocket
        self.first = json.loads(first)["recovery"]
        self._counted = 1

    @property
    def received(self) -> int:
        """Return the event frames of this connection."""
        return len(self.websocket.messages.items) - 1

    def collect(self) -> list[str]:
        """Add the events of this connection to `events`, once."""
        new = self.websocket.messages.items[self._counted :]
        self._counted += len(new)
        self.events += [name_of(event) for event in new]
        return self.events

    async def until(self, count: int) -> list[str]:
        """Wait for that many event frames of this connection; return all events."""
        await self.websocket.messages.wait(count + 1)
        return self.collect()

    async def leave(self) -> None:
        """Close the websocket, which ends the session."""
        self.websocket.sendClose(1000)
        await self.websocket.closed

    def drop(self) -> Deferred[None]:
        """Break the connection."""
        return Deferred.fromCoroutine(leave(self.websocket))


def name_of(text: str) -> str:
    """Return the name in an event."""
    (event,) = json.loads(text)["message"]["events"]
    name: str = event["userFullname"]
    return name
