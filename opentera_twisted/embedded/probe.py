"""Check for a Redis at its default address."""

from __future__ import annotations

import socket
from typing import Final, Literal

TIMEOUT: Final = 2.0
"""Seconds to wait for a connection and for an answer."""


def probe(host: str, port: int) -> Literal["redis", "other", "nothing"]:
    """Identify the server at an address; blocks, so call it before the reactor runs."""
    try:
        with socket.create_connection((host, port), timeout=TIMEOUT) as connection:
            connection.sendall(b"PING\r\n")
            answer = connection.recv(64)
    except ConnectionRefusedError:
        return "nothing"
    except OSError:
        return "other"
    # +PONG, or an error such as -NOAUTH or -LOADING
    return "redis" if answer[:1] in {b"+", b"-"} else "other"
