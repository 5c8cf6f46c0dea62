"""Messages of a websocket client to each gateway, for its subscription and as pongs."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Final

from attrs import frozen

TEXT: Final = 1
BINARY: Final = 2
PONG: Final = 10

PING: Final = b"\x89"
"""First byte of a websocket ping; no byte of ASCII text."""


@frozen
class Step:
    """A message of a client.

    Attributes:
        after: Text to wait for; empty: only the handshake.
        say: ``TOPIC`` in it stands for the topic; empty: nothing more, it is subscribed.
    """

    after: bytes
    say: str

    def to(self, topic: str) -> Step:
        """Return the step with that topic."""
        return Step(self.after, self.say.replace("TOPIC", topic))


@frozen
class Dialect:
    """Protocol of a gateway's clients.

    Attributes:
        steps: after the handshake; the last one says nothing. None: the handshake subscribes.
        another: Step that subscribes a second topic.
        protocol: Websocket subprotocol to offer.
        opcode: Opcode of the clients' frames.
        ping: Ping of the gateway.
        pong: Answer; None for a websocket pong with the ping's payload.
    """

    steps: tuple[Step, ...] = ()
    another: Step | None = None
    protocol: str = ""
    opcode: int = TEXT
    ping: bytes = PING
    pong: str | None = None

    def steps_to(self, topics: str) -> Iterator[Step]:
        """Yield the steps to one topic, or to two that a comma separates."""
        topic, _, second = topics.partition(",")
        for number, step in enumerate(self.steps, start=1):
            if second and self.another is not None and number == len(self.steps):
                yield self.another.to(second)
            yield step.to(topic)

    def frame(self, text: str) -> bytes:
        """Return a client's message as a frame."""
        return frame(self.opcode, text.encode(), masked=True)

    def answer(self, ping: bytes) -> bytes:
        """The frame that answers a ping, which these bytes begin with."""
        if self.pong is not None:
            return self.frame(self.pong)
        return frame(PONG, ping[2 : 2 + ping[1]], masked=True)


def frame(opcode: int, payload: bytes, *, masked: bool) -> bytes:
    """An unfragmented frame, of a client when it is masked.

    The mask is zero, so that masking changes nothing.

    Source: RFC 6455, section 5.2.
    """
    first, mask = 0x80 | opcode, 0x80 * masked
    length = len(payload)
    if length < 126:
        start = struct.pack("!BB", first, mask | length)
    elif length < 65_536:
        start = struct.pack("!BBH", first, mask | 126, length)
    else:
        start = struct.pack("!BBQ", first, mask | 127, length)
    return start + bytes(4 * masked) + payload


def handshake(path: str, dialect: Dialect) -> bytes:
    """The request with which a client begins."""
    protocol = f"Sec-WebSocket-Protocol: {dialect.protocol}\r\n" if dialect.protocol else ""
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
        f"Sec-WebSocket-Version: 13\r\n{protocol}\r\n"
    ).encode()


_NATS_OPTIONS: Final = json.dumps({"verbose": False, "pedantic": False, "echo": False})
_WAMP_HELLO: Final = json.dumps([1, "realm1", {"roles": {"subscriber": {}, "publisher": {}}}])

DIALECTS: Final = {
    "plain": Dialect(),
    "told": Dialect(steps=(Step(b"subscribed", ""),)),
    "nats": Dialect(
        steps=(
            Step(b"INFO ", f"CONNECT {_NATS_OPTIONS}\r\nSUB TOPIC 1\r\nPING\r\n"),
            Step(b"PONG\r\n", ""),
        ),
        another=Step(b"PONG\r\n", "SUB TOPIC 2\r\nPING\r\n"),
        opcode=BINARY,
        ping=b"PING\r\n",
        pong="PONG\r\n",
    ),
    "socket.io": Dialect(
        steps=(Step(b"0{", "40"), Step(b"40{", "")),
        ping=b"\x81\x012",
        pong="3",
    ),
    "wamp": Dialect(
        steps=(
            Step(b"", _WAMP_HELLO),
            Step(b"[2,", json.dumps([32, 1, {}, "TOPIC"])),
            Step(b"[33,", ""),
        ),
        another=Step(b"[33,", json.dumps([32, 2, {}, "TOPIC"])),
        protocol="wamp.2.json",
    ),
    "recovery": Dialect(
        steps=(Step(b'", "window"', ""),),
        protocol="opentera-bus.recovery.v1",
    ),
}
"""By name: ``plain`` is subscribed with its handshake, ``told`` when the gateway says so.

The first frame of ``recovery`` holds the token with which the client returns.
"""
