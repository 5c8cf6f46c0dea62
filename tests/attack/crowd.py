"""Hostile clients at full speed: ``python -m tests.attack.crowd REDIS PORT KIND``.

They run in their own process, so that they share no interpreter with the honest client.
"""

from __future__ import annotations

import contextlib
import secrets
import selectors
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import Final, Literal
from uuid import uuid4

import redis
from attrs import frozen

from opentera_twisted import topics
from opentera_twisted.embedded.process import guarded
from opentera_twisted.messages import ServerCommand, UserEvent
from opentera_twisted.messages.envelopes import module_message, tera_event
from tests.conformance.frames import BINARY, CONTINUATION, PING, TEXT, close, frame
from tests.helpers.processes import ENVIRONMENT, UNMEASURED
from tests.helpers.support import ROOT
from tests.helpers.websockets import handshake

CLIENTS = 300
ONE_USER = str(uuid4())
SECONDS_OF_SLOWNESS = 4.0
EVENTS_PER_SECOND = 40
"""Events of 16 kB for clients that do not read."""


@frozen
class Attack:
    """Behaviour of each client of a crowd.

    Attributes:
        flood: Bytes to send once the websocket is open.
        piece: Bytes of the flood per segment.
        together: Joint action when all are open: none; send the flood once; break the
            connections; be closed by a command; or stop reading.
        is_hasty: Send the flood with the handshake.
        has_key: Use a valid session key.
        resets: Reset the connection instead of logging in.
        is_one_user: Log all clients in as one user.
    """

    flood: bytes = b""
    piece: int = 1 << 20
    together: Literal["", "send", "break", "kick", "stop reading"] = ""
    is_hasty: bool = False
    has_key: bool = True
    resets: bool = False
    is_one_user: bool = False


_FRAGMENT: Final = frame(CONTINUATION, fin=False)

ATTACKS: Final[Mapping[str, Attack]] = {
    "empty text frames": Attack(frame(TEXT) * 10_000),
    "pings": Attack(frame(PING) * 10_000),
    "continuation frames": Attack(frame(TEXT, fin=False) + _FRAGMENT * 10_000),
    "long empty fragments": Attack(
        frame(TEXT, fin=False) + frame(CONTINUATION, fin=False, form=64) * 5_000
    ),
    "pings of one user": Attack(frame(PING) * 10_000, is_one_user=True),
    "pings with handshake": Attack(frame(PING) * 10_000, is_hasty=True),
    "large frames": Attack(frame(BINARY, secrets.token_bytes(60_000)) * 4),
    "segments of one byte": Attack(frame(TEXT, b"x" * 20) * 100, piece=1),
    "handshakes": Attack(),
    "bad session keys": Attack(has_key=False),
    "resets": Attack(resets=True),
    "closes at once": Attack(close(1000), together="send"),
    "faults at once": Attack(frame(TEXT, b"\xff"), together="send"),
    "breaks at once": Attack(together="break"),
    "kicks at once": Attack(together="kick", is_one_user=True),
    "slow readers": Attack(together="stop reading", is_one_user=True),
}
"""Kinds of attack by name."""


