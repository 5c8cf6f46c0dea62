"""Replies to the console page, as JSON values."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from opentera_twisted import topics
from opentera_twisted._internal.waiters import Waiters
from opentera_twisted.admin.guard import Guard
from opentera_twisted.admin.history import KEPT
from opentera_twisted.admin.overview import Overview
from opentera_twisted.admin.procedures import Figures
from opentera_twisted.admin.requests import Call, Disconnection, Key
from opentera_twisted.admin.rights import SERVICES, lacking
from opentera_twisted.admin.settings import ConsoleMode, Websockets
from opentera_twisted.admin.traffic import Traffic
from opentera_twisted.bus import Bus
from opentera_twisted.errors import CallError, PermissionDenied
from opentera_twisted.gateway import all_gateways
from opentera_twisted.gateway.audit import ConsoleAudit
from opentera_twisted.messages.decoding import strict
from opentera_twisted.rpc import Listening
from opentera_twisted.rpc.description import to_json
from opentera_twisted.sessions import SessionKeys

KEY_LIFETIME: Final = 60.0
"""Seconds until a key issued by the page expires."""

LONGEST_SEARCH: Final = 200
"""Characters of a search for clients, at most."""

SHOWN_UUIDS: Final = 200
"""UUIDs shown of one kind, at most."""

_GATEWAYS: Final = topics.service_rpc(topics.GATEWAY_SERVICE)


class Console:
    """Replies to the console page.

    Args:
        bus: bus for queries and calls.
        overview: state to show.
        guard: guard that holds the page token.
        mode: permissions of the page.
        websockets: known addresses of the gateway.
        audits: True writes calls and issued keys to the audit log.

    Attributes:
        traffic: watches of published messages.
        figures: figures of the procedures of all servers.
        may_write: True if the page may call procedures and issue keys.
    """

    def __init__(
        self,
        bus: Bus,
        overview: Overview,
        *,
        guard: Guard,
        mode: ConsoleMode,
        websockets: Sequence[Websockets],
        audits: bool = False,
    ) -> None:
        self.traffic = Traffic(bus, overview.own)
        self.figures = Figures(bus, overview.own)
        self.may_write = mode == "write"
        self._bus = bus
        self._overview = overview
        self._own = overview.own
        self._guard = guard
        self._websockets = websockets
        self._audit = ConsoleAudit(is_on=audits)
        self._waiting: Waiters[list[Listening]] = Waiters()  # for the list of services

    def beginning(self) -> dict[str, Any]:
        """Return the settings that the page needs when it loads."""
        return {
            "name": self._bus.name,
            "host": socket.gethostname(),
            "write": self.may_write,
            "token": self._guard.page_token,
            "session": self._guard.needs_token,
            "websockets": [
                {"scheme": websocket.scheme, "port": websocket.port}
                for websocket in self._websockets
            ],
        }

    def state(self, after: int) -> dict[str, Any]:
        """Return the program's state, and the samples after the given number."""
        return {**self._overview.state(after), "watched": self.traffic.watched}

    def hour(self) -> dict[str, Any]:
        """Return coarse samples of the last hour."""
        return {"samples": self._overview.hour(), "kept": KEPT}

    async def presence(self) -> dict[str, Any]:
        """Return the number of identities online at any gateway, and the first of their UUIDs."""
        online = await self._bus.presence.everyone()
        return {
            kind: {"total": len(uuids), "uuids": uuids[:SHOWN_UUIDS]}
            for kind, uuids in online.items()
        }

    async def services(self) -> list[dict[str, Any]]:
        """List the services and modules that listen, with one query for all concurrent requests."""
        waiting = self._waiting.wait()
        if len(self._waiting) == 1:
            Deferred.fromCoroutine(self._list())
        return [
            {
                "server": server.server,
                "description": server.description and to_json(server.description),
                "problem": server.problem,
            }
            for server in await waiting
        ]

    async def _list(self) -> None:
        found: list[Listening] | Failure
        try:
            found = await self._bus.services()
            for server in found:
                self._own.asked(topics.rpc_of(server.server))
            self._own.answered(len(found))
            self._own["calls"] += len(found)
        except PermissionDenied:
            found = Failure(lacking("the list of services", SERVICES))
        except Exception:  # noqa: BLE001 (pass any failure on to the waiting requests)
            found = Failure()
        self._waiting.fire(found)

    async def call(self, request: Call, address: str) -> dict[str, Any]:
        """Call a procedure for a user at an address; a failed call is a reply with the error."""
        clock = self._bus.link.clock
        self._own.asked(topics.rpc_of(request.server))
        self._own["calls"] += 1
        began = clock.seconds()
        answer: dict[str, Any]
        call = self._bus.call_server
        try:
            value = await call(
                request.server, request.procedure, *request.arguments, timeout=request.timeout
            )
        except CallError as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        else:
            self._own.answered(1)
            answer = _returned(value)
        seconds = clock.seconds() - began
        outcome = answer.get("error", "returned")
        self._audit.call(address, request.server, request.procedure, outcome, seconds)
        return {**answer, "seconds": seconds}

    async def gateways(self) -> list[dict[str, Any]]:
        """List the gateways of the bus."""
        self._own.asked(_GATEWAYS)
        found = await all_gateways.gateways(self._bus)
        self._own.answered(sum(gateway["link"] != "no answer" for gateway in found))
        return found

    async def clients(self, search: str) -> dict[str, Any]:
        """List the websockets at all gateways that match."""
        self._own.asked(_GATEWAYS)
        found = await all_gateways.clients(self._bus, search[:LONGEST_SEARCH])
        self._own.answered(found["gateways"])
        return found

    async def disconnect(self, request: Disconnection, address: str) -> dict[str, Any]:
        """Close the websockets of an identity for a user at an address."""
        source = f"console: {address}"
        receivers = await self._bus.presence.disconnect(request.kind, request.uuid, source)
        self._audit.disconnect(address, request.kind, request.uuid)
        return {"receivers": receivers}

    async def issue(self, request: Key, address: str) -> dict[str, Any]:
        """Issue a session key for a user at an address."""
        keys = SessionKeys(self._bus)
        key = await keys.issue(request.kind, request.uuid, ttl=KEY_LIFETIME, name=request.name)
        self._audit.key(address, request.kind, request.uuid)
        return {"key": key, "seconds": KEY_LIFETIME}


def _returned(value: Any) -> dict[str, Any]:
    try:
        return {"value": strict(value)}
    except ValueError as error:  # a browser would reject the JSON
        return {"error": "BadReply", "message": str(error)}
