"""Opens idle websockets with session keys and answers their pings: bare sockets, one selector."""

from __future__ import annotations

import argparse
import json
import secrets
import selectors
import socket
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from time import perf_counter
from uuid import uuid4

import redis

from opentera_twisted import topics
from opentera_twisted.messages import TeraModuleMessage, UserEvent

REPORTS = topics.module_messages(topics.USER_MANAGER_MODULE)

TIMEOUT = 30.0
"""Seconds to wait for the gateway to do anything at all."""

HANDSHAKES = 32
"""Handshakes under way at a time: fewer than a listening socket queues."""

REQUEST = (
    "GET /wss/user?id={key} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
    "Sec-WebSocket-Version: 13\r\n\r\n"
)

PING = 0x89
PONG = b"\x8a"
MASKED = 0x80
NO_MASK = bytes(4)


def issue_keys(client: redis.Redis, count: int) -> list[str]:
    """Session keys of so many users, valid for ten minutes."""
    keys = [f"user.{secrets.token_urlsafe(32)}" for _ in range(count)]
    with client.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.set(key, str(uuid4()), ex=600)
        pipeline.execute()
    return keys


def wait_for_reports(pubsub: redis.client.PubSub, count: int) -> float:
    """Wait until so many users are reported as connected; the time of the last report."""
    connected: set[str] = set()
    while len(connected) < count:
        message = pubsub.get_message(timeout=TIMEOUT)
        assert message is not None, f"{len(connected)} of {count} users are reported"
        for packed in TeraModuleMessage.FromString(message["data"]).data:
            event = UserEvent()
            assert packed.Unpack(event)
            assert event.type == UserEvent.USER_CONNECTED
            connected.add(event.user_uuid)
    return perf_counter()


class Clients:
    """Websockets of one gateway.

    Args:
        port: of the gateway on this machine.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._selector = selectors.DefaultSelector()

    def open(self, keys: list[str]) -> None:
        """Log in with each key; returns when all websockets are open."""
        waiting = iter(keys)
        for key in islice(waiting, HANDSHAKES):
            self._connect(key)
        opened = 0
        while opened < len(keys):
            ready = self._selector.select(TIMEOUT)
            assert ready, f"{opened} of {len(keys)} websockets are open"
            for chosen, _ in ready:
                if chosen.data == "open":
                    self._answer_pings(chosen)
                    continue
                self._check_accepted(chosen)
                opened += 1
                for following in islice(waiting, 1):
                    self._connect(following)

    def stay_open(self) -> None:
        """Answer pings until standard input is closed."""
        self._selector.register(sys.stdin, selectors.EVENT_READ, "end")
        while True:
            for chosen, _ in self._selector.select():
                if chosen.data == "end":
                    return
                self._answer_pings(chosen)

    def _connect(self, key: str) -> None:
        connection = socket.create_connection(("127.0.0.1", self._port), TIMEOUT)
        connection.sendall(REQUEST.format(key=key).encode())
        self._selector.register(connection, selectors.EVENT_READ, "handshake")

    def _check_accepted(self, chosen: selectors.SelectorKey) -> None:
        connection = chosen.fileobj
        assert isinstance(connection, socket.socket)
        answer = connection.recv(4096)
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        assert answer.endswith(b"\r\n\r\n"), answer
        self._selector.modify(connection, selectors.EVENT_READ, "open")

    @staticmethod
    def _answer_pings(chosen: selectors.SelectorKey) -> None:
        connection = chosen.fileobj
        assert isinstance(connection, socket.socket)
        frames = connection.recv(4096)
        assert frames, "the gateway closed a websocket"
        while frames:
            first, length = frames[:2]
            assert first == PING, f"not a ping: {frames!r}"
            payload, frames = frames[2 : 2 + length], frames[2 + length :]
            connection.sendall(PONG + bytes([MASKED | length]) + NO_MASK + payload)


def open_all(clients: Clients, client: redis.Redis, count: int) -> float:
    """Open websockets; the seconds until the last of them is reported."""
    keys = issue_keys(client, count)
    pubsub = client.pubsub()  # type: ignore[no-untyped-call]
    pubsub.subscribe(REPORTS)
    pubsub.get_message(timeout=TIMEOUT)
    with ThreadPoolExecutor(1) as executor:
        start = perf_counter()
        reported: Future[float] = executor.submit(wait_for_reports, pubsub, count)
        clients.open(keys)
        return reported.result() - start


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--redis-port", type=int, required=True)
    parser.add_argument("--gateway-port", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    options = parser.parse_args()
    clients = Clients(options.gateway_port)
    with redis.Redis(port=options.redis_port, protocol=2) as client:
        seconds = open_all(clients, client, options.count)
    print(json.dumps({"opened": options.count, "seconds": seconds}), flush=True)
    clients.stay_open()
