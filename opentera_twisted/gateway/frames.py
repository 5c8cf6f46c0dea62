"""Events as finished websocket frames: encoded once, the same bytes for every client.

Source: docs/reference/wire.md; RFC 6455, section 5.2; RFC 7692, section 7.2.1.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Final

_FIN_TEXT: Final = 0x81
_COMPRESSED: Final = 0x40
_SYNC_FLUSH: Final = b"\x00\x00\xff\xff"
_HEADERS: Final = {126: 4, 127: 10}
"""Bytes of a header, by the first byte of its length; of others 2."""


class Frame:
    """One text message, as the bytes for a client.

    Args:
        text: the message, or its UTF-8.

    Attributes:
        plain: the frame of the text as it is.
        size: bytes of the plain frame.
        number: 1, as of `Frames`.
    """

    __slots__ = ("_deflated", "plain", "size")

    number: Final = 1

    def __init__(self, text: str | bytes) -> None:
        self._deflated: dict[int, bytes] | None = None
        self.plain = _frame(_FIN_TEXT, text.encode() if isinstance(text, str) else text)
        self.size = len(self.plain)

    @property
    def payload(self) -> bytes:
        """The message in UTF-8, cut from the plain frame."""
        return self.plain[_HEADERS.get(self.plain[1], 2) :]

    def deflated(self, window_bits: int) -> bytes:
        """The frame of the text compressed by itself, so that it serves every client.

        Args:
            window_bits: logarithm of the window's size, 9 to 15; 0 for the plain frame.
        """
        if not window_bits:
            return self.plain
        if self._deflated is None:
            self._deflated = {}
        frame = self._deflated.get(window_bits)
        if frame is None:
            compressor = zlib.compressobj(wbits=-window_bits)
            payload = compressor.compress(self.payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
            frame = _frame(_FIN_TEXT | _COMPRESSED, payload.removesuffix(_SYNC_FLUSH))
            self._deflated[window_bits] = frame
        return frame


class Frames:
    """Frames that several clients receive together, and keep as one object.

    Attributes:
        frames: the frames, in their order.
        size: bytes of the plain frames.
        number: number of frames.
    """

    __slots__ = ("frames", "number", "size")

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = tuple(frames)
        self.number = len(self.frames)
        self.size = sum([frame.size for frame in self.frames])


def together(frames: Sequence[Frame]) -> Frame | Frames:
    """Return some frames as one object; a single frame needs no other."""
    return frames[0] if len(frames) == 1 else Frames(frames)


def _frame(first: int, payload: bytes) -> bytes:
    """One unfragmented, unmasked frame."""
    length = len(payload)
    if length < 126:
        return struct.pack("!BB", first, length) + payload
    if length < 65_536:
        return struct.pack("!BBH", first, 126, length) + payload
    return struct.pack("!BBQ", first, 127, length) + payload