@contextmanager
def crowd(redis_port: int, port: int, kind: str) -> Iterator[None]:
    """Run hostile clients until the end of the block."""
    arguments = ("-m", __name__, str(redis_port), str(port), kind)
    command = guarded("prctl", sys.executable, *arguments)
    with subprocess.Popen(
        command, cwd=ROOT, env={**ENVIRONMENT, **UNMEASURED}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "all are here\n"
            yield
            assert process.poll() is None, "the hostile clients ended early"
        finally:
            process.kill()


class _Hostile:
    """A client that reconnects whenever it is closed."""

    def __init__(self, crowd: _Crowd) -> None:
        self._crowd = crowd
        self._come()

    def _come(self) -> None:
        self.is_open = False
        self._socket = socket.socket()
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._crowd.attack.together == "stop reading":
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        if sys.platform == "linux":  # limits per address are not under test
            self._socket.bind((self._crowd.address(), 0))
        self._socket.connect_ex(("127.0.0.1", self._crowd.port))
        self._left = memoryview(handshake(f"/wss/user?id={self._crowd.key()}".encode()))
        events = selectors.EVENT_READ | selectors.EVENT_WRITE
        self._crowd.selector.register(self._socket, events, self.work)

    def work(self, mask: int) -> None:
        """Read and write as far as the socket allows."""
        try:
            if mask & selectors.EVENT_READ:
                self._read(self._socket.recv(1 << 16))
            elif mask & selectors.EVENT_WRITE:
                self._write()
        except BlockingIOError:
            pass
        except OSError:
            self.again()

    def strike(self) -> None:
        """Send the joint flood, or break the connection."""
        self.is_open = False
        if self._crowd.attack.together == "break":
            self.again()
        with contextlib.suppress(OSError):
            self._socket.send(self._crowd.attack.flood)

    def again(self) -> None:
        """Disconnect and reconnect."""
        with contextlib.suppress(KeyError):
            self._crowd.selector.unregister(self._socket)
        self._socket.close()
        self._come()

    def _read(self, received: bytes) -> None:
        attack = self._crowd.attack
        if not received or not (attack.flood or attack.together):
            self.again()
        elif not self.is_open:
            if not received.startswith(b"HTTP/1.1 101 "):
                self.again()
                return
            self.is_open = True
            if attack.together == "stop reading":
                self._crowd.selector.unregister(self._socket)
            elif attack.flood and not attack.together:
                events = selectors.EVENT_READ | selectors.EVENT_WRITE
                self._crowd.selector.modify(self._socket, events, self.work)

    def _write(self) -> None:
        attack = self._crowd.attack
        if attack.resets:
            reset = struct.pack("ii", 1, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            self.again()
            return
        if not self._left:
            self._left = memoryview(attack.flood)
        self._left = self._left[self._socket.send(self._left[: attack.piece]) :]
        if not self._left and not (self.is_open or attack.is_hasty):
            self._crowd.selector.modify(self._socket, selectors.EVENT_READ, self.work)


class _Crowd:
    """Base of hostile clients."""

    def __init__(self, redis_port: int, port: int, attack: Attack) -> None:
        self.port = port
        self.attack = attack
        self.selector = selectors.DefaultSelector()
        self._redis = redis.Redis(port=redis_port, protocol=2)
        self._keys: list[str] = []
        self._number = 0
        self._clients: list[_Hostile] = []
        self._until = self._published = 0.0

    def gather(self) -> None:
        """Connect all clients."""
        self._clients = [_Hostile(self) for _ in range(CLIENTS)]

    def key(self) -> str:
        """Return a session key."""
        if not self.attack.has_key:
            return f"user.{secrets.token_urlsafe(32)}"
        if not self._keys:
            self._keys = [f"user.{secrets.token_urlsafe(32)}" for _ in range(1000)]
            one = self.attack.is_one_user
            self._redis.mset({key: ONE_USER if one else str(uuid4()) for key in self._keys})
            for key in self._keys:
                self._redis.expire(key, 60)
        return self._keys.pop()

    def address(self) -> str:
        """Return a local source address."""
        self._number += 1
        return f"127.9.{self._number // 250 % 250}.{self._number % 250 + 1}"

    def work(self) -> None:
        """Process ready sockets and due actions."""
        for key, mask in self.selector.select(0.01):
            work: Callable[[int], None] = key.data
            with contextlib.suppress(KeyError):
                work(mask)
        if self._until:
            self._be_slow()
        elif self.attack.together and all(client.is_open for client in self._clients):
            self._strike()

    def _strike(self) -> None:
        if self.attack.together in {"send", "break"}:
            for client in self._clients:
                client.strike()
        elif self.attack.together == "kick":
            topic = topics.disconnect_command(ONE_USER)
            command = ServerCommand(type=ServerCommand.CMD_CLIENT_DISCONNECT)
            self._redis.publish(topic, module_message("x", topic, [command]).SerializeToString())
            for client in self._clients:
                client.is_open = False
        else:
            self._until = monotonic() + SECONDS_OF_SLOWNESS

    def _be_slow(self) -> None:
        now = monotonic()
        if now > self._until:
            self._until = 0.0
            for client in self._clients:
                client.again()
        elif now > self._published + 1 / EVENTS_PER_SECOND:
            self._published = now
            topic = topics.websocket_events("user", ONE_USER)
            event = UserEvent(user_uuid=ONE_USER, user_fullname="x" * 16_000)
            self._redis.publish(topic, tera_event(topic, [event]).SerializeToString())


def main(redis_port: str, port: str, kind: str) -> None:
    """Attack until killed; report when all have begun."""
    crowd = _Crowd(int(redis_port), int(port), ATTACKS[kind])
    crowd.gather()
    sys.stdout.write("all are here\n")
    sys.stdout.flush()
    while True:
        crowd.work()


if __name__ == "__main__":
    main(*sys.argv[1:])
