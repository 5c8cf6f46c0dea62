"""Pings, pongs, and rules for every control frame."""

from __future__ import annotations

from collections.abc import Iterator

from .case import REFUSED, Case, failed, taken
from .frames import CLOSE, CONTINUATION, PING, PONG, TEXT, frame

_NAMES = {CLOSE: "close", PING: "ping", PONG: "pong"}


def pings() -> Iterator[Case]:
    """The gateway answers each ping with its payload."""
    for size in (0, 1, 2, 7, 8, 64, 124, 125):
        payload = bytes(range(size))
        yield taken(
            f"a ping of {size} bytes is answered with a pong of the same",
            "5.5.2, 5.5.3",
            frame(PING, payload),
            f"pong {payload.hex()}",
        )
    for payload, words in (
        (b"\xff\xfe\x80\x00", "bytes that are not UTF-8"),
        (b"\0" * 125, "zeros"),
        (b"\r\n\r\n", "line ends"),
    ):
        yield taken(
            f"a ping of {words} is answered with a pong of the same",
            "5.5.3",
            frame(PING, payload),
            f"pong {payload.hex()}",
        )
    for count in (2, 10, 100):
        yield taken(
            f"{count} pings in one segment are answered in their order",
            "5.5.3",
            b"".join(frame(PING, bytes([n])) for n in range(count)),
            *[f"pong {n:02x}" for n in range(count)],
        )
    yield taken(
        "pings and messages are answered in their order",
        "5.5.2",
        (frame(PING, b"a") + frame(TEXT, b"x")) * 3,
        *["pong 61", REFUSED] * 3,
    )


def pongs() -> Iterator[Case]:
    """The gateway ignores an unsolicited pong."""
    for size in (0, 1, 12, 125):
        yield taken(
            f"a pong of {size} bytes that nobody asked for is ignored",
            "5.5.3",
            frame(PONG, b"x" * size),
        )
    yield taken("a hundred unsolicited pongs are ignored", "5.5.3", frame(PONG, b"x") * 100)
    yield taken(
        "a ping after an unsolicited pong is answered",
        "5.5.3",
        frame(PONG, b"x") + frame(PING, b"y"),
        "pong 79",
    )


def every() -> Iterator[Case]:
    """Control frames are short and never fragmented."""
    for opcode, name in _NAMES.items():
        body = b"\x03\xe8" if opcode == CLOSE else b""
        for size in (126, 127, 65_535, 65_536):
            yield failed(
                f"a {name} of {size:,} bytes is an error",
                "5.5",
                frame(opcode, body + b"x" * (size - len(body))),
                1002,
            )
        for form in (16, 64):
            yield failed(
                f"a {name} that states 125 bytes in {form} bits is an error",
                "5.2, 5.5",
                frame(opcode, body + b"x" * (125 - len(body)), form=form),
                1002,
            )
        for claim, words in ((2**40, "2^40"), (2**63, "2^63")):
            yield failed(
                f"a {name} that claims {words} bytes is an error at once",
                "5.5",
                frame(opcode, claim=claim),
                1002,
            )
        yield failed(
            f"a {name} in fragments is an error",
            "5.5",
            frame(opcode, body, fin=False) + frame(CONTINUATION),
            1002,
        )
        yield failed(
            f"a {name} in fragments, the first one empty, is an error",
            "5.5",
            frame(opcode, fin=False) + frame(CONTINUATION, body),
            1002,
        )
        yield failed(
            f"a {name} in fragments that never ends is an error at once",
            "5.5",
            frame(opcode, body, fin=False),
            1002,
        )


CASES = [*pings(), *pongs(), *every()]
