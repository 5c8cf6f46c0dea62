"""Hostile clients at full speed: ``python -m tests.attack.crowd REDIS PORT KIND``.

They are a process of their own, so that they and the honest client do not share one interpreter.
"""

from __future__ import annotations

import contextlib
import secrets
import selectors
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import redis

from tests.conformance.frames import CONTINUATION, PING, TEXT, frame
from tests.helpers.processes import ENVIRONMENT
from tests.helpers.support import ROOT
from tests.helpers.websockets import handshake

CLIENTS = 300
ONE_USER = str(uuid4())

FLOODS = {
    "empty text frames": frame(TEXT) * 10_000,
    "pings": frame(PING) * 10_000,
    "continuation frames": frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * 10_000,
    "handshakes": b"",
}
"""By kind of attack, bytes that each client sends again and again; none: it only opens."""


@contextmanager
def crowd(redis_port: int, port: int, kind: str) -> Iterator[None]:
    """Hostile clients at work, until the end of the block."""
    command = [sys.executable, "-m", __name__, str(redis_port), str(port), kind]
    with subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "all are here\n"
            yield
            assert process.poll() is None, "the hostile clients have ended by themselves"
        finally:
            process.kill()


class _Hostile:
    """One client, which comes again whenever it is thrown out."""

    def __init__(self, crowd: _Crowd) -> None:
        self._crowd = crowd
        self._come()

    def _come(self) -> None:
        self._socket = socket.socket()
        self._socket.setblocking(False)
        if sys.platform == "linux":  # no limit of an address is what is tried
            self._socket.bind((self._crowd.address(), 0))
        self._socket.connect_ex(("127.0.0.1", self._crowd.port))
        self._left = memoryview(handshake(f"/wss/user?id={self._crowd.key()}".encode()))
        events = selectors.EVENT_READ | selectors.EVENT_WRITE
        self._crowd.selector.register(self._socket, events, self.work)

    def work(self, mask: int) -> None:
        """Read what came, and write what goes."""
        try:
            if mask & selectors.EVENT_READ and self._is_over(self._socket.recv(1 << 16)):
                self._again()
            elif mask & selectors.EVENT_WRITE:
                if not self._left:
                    self._left = memoryview(self._crowd.flood)
                self._left = self._left[self._socket.send(self._left) :]
                if not self._left and not self._crowd.flood:
                    self._crowd.selector.modify(self._socket, selectors.EVENT_READ, self.work)
        except BlockingIOError:
            pass
        except OSError:
            self._again()

    def _is_over(self, received: bytes) -> bool:
        return not received or not self._crowd.flood

    def _again(self) -> None:
        self._crowd.selector.unregister(self._socket)
        self._socket.close()
        self._come()


class _Crowd:
    """Base of hostile clients."""

    def __init__(self, redis_port: int, port: int, flood: bytes) -> None:
        self.port = port
        self.flood = flood
        self.selector = selectors.DefaultSelector()
        self._redis = redis.Redis(port=redis_port, protocol=2)
        self._keys: list[str] = []
        self._number = 0

    def key(self) -> str:
        """A good session key of one user, whose clients they all are."""
        if not self._keys:
            self._keys = [f"user.{secrets.token_urlsafe(32)}" for _ in range(1000)]
            self._redis.mset(dict.fromkeys(self._keys, ONE_USER))
            for key in self._keys:
                self._redis.expire(key, 60)
        return self._keys.pop()

    def address(self) -> str:
        """An address of this machine to come from."""
        self._number += 1
        return f"127.9.{self._number // 250 % 250}.{self._number % 250 + 1}"


def main(redis_port: str, port: str, kind: str) -> None:
    """Attack until killed; say when all have begun."""
    crowd = _Crowd(int(redis_port), int(port), FLOODS[kind])
    for _ in range(CLIENTS):
        _Hostile(crowd)
    sys.stdout.write("all are here\n")
    sys.stdout.flush()
    while True:
        for key, mask in crowd.selector.select():
            work: Callable[[int], None] = key.data
            with contextlib.suppress(KeyError):
                work(mask)


if __name__ == "__main__":
    main(*sys.argv[1:])
