"""Clients that do not read, one after another, each until the gateway closes it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from uuid import uuid4

from opentera_twisted import topics
from opentera_twisted.messages import UserEvent
from opentera_twisted.messages.envelopes import tera_event
from tests.helpers.websockets import handshake

from .arena import Arena

CLIENTS = 175
EVENT = 1_000_000
"""Bytes of each event for a slow client."""


def measure_memory(progress: Callable[[str], None]) -> str:
    """Have slow clients closed at the limit, and measure the memory they leave behind.

    Args:
        progress: Called with a line of progress now and then.

    Returns:
        Memory before and after.

    Raises:
        AssertionError: A check failed, or the gateway's memory grew many times.
    """
    with Arena() as arena:
        before = arena.memory
        for number in range(CLIENTS):
            _be_slow(arena)
            if number % 25 == 24:
                progress(f"slow: {number + 1} of {CLIENTS} clients, {arena.memory // 1024} MB")
        after = arena.memory
        found = arena.check()
    return f"slow: {before // 1024} MB before, {after // 1024} MB after {CLIENTS} clients; {found}"


def _be_slow(arena: Arena) -> None:
    """Run one client until the gateway closes it."""
    uuid = str(uuid4())
    topic = topics.websocket_events("user", uuid)
    event = tera_event(topic, [UserEvent(user_uuid=uuid, user_fullname="x" * EVENT)])
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", arena.port))
        client.sendall(handshake(f"/wss/user?id={arena.key(uuid)}".encode()))
        assert client.recv(1000).startswith(b"HTTP/1.1 101 ")
        while arena.redis.pubsub_numsub(topic)[0][1]:
            arena.redis.publish(topic, event.SerializeToString())
            arena.witnessed()
