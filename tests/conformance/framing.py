"""Frames: lengths at every boundary, masking, reserved bits and opcodes."""

from __future__ import annotations

from collections.abc import Iterator

from .case import REFUSED, Case, failed, taken
from .frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame

_NAMES = {CONTINUATION: "continuation", TEXT: "text", BINARY: "binary"}
_CONTROL = {CLOSE: "close", PING: "ping", PONG: "pong"}


def lengths() -> Iterator[Case]:
    """Lengths of data frames; `controls` has those of control frames."""
    for opcode in (TEXT, BINARY):
        name = _NAMES[opcode]
        for size in (0, 1, 2, 124, 125, 126, 127, 128, 255, 256, 32_768, 65_534, 65_535, 65_536):
            yield taken(
                f"a {name} frame of {size:,} bytes is taken",
                "5.2",
                frame(opcode, b"x" * size),
                REFUSED,
            )
        for form, sizes in ((16, (0, 1, 125)), (64, (0, 1, 125, 126, 127, 65_535))):
            for size in sizes:
                yield failed(
                    f"a {name} frame that states {size:,} bytes in {form} bits is an error: "
                    "the fewest must be used",
                    "5.2",
                    frame(opcode, b"x" * size, form=form),
                    1002,
                )
        for claim, words in (
            (2**63, "just the highest bit"),
            (2**63 + 1, "the highest and the lowest bit"),
            (2**64 - 1, "all bits"),
        ):
            yield failed(
                f"a {name} frame whose 64-bit length has {words} set is an error",
                "5.2",
                frame(opcode, claim=claim),
                1002,
            )
    for count in (2, 10, 100):
        yield taken(
            f"{count} frames in one segment are each taken",
            "5.2",
            b"".join(frame(PING, bytes([number])) for number in range(count)),
            *(f"pong {number:02x}" for number in range(count)),
        )


def masks() -> Iterator[Case]:
    """A client masks its frames."""
    for mask in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\1", b"\x80\0\0\0", b"abcd"):
        for size in (0, 1, 5, 126):
            yield taken(
                f"a mask of {mask.hex()} over {size} bytes is taken off",
                "5.3",
                frame(TEXT, "é".encode() * (size // 2) + b"x" * (size % 2), mask=mask),
                REFUSED,
            )
    yield taken(
        "each frame has its own mask",
        "5.3",
        b"".join(frame(TEXT, "Zoé".encode(), mask=bytes([n] * 4)) for n in range(9)),
        *[REFUSED] * 9,
    )
    for opcode, name in (_NAMES | _CONTROL).items():
        for payload in (b"", b"\x03\xe8unmasked"):
            yield failed(
                f"an unmasked {name} frame of {len(payload)} bytes closes the connection",
                "5.1",
                frame(opcode, payload, mask=None),
                1002,
            )
    yield failed(
        "an unmasked frame of 65,536 bytes is rejected",
        "5.1",
        frame(TEXT, b"x" * 65_536, mask=None),
        1002,
    )
    yield failed(
        "an unmasked frame after masked ones closes the connection",
        "5.1",
        frame(TEXT, b"x") + frame(TEXT, b"x", mask=None),
        1002,
        REFUSED,
    )


def reserved_bits() -> Iterator[Case]:
    """No extension is negotiated, so no bit has a meaning."""
    for opcode, name in ((_NAMES | _CONTROL) | {3: "reserved"}).items():
        start = frame(TEXT, b"x", fin=False) if opcode == CONTINUATION else b""
        for rsv in range(1, 8):
            yield failed(
                f"a {name} frame with the reserved bits {rsv:03b} is an error",
                "5.2",
                start + frame(opcode, rsv=rsv),
                1002,
            )


def opcodes() -> Iterator[Case]:
    """Reserved opcodes."""
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        for payload in (b"", b"x", b"x" * 126):
            yield failed(
                f"a frame of the reserved opcode {opcode:X} with {len(payload)} bytes is an error",
                "5.2",
                frame(opcode, payload),
                1002,
            )
        yield failed(
            f"a reserved opcode {opcode:X} after a message, before a ping: "
            "the first is answered, the last is not",
            "7.1.7",
            frame(TEXT, b"x") + frame(opcode) + frame(PING, b"late"),
            1002,
            REFUSED,
        )
        yield failed(
            f"a reserved opcode {opcode:X} within a message is an error",
            "5.4",
            frame(TEXT, b"x", fin=False) + frame(opcode) + frame(CONTINUATION),
            1002,
        )


CASES = [*lengths(), *masks(), *reserved_bits(), *opcodes()]
