"""Frames of a client, valid or invalid, and a parser of a server's frames.

Source: RFC 6455, section 5.2.
"""

from __future__ import annotations

import struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

MASK = b"\x37\xfa\x21\x3d"


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = MASK,
    form: int | None = None,
    claim: int | None = None,
) -> bytes:
    """Return a frame.

    Args:
        opcode: Opcode of the frame.
        payload: Payload before masking.
        fin: True for the last frame of a message.
        rsv: The three reserved bits.
        mask: Mask; None for an unmasked frame.
        form: Bits of the length field (7, 16 or 64); by default the fewest.
        claim: Length in the header, if not the correct one.
    """
    length = len(payload) if claim is None else claim
    if form is None:
        form = 7 if length < 126 else 16 if length < 65_536 else 64
    masked = 0 if mask is None else 0x80
    first = fin << 7 | rsv << 4 | opcode
    if form == 7:
        head = struct.pack("!BB", first, masked | length)
    elif form == 16:
        head = struct.pack("!BBH", first, masked | 126, length)
    else:
        head = struct.pack("!BBQ", first, masked | 127, length)
    return head + (payload if mask is None else mask + masking(payload, mask))


def masking(payload: bytes, mask: bytes) -> bytes:
    """Return the payload, masked."""
    size = len(payload)
    pattern = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pattern, "big")).to_bytes(size, "big")


def close(code: int, reason: bytes = b"") -> bytes:
    """Return a close frame with a body."""
    return frame(CLOSE, struct.pack("!H", code) + reason)


def fragments(opcode: int, *payloads: bytes) -> bytes:
    """Return one message in fragments."""
    last = len(payloads) - 1
    return b"".join(
        frame(CONTINUATION if number else opcode, payload, fin=number == last)
        for number, payload in enumerate(payloads)
    )


def read(data: bytes) -> list[tuple[int, bytes]]:
    """Return the opcodes and payloads of a server's frames.

    Raises:
        AssertionError: A frame breaks a rule, or is incomplete.
    """
    frames = []
    while data:
        assert len(data) >= 2, f"half a frame: {data!r}"
        first, length = data[0], data[1]
        start = 2
        assert first & 0x80, f"a fragment: {data[:16]!r}"
        assert not first & 0x70, f"reserved bits: {data[:16]!r}"
        assert not length & 0x80, f"a masked frame: {data[:16]!r}"
        opcode = first & 0x0F
        assert opcode in {TEXT, BINARY, CLOSE, PING, PONG}, f"opcode {opcode}"
        if length == 126:
            (length,) = struct.unpack_from("!H", data, 2)
            start = 4
            assert length > 125, "a length that is not minimal"
        elif length == 127:
            (length,) = struct.unpack_from("!Q", data, 2)
            start = 10
            assert length > 65_535, "a length that is not minimal"
        assert opcode < CLOSE or length < 126, f"a control frame of {length} bytes"
        assert len(data) >= start + length, f"half a frame: {data[:16]!r}"
        frames.append((opcode, data[start : start + length]))
        data = data[start + length :]
    return frames
