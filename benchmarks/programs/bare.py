"""A bare blocking connection to Redis: bytes out, and bytes in that are known beforehand."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

SIZES: Final[Mapping[str, Callable[[str], Any]]] = {
    "port": int,
    "topic": str.encode,
    "reply_to": str.encode,
    "request_size": int,
    "reply_size": int,
}
"""Options of both ends: the channels, and how many bytes either way."""


def array(*items: bytes) -> bytes:
    """A command, or a message that is delivered: both are arrays of bulk strings.

    Source: Redis serialization protocol (RESP).
    """
    bulks = (b"$%d\r\n%b\r\n" % (len(item), item) for item in items)
    return b"*%d\r\n" % len(items) + b"".join(bulks)


class Connection:
    """One TCP connection without delay."""

    def __init__(self, port: int, timeout: float | None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        """Write all of it."""
        self._socket.sendall(data)

    def expect(self, data: bytes) -> None:
        """Read exactly these bytes."""
        received = self._socket.recv(len(data))
        while len(received) < len(data):
            more = self._socket.recv(len(data) - len(received))
            assert more, "Redis closed the connection"
            received += more
        assert received == data, (received, data)

    def subscribe(self, channel: bytes) -> None:
        """Receive what is published on a channel."""
        self.send(array(b"SUBSCRIBE", channel))
        self.expect(b"*3\r\n$9\r\nsubscribe\r\n$%d\r\n%b\r\n:1\r\n" % (len(channel), channel))
