"""A fuzzer of handshakes and frames: hostile websocket clients."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from collections import deque
from random import Random

from tests.conformance.frames import CLOSE, PING, PONG, TEXT, close, frame
from tests.helpers.websockets import handshake

from .arena import Arena
from .bytes import a_uuid, damaged, junk, shown

LEFT_OPEN = 40
"""Connections left open at a time."""

_HEADERS = [
    b"Sec-WebSocket-Version: 1_3", b"Sec-WebSocket-Version: 8", b"Content-Length: 99999999999",
    b"Transfer-Encoding: chunked", b"Host: 127.0.0.1", b"Origin: http://\xff:0", b"Origin: null",
    b"Origin: http://[::1%25eth0]:99999", b"X-Forwarded-For: fe80::1%eth0, ' OR 1",
    b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99999999999999",
    b"Sec-WebSocket-Extensions: " + b"permessage-deflate," * 300, b"Expect: 100-continue",
    b"Sec-WebSocket-Protocol: " + b"a," * 500, b"Connection: close", b"Upgrade: h2c", b"a" * 9000,
    b"Cookie: " + b"x" * 70_000, b": x", b" folded: x", b"\0: \0", b"Sec-WebSocket-Key: x",
]  # fmt: skip
_PATHS = [
    b"/", b"//wss/user", b"/wss/user/", b"/wss/%75ser", b"/wss/admin", b"*", b"/wss/user?id=%",
    b"http://[::1/wss/user", b"/wss/user?" + b"id=x&" * 500, b"/wss/../wss/device", b"/wss/user#x",
]  # fmt: skip
_OTHERS = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", b"\r\n\r\nGET ", b"*1\r\n$8\r\nFLUSHALL\r\n",
    b"CONNECT 127.0.0.1:6379 HTTP/1.1\r\n\r\n", b"GET /wss/user HTTP/0.9\r\n\r\n",
    b"\r\n" * 5000,
]  # fmt: skip


class Clients:
    """Opens a connection for each step and breaks rules on it."""

    name = "clients"

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._open: deque[socket.socket] = deque()

    def attack(self, random: Random, sent: list[str]) -> None:
        """Send a hostile client's bytes, whole or in pieces, then leave in a random way."""
        self._arena.identities.random = None  # in this attack, only clients are hostile
        uuid = a_uuid(random)
        key = self._arena.key(uuid)
        logs_in = random.random() < 0.6
        head = handshake(f"/wss/user?id={key}".encode()) if logs_in else self._head(random, key)
        waits = logs_in and random.random() < 0.8
        frames = _frames(random) if logs_in or random.random() < 0.2 else b""
        sent.append(f"{shown(head)}, {'then' if waits else 'at once'} {shown(frames)}")
        connection = self._connect(random)
        if waits:
            connection.sendall(head)
            answer = connection.recv(4096)
            assert answer.startswith(b"HTTP/1.1 101 "), f"a good login was answered {answer!r}"
        else:
            frames = head + frames
        connection.setblocking(False)
        pieces = random.choice([1, 1, 2, 20])
        size = max(1, len(frames) // pieces)
        with contextlib.suppress(OSError):  # closed, or it reads no more
            for start in range(0, len(frames), size):
                connection.send(frames[start : start + size])
            connection.recv(1 << 20)
        self._leave(random, connection)

    def calm(self) -> None:
        """Close all connections."""
        while self._open:
            self._open.popleft().close()

    def _connect(self, random: Random) -> socket.socket:
        # Other addresses than the witness's: limits per address are not under test.
        source = None
        if sys.platform == "linux":
            source = (f"127.{random.randint(1, 250)}.{random.randint(0, 250)}.1", 0)
        connection = socket.create_connection(("127.0.0.1", self._arena.port), 60, source)
        if random.random() < 0.2:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        return connection

    def _leave(self, random: Random, connection: socket.socket) -> None:
        way = random.choice(["close", "reset", "half", "stay", "stay"])
        if way == "reset":
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        if way in {"close", "reset"}:
            connection.close()
            return
        if way == "half":
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
        self._open.append(connection)
        if len(self._open) > LEFT_OPEN:
            self._open.popleft().close()

    @staticmethod
    def _head(random: Random, key: str) -> bytes:
        """Return a malformed handshake, or other bytes."""
        path = random.choice(
            [f"/wss/user?id={key}".encode(), f"/wss/device?id={key}".encode(), *_PATHS]
        )
        good = handshake(path, *random.sample(_HEADERS, random.randrange(3)))
        return random.choice(
            [
                lambda: good,
                lambda: damaged(random, good),
                lambda: damaged(random, damaged(random, good)),
                lambda: good[: random.randrange(len(good))],
                lambda: good * random.randint(2, 5),
                lambda: random.choice(_OTHERS) + random.choice([b"", good]),
                lambda: good.replace(b"\r\n", random.choice([b"\n", b"\r", b"\r\r\n"])),
                lambda: good.replace(
                    b"GET", random.choice([b"POST", b"get", b"HEAD", b"G" * 9000])
                ),
                lambda: junk(random),
            ]
        )()


def _frames(random: Random) -> bytes:
    """Return some frames, most of them malformed."""
    data = b"".join(_frame(random) for _ in range(random.choice([0, 1, 3, 3, 30])))
    if random.random() < 0.1:
        data += frame(random.choice([TEXT, PING, PONG, 0]), b"") * random.randrange(10_000)
    return damaged(random, data) if random.random() < 0.3 else data


def _frame(random: Random) -> bytes:
    if random.random() < 0.1:
        return random.choice(
            [close(random.randrange(65536), junk(random)[:123]), frame(CLOSE, b"x")]
        )
    if random.random() < 0.5:
        return frame(random.choice([TEXT, PING, PONG]), random.randbytes(random.randrange(100)))
    payload = random.choice([b"", b"x", "é".encode()[:1], random.randbytes(300), junk(random)])
    claim = random.choice([None, None, None, 0, 125, 126, 70_000, 2**40, 2**63])
    length = len(payload) if claim is None else claim
    forms = [form for form, most in ((7, 125), (16, 65_535), (64, 2**64)) if length <= most]
    return frame(
        random.randrange(16),
        payload,
        fin=random.random() < 0.7,
        rsv=random.choice([0, 0, 0, 1, 4, 7]),
        mask=random.choice([None, b"\0\0\0\0", random.randbytes(4), random.randbytes(4)]),
        form=random.choice(forms),
        claim=claim,
    )
