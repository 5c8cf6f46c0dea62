"""What the console page asks, answered with objects that JSON can hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from opentera_twisted._internal.waiters import Waiters
from opentera_twisted.admin.guard import Guard
from opentera_twisted.admin.overview import Overview
from opentera_twisted.admin.requests import Call, Key
from opentera_twisted.admin.rights import SERVICES, lacking
from opentera_twisted.admin.settings import ConsoleMode, Websockets
from opentera_twisted.admin.traffic import Traffic
from opentera_twisted.bus import Bus
from opentera_twisted.errors import CallError, PermissionDenied
from opentera_twisted.messages.decoding import strict
from opentera_twisted.rpc import Listening
from opentera_twisted.rpc.description import to_json
from opentera_twisted.sessions import SessionKeys

KEY_LIFETIME: Final = 60.0
"""Seconds that a key of the page is good for."""

SHOWN_UUIDS: Final = 200
"""Of a kind, at most."""


class Console:
    """Answers the page.

    Args:
        bus: that it asks, and calls with.
        overview: of what it shows.
        guard: whose page token the page gets.
        mode: what it may do.
        websockets: where the gateway listens, when that is known.

    Attributes:
        traffic: what is published, while somebody watches.
        may_write: whether it may call procedures and issue keys.
    """

    def __init__(
        self,
        bus: Bus,
        overview: Overview,
        *,
        guard: Guard,
        mode: ConsoleMode,
        websockets: Sequence[Websockets],
    ) -> None:
        self.traffic = Traffic(bus)
        self.may_write = mode == "write"
        self._bus = bus
        self._overview = overview
        self._guard = guard
        self._websockets = websockets
        self._waiting: Waiters[list[Listening]] = Waiters()  # for the services that listen

    def beginning(self) -> dict[str, Any]:
        """What the page needs once."""
        return {
            "write": self.may_write,
            "token": self._guard.page_token,
            "session": self._guard.needs_token,
            "websockets": [{"scheme": one.scheme, "port": one.port} for one in self._websockets],
        }

    def state(self, after: int) -> dict[str, Any]:
        """How all is, and the samples after the one of that number."""
        return {**self._overview.state(after), "watched": self.traffic.watched}

    async def presence(self) -> dict[str, Any]:
        """Who is online at any gateway: how many, and the first of their UUIDs."""
        online = await self._bus.presence.everyone()
        return {
            kind: {"total": len(uuids), "uuids": uuids[:SHOWN_UUIDS]}
            for kind, uuids in online.items()
        }

    async def services(self) -> list[dict[str, Any]]:
        """Which services and modules listen; asked of them once for all that wait."""
        waiting = self._waiting.wait()
        if len(self._waiting) == 1:
            Deferred.fromCoroutine(self._list())
        return [
            {
                "server": one.server,
                "description": None if one.description is None else to_json(one.description),
                "problem": one.problem,
            }
            for one in await waiting
        ]

    async def _list(self) -> None:
        found: list[Listening] | Failure
        try:
            found = await self._bus.services()
        except PermissionDenied:
            found = Failure(lacking("who listens", SERVICES))
        except Exception:  # noqa: BLE001 (whatever it is, who waits is told)
            found = Failure()
        self._waiting.fire(found)

    async def call(self, request: Call) -> dict[str, Any]:
        """Call a procedure; what it answers with an error is an answer too."""
        clock = self._bus.link.clock
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
            answer = _returned(value)
        return {**answer, "seconds": clock.seconds() - began}

    async def issue(self, request: Key) -> dict[str, Any]:
        """Issue a session key, for the page that asks and for nobody else."""
        keys = SessionKeys(self._bus)
        key = await keys.issue(request.kind, request.uuid, ttl=KEY_LIFETIME, name=request.name)
        return {"key": key, "seconds": KEY_LIFETIME}


def _returned(value: Any) -> dict[str, Any]:
    try:
        return {"value": strict(value)}
    except ValueError as error:  # no browser would show it
        return {"error": "BadReply", "message": str(error)}
