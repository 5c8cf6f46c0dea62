"""Settings of the admin endpoint and its page."""

from __future__ import annotations

import re
from typing import Final, Literal

from attrs import frozen

ConsoleMode = Literal["read", "write", "off"]
"""Console page: read-only, also calling procedures and issuing keys, or disabled."""

_TCP: Final = re.compile(r"(tcp6?|ssl):(?:port=)?(\d+)(?::|$)", re.ASCII)


@frozen
class Websockets:
    """Default address of the page's test websocket.

    Attributes:
        scheme: ``ws`` or ``wss``.
        port: port on the page's host.
    """

    scheme: str
    port: int

    @classmethod
    def of(cls, endpoint: str, *, certificate: bool) -> Websockets | None:
        """Derive the address from an endpoint; None if the endpoint does not name a TCP port.

        Args:
            endpoint: Twisted server endpoint.
            certificate: True if a ``tcp:`` endpoint uses TLS.
        """
        found = _TCP.match(endpoint)
        if found is None or found[2] == "0":
            return None
        return cls("wss" if certificate or found[1] == "ssl" else "ws", int(found[2]))
