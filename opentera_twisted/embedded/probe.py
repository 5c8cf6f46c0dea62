"""What listens where programs look for Redis first."""

from __future__ import annotations

import socket
from typing import Final, Literal

TIMEOUT: Final = 2.0
"""Seconds that what listens there may take to answer."""


def probe(host: str, port: int) -> Literal["redis", "other", "nothing"]:
    """What listens at an address; asked before the reactor runs, so it may wait."""
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
