"""Settings of the admin endpoint and its page."""

from __future__ import annotations

import re
from typing import Final, Literal

from attrs import frozen

ConsoleMode = Literal["read", "write", "off"]
"""What the console page can do: only show, also call and issue keys, or not be there."""

_TCP: Final = re.compile(r"(tcp6?|ssl):(?:port=)?(\d+)(?::|$)", re.ASCII)


@frozen
class Websockets:
    """Where a test websocket of the page connects, unless its user says otherwise.

    Attributes:
        scheme: ``ws`` or ``wss``.
        port: on the host that the page came from.
    """

    scheme: str
    port: int

    @classmethod
    def of(cls, endpoint: str, *, certificate: bool) -> Websockets | None:
        """Where an endpoint is reached, as far as its string tells.

        Args:
            endpoint: as Twisted reads it.
            certificate: whether TLS is spoken on a ``tcp:`` endpoint.
        """
        found = _TCP.match(endpoint)
        if found is None or found[2] == "0":
            return None
        return cls("wss" if certificate or found[1] == "ssl" else "ws", int(found[2]))
