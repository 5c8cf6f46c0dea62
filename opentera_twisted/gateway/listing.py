"""A gateway and its clients as JSON values, for operators at any place of the bus."""

from __future__ import annotations

import os
import socket
import time
from heapq import nlargest
from importlib.metadata import version
from itertools import islice
from typing import Any, Final

from opentera_twisted.gateway.gateway import Gateway
from opentera_twisted.gateway.protocol import ClientProtocol
from opentera_twisted.link import Link
from opentera_twisted.sessions import Identity

MOST: Final = 500
"""Clients in one list, at most."""

BATCH: Final = 500
"""Clients searched between two waits for a slot in the gateway's intake."""


class Listing:
    """Lists one gateway and its clients.

    Args:
        gateway: gateway to list.
        link: the gateway's link.
        name: name of the program.
    """

    def __init__(self, gateway: Gateway, link: Link, name: str) -> None:
        self._gateway = gateway
        self._link = link
        self._name = name
        self._started = time.time()
        self._host = socket.gethostname()
        self._version = version("opentera-twisted")

    def summary(self) -> dict[str, Any]:
        """Return the gateway's place, version, link and counts since its start."""
        gateway, link = self._gateway, self._link
        return {
            "gateway": gateway.lease,
            "name": self._name,
            "host": self._host,
            "process": os.getpid(),
            "version": self._version,
            "started": self._started,
            "link": link.status,
            "reconnects": link.reconnects,
            "gaps": link.gaps,
            "clients": dict(gateway.clients),
            "queued": gateway.backlog,
            "away": gateway.recovery.held,
            "delivered": gateway.delivered,
            "logins": dict(gateway.logins),
            "limited": {name: count for name, count in gateway.limited.items() if count},
        }

    async def clients(self, search: str = "", most: int = MOST) -> dict[str, Any]:
        """Return the open websockets that match; the search leaves time for clients' work.

        Args:
            search: part of a kind, UUID, name or address; empty matches all.
            most: clients to return; `MOST` at most.
        """
        factory = self._gateway.factory
        wanted, most = search.lower(), max(0, min(most, MOST))
        matching, latest = 0, list[ClientProtocol]()
        clients = iter(list(factory.connections))
        while batch := list(islice(clients, BATCH)):
            await factory.intake.turn()
            found = [client for client in batch if _matches(client, wanted)]
            matching += len(found)
            latest = nlargest(most, [*latest, *found], key=lambda client: client.opened_at)
        return {
            "gateway": self._gateway.lease,
            "total": sum(self._gateway.clients.values()),
            "matching": matching,
            # Some may have left in the meantime.
            "clients": [self._row(client, client.identity) for client in latest if client.identity],
        }

    def _row(self, client: ClientProtocol, identity: Identity) -> dict[str, Any]:
        seconds = self._link.clock.seconds() - client.opened_at
        return {
            "kind": identity.kind,
            "uuid": identity.uuid,
            "name": identity.name or "",
            "address": client.address.address,
            "since": time.time() - seconds,
            "queued": client.backlog,
            "recovery": client.session is not None,
        }


def _matches(client: ClientProtocol, wanted: str) -> bool:
    identity = client.identity
    if not client.was_opened or identity is None:
        return False
    texts = (identity.kind, identity.uuid, identity.name or "", client.address.address)
    return not wanted or any(wanted in text.lower() for text in texts)
