"""A gateway and its clients as JSON values, for operators at any place of the bus."""

from __future__ import annotations

import os
import socket
import time
from importlib.metadata import version
from typing import Any, Final

from opentera_twisted.gateway.gateway import Gateway
from opentera_twisted.gateway.protocol import ClientProtocol
from opentera_twisted.link import Link

MOST: Final = 500
"""Clients in one list, at most."""


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
            "reconnects": {
                name: max(counts.connected - 1, 0) for name, counts in link.statistics.items()
            },
            "gaps": link.gaps,
            "clients": dict(gateway.clients),
            "queued": gateway.backlog,
            "away": gateway.recovery.held,
            "delivered": gateway.delivered,
            "logins": dict(gateway.logins),
            "limited": {name: count for name, count in gateway.limited.items() if count},
        }

    def clients(self, search: str = "", most: int = MOST) -> dict[str, Any]:
        """Return the open websockets that match.

        Args:
            search: part of a kind, UUID, name or address; empty matches all.
            most: clients to return; `MOST` at most.
        """
        wanted = search.lower()
        found = [row for row in map(self._row, self._open()) if _matches(row, wanted)]
        found.sort(key=lambda row: row["since"], reverse=True)
        return {
            "gateway": self._gateway.lease,
            "total": sum(self._gateway.clients.values()),
            "matching": len(found),
            "clients": found[: max(0, min(most, MOST))],
        }

    def _open(self) -> list[ClientProtocol]:
        clients = self._gateway.factory.connections
        return [client for client in clients if client.was_opened and client.identity is not None]

    def _row(self, client: ClientProtocol) -> dict[str, Any]:
        identity = client.identity
        assert identity is not None  # noqa: S101 (selected before)
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


def _matches(row: dict[str, Any], wanted: str) -> bool:
    texts = (row["kind"], row["uuid"], row["name"], row["address"])
    return not wanted or any(wanted in text.lower() for text in texts)
