"""Messages and names of a hand-over: the marker, packed frames, and reasons of a failure."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any, Final

from attrs import frozen

from opentera_twisted.gateway.frames import Frame
from opentera_twisted.topics import RECOVERY

MARKERS: Final = f"{RECOVERY}marker."
REPLIES: Final = f"{RECOVERY}reply."
FRAMES: Final = f"{RECOVERY}frames."
"""Prefixes of each gateway's topics and of keys of handed-over frames; a random part follows."""

READY: Final = "ready"
"""Reply of an old gateway that waits for the markers of the topics."""

_LENGTH: Final = struct.Struct("!I")


@frozen
class Marker:
    """A request from the new gateway to the old one.

    Attributes:
        number: Random number of the request.
        digest: Digest of the token that the client presented.
        received: Number of event frames that the client has counted.
        reply: Topic for the reply.
        topics: On a cluster, the client's topics at the new gateway; None otherwise.
    """

    number: str
    digest: str
    received: int
    reply: str
    topics: tuple[str, ...] | None = None

    def encode(self) -> bytes:
        """Encode the marker as JSON."""
        fields = [self.number, self.digest, self.received, self.reply]
        more = [] if self.topics is None else [self.topics]
        return json.dumps([*fields, *more]).encode()

    @classmethod
    def decode(cls, payload: bytes) -> Marker | None:
        """Decode a marker; return None for anything else."""
        try:
            number, digest, received, reply, *more = json.loads(payload)
        except (ValueError, TypeError, RecursionError):
            return None
        texts = (number, digest, reply)
        if type(received) is int and all(
            isinstance(text, str) and text.isascii() for text in texts
        ):
            if not more:
                return cls(number, digest, received, reply)
            if len(more) == 1 and _are_texts(more[0]):
                return cls(number, digest, received, reply, tuple(more[0]))
        return None


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def pack_frames(frames: Sequence[Frame]) -> bytes:
    """Encode the texts of frames, each after its length."""
    pieces = []
    for frame in frames:
        payload = frame.payload
        pieces += [_LENGTH.pack(len(payload)), payload]
    return b"".join(pieces)


def unpack_frames(data: bytes) -> list[Frame]:
    """Decode packed frames.

    Raises:
        ValueError: The last frame is incomplete.
    """
    frames, at = [], 0
    while at < len(data):
        if at + _LENGTH.size > len(data):
            raise ValueError("handed-over frames end within a length")
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if at + length > len(data):
            raise ValueError("handed-over frames end within a text")
        frames.append(Frame(data[at : at + length]))
        at += length
    return frames


class NotRecovered(Exception):
    """The missed frames are not available.

    Attributes:
        reason: One of `REASONS`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


REASONS: Final = ("overflow", "gap", "beyond", "unknown", "gone", "timeout", "failed")
"""Reasons why a client's frames were not recovered.

overflow  the old gateway dropped frames for their bytes or age
gap       the link of one of the gateways was lost
beyond    the client counted more frames than it was sent
unknown   the old gateway no longer has the client's session
gone      the old gateway has ended
timeout   the old gateway did not reply in time
failed    Redis refused a command
"""
