"""A raw client: it sends a case's bytes, whole or in pieces, and returns the answers."""

from __future__ import annotations

import base64
import hashlib
import secrets
import socket
import struct
from collections.abc import Iterator
from random import Random
from uuid import uuid4

import redis

from opentera_twisted.messages import ServerCommand, TeraModuleMessage
from opentera_twisted.messages.envelopes import pack
from opentera_twisted.topics import disconnect_command

from .case import KEY, NONCE, REQUEST, Case
from .frames import CLOSE, PING, PONG, TEXT, frame, read

TIMEOUT = 120
"""Timeout in seconds of each answer."""

END = b"\r\n\r\n"
ACCEPT = base64.b64encode(hashlib.sha1(NONCE + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


class Peer:
    """Runs cases against one gateway."""

    def __init__(self, port: int, server: redis.Redis) -> None:
        self._port = port
        self._redis = server
        self._beat = connect(port)
        self._beat.sendall(REQUEST.replace(KEY, self._log_in()))
        head, _, self._heard = self._head(self._beat).partition(END)
        assert head.startswith(b"HTTP/1.1 101 ")

    def close(self) -> None:
        """Disconnect."""
        self._beat.close()

    def attempt(self, case: Case, random: Random | None) -> tuple[str, ...]:
        """Run a case.

        Args:
            case: Case to run.
            random: Cuts the bytes in pieces; None sends them whole.

        Returns:
            Answers, in the form of `Case.answers`.
        """
        uuid = str(uuid4())
        with connect(self._port) as connection:
            request = (case.request or REQUEST).replace(KEY, self._log_in(uuid))
            self._send(connection, request, random if case.request else None)
            head = self._head(connection)
            head, _, rest = head.partition(END)
            if not head.startswith(b"HTTP/1.1 101 "):
                drain(connection)  # closed, or reset because data was still in flight
                assert not rest, f"a body: {rest!r}"
                return (*_answers(head, case), "end")
            if case.is_sent_away:
                rest += self._send_away(connection, uuid)
            is_sent = self._send(connection, case.frames, random)
            data, end = drain(connection)
            if not is_sent:
                end = "reset"
            return (*_answers(head, case), *_words(rest + data), end)

    def _log_in(self, uuid: str = "") -> bytes:
        key = secrets.token_hex(64)
        self._redis.set(key, uuid or str(uuid4()), ex=60)
        return key.encode()

    def _send(self, connection: socket.socket, data: bytes, random: Random | None) -> bool:
        """Send bytes; return True if the gateway read them."""
        for piece in [data] if random is None else pieces(data, random):
            try:
                connection.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                return False
            if random is not None:
                self._until_read()
        return True

    def _until_read(self) -> None:
        """Wait until the gateway has read all bytes, by a ping sent after them."""
        mark = secrets.token_bytes(8)
        self._beat.sendall(frame(PING, mark))
        while True:
            while len(self._heard) < 2 or len(self._heard) < 2 + self._heard[1]:
                received = self._beat.recv(1024)
                assert received, "the gateway has closed an orderly websocket"
                self._heard += received
            end = 2 + self._heard[1]
            opcode, payload = self._heard[0] & 0x0F, self._heard[2:end]
            self._heard = self._heard[end:]  # a ping may follow, which must be answered too
            if opcode == PING:
                self._beat.sendall(frame(PONG, payload))
            elif payload == mark:
                return

    def _send_away(self, connection: socket.socket, uuid: str) -> bytes:
        """Have the gateway close the websocket, and wait for its close frame."""
        message = TeraModuleMessage()
        message.data.append(pack(ServerCommand(type=ServerCommand.CMD_CLIENT_DISCONNECT)))
        self._redis.publish(disconnect_command(uuid), message.SerializeToString())
        data = b""
        while len(data) < 2 or len(data) < 2 + data[1]:
            received = connection.recv(1024)
            assert received, f"closed after {data!r}"
            data += received
        return data

    @staticmethod
    def _head(connection: socket.socket) -> bytes:
        data = b""
        while END not in data:
            received = connection.recv(65_536)
            assert received, f"closed after {data!r}"
            data += received
        return data


class Silence:
    """A client that sends some bytes and then falls silent."""

    def __init__(self, port: int, said: bytes) -> None:
        self._connection = connect(port)
        self._connection.sendall(said)

    def heard(self) -> bytes:
        """Wait for the gateway to end the connection; return all that it sent."""
        return drain(self._connection)[0]

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()


def connect(port: int) -> socket.socket:
    """Open a connection without delay of small writes."""
    connection = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def drain(connection: socket.socket) -> tuple[bytes, str]:
    """Return all bytes until the end, and its kind: ``end`` or ``reset``."""
    data = b""
    try:
        while received := connection.recv(65_536):
            data += received
    except ConnectionResetError:
        return data, "reset"
    return data, "end"


def pieces(data: bytes, random: Random) -> Iterator[bytes]:
    """Cut bytes at random places, mostly near the beginning, where the headers are."""
    places = range(1, len(data))
    early = range(1, min(len(data), 24))
    cuts = {random.choice(places) for _ in range(random.randint(1, 8)) if places}
    cuts |= {random.choice(early) for _ in range(random.randint(0, 6)) if early}
    last = 0
    for cut in [*sorted(cuts), len(data)]:
        yield data[last:cut]
        last = cut


def _answers(head: bytes, case: Case) -> Iterator[str]:
    """Return the status and the headers of the case."""
    first, *lines = head.decode("ascii").split("\r\n")
    yield first.split(" ")[1]
    headers = {}
    for line in lines:
        name, _, value = line.partition(": ")
        assert name.lower() not in headers, f"{name} twice"
        headers[name.lower()] = value
    if first.split(" ")[1] == "101":
        assert headers["upgrade"].lower() == "websocket"
        assert headers["connection"].lower() == "upgrade"
        assert headers["sec-websocket-accept"].encode() == ACCEPT
    for name in case.headers:
        yield f"{name}: {headers.get(name.lower(), 'none')}"


def _words(data: bytes) -> Iterator[str]:
    for opcode, payload in read(data):
        if opcode == TEXT:
            yield payload.decode()
        elif opcode == PONG:
            yield f"pong {payload.hex()}"
        elif opcode == CLOSE:
            yield f"close {struct.unpack_from('!H', payload)[0]}" if payload else "close"
            payload[2:].decode()
        elif opcode != PING:  # the gateway's own, every ten seconds
            yield f"opcode {opcode}"
