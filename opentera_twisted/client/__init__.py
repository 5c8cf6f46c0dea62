"""A websocket client of the gateway, for devices and programs.

events     events, and the frames that carry them
address    URL of a gateway, and its endpoint
login      credentials of the next handshake: a session key or a recovery token
back_off   delays between attempts
websocket  the Autobahn edge: handshake, frames, pings, closing
queue      events that wait for ``async for``
client     `GatewayClient`
blocking   `BlockingGatewayClient`, the same for scripts

Each name is loaded on first use.

Source: docs/reference/wire.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from opentera_twisted._internal.lazy import lazy

if TYPE_CHECKING:
    from opentera_twisted.client.blocking import BlockingGatewayClient
    from opentera_twisted.client.client import GatewayClient
    from opentera_twisted.client.events import Event
    from opentera_twisted.errors import (
        Disconnected,
        HandshakeFailed,
        KeySupplierFailed,
        WebSocketClosed,
    )

__all__ = [
    "BlockingGatewayClient",
    "Disconnected",
    "Event",
    "GatewayClient",
    "HandshakeFailed",
    "KeySupplierFailed",
    "WebSocketClosed",
]

_MODULES: Final[Mapping[str, str]] = {
    "BlockingGatewayClient": "client.blocking",
    "Event": "client.events",
    "GatewayClient": "client.client",
}
"""Modules of the names that are not in ``errors``."""

if not TYPE_CHECKING:  # mypy would treat every name as existing
    __getattr__, __dir__ = lazy(globals(), __all__, _MODULES)
