"""Close frames: codes, reasons and order."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from .case import GOODBYE, REFUSED, Case, deviating, failed
from .frames import CLOSE, CONTINUATION, PING, TEXT, close, frame
from .text import INVALID, SAMPLE

SENT_AWAY = "close 4000"
"""Close frame for a client that a command disconnects."""


def ended(rule: str, section: str, frames: bytes, *before: str) -> Case:
    """Return a case that ends with a valid close: the gateway answers and disconnects."""
    return Case(
        rule=rule, section=section, frames=frames, answers=("101", *before, "close 1000", "end")
    )


def codes() -> Iterator[Case]:
    """Close codes."""
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011):
        yield ended(f"{code} is a code", "7.4.1", close(code))
    for code in (1012, 1013):
        yield ended(f"{code}, registered later, is a code", "7.4.2, 11.7", close(code))
    yield deviating(
        failed("1014, registered later, is a code", "7.4.2, 11.7", close(1014), 1002),
        "Autobahn does not know it yet and answers 1002; no client has a use for it",
    )
    for code in (3000, 3001, 3999, 4000, 4001, 4999):
        yield ended(f"{code}, of libraries and programs, is a code", "7.4.2", close(code))
    for code in (0, 1, 999):
        yield failed(f"{code} is no code", "7.4.2", close(code), 1002)
    for code in (1004, 1005, 1006, 1015):
        yield failed(f"{code} may not be sent", "7.4.1", close(code), 1002)
    for code in (1016, 1100, 2000, 2999):
        yield failed(f"{code} has no meaning yet", "7.4.2", close(code), 1002)
    for code in (5000, 32_768, 65_535):
        yield failed(f"{code} is beyond all codes", "7.4", close(code), 1002)


def bodies() -> Iterator[Case]:
    """Body: empty, or a code with an optional reason of text."""
    yield ended("a close without a body is answered", "5.5.1", frame(CLOSE))
    yield failed("a close with half a code is an error", "5.5.1", frame(CLOSE, b"\x03"), 1002)
    for size in (1, 2, 122, 123):
        yield ended(f"a reason of {size} bytes is taken", "5.5.1, 7.1.6", close(1000, b"x" * size))
    yield failed(
        "a reason of 124 bytes makes the close too long", "5.5", close(1000, b"x" * 124), 1002
    )
    yield ended("a reason is UTF-8", "7.1.6", close(1000, SAMPLE.encode()))
    yield ended("a reason may hold U+0000", "7.1.6", close(1000, b"a\0b"))
    for words, data in INVALID.items():
        yield failed(f"in a reason {words} is an error", "7.1.6, 8.1", close(1000, data), 1007)
    sample = SAMPLE.encode()
    for at in range(1, len(sample)):
        if sample[at] & 0xC0 == 0x80:
            yield failed(
                f"a reason that ends within a character, after {at} bytes, is an error",
                "8.1",
                close(1000, sample[:at]),
                1007,
            )


def order() -> Iterator[Case]:
    """No frame follows a close."""
    yield ended(
        "messages before a close are answered first",
        "5.5.1",
        frame(TEXT, b"x") + frame(PING, b"y") + GOODBYE,
        REFUSED,
        "pong 79",
    )
    for data, words in (
        (frame(TEXT, b"x"), "a message"),
        (frame(PING, b"x"), "a ping"),
        (GOODBYE, "a second close"),
        (close(1001, b"second"), "another close"),
        (frame(TEXT, b"\xff"), "a text that is none"),
        (frame(3), "a reserved opcode"),
        (frame(TEXT, b"x", mask=None), "an unmasked frame"),
        (b"\xff" * 200, "junk"),
        (frame(TEXT, b"x" * 65_536) * 4, "256 KiB"),
    ):
        yield ended(
            f"{words} after the client's close is not answered",
            "5.5.1",
            GOODBYE + data,
        )
    for data, words in (
        (GOODBYE, "a close"),
        (frame(TEXT, b"x"), "a message"),
        (frame(PING, b"x"), "a ping"),
        (frame(TEXT, b"\xff"), "a second error"),
        (frame(TEXT, b"x" * 65_536) * 4, "256 KiB"),
    ):
        yield failed(f"{words} after an error is not answered", "7.1.7", frame(3) + data, 1002)
    yield failed(
        "a close after the first fragment and an error is not answered",
        "7.1.7",
        frame(TEXT, b"x", fin=False) + frame(TEXT) + GOODBYE + frame(CONTINUATION),
        1002,
    )
    yield failed(
        "a close whose code and reason are both wrong is one error",
        "7.1.7",
        struct.pack("!BB", 0x88, 0x83) + b"\0\0\0\0" + struct.pack("!H", 1005) + b"\xff",
        1002,
    )


def sent_away() -> Iterator[Case]:
    """The gateway closes first."""
    for data, words in (
        (close(4000), "that echoes the code"),
        (GOODBYE, "with another code"),
        (frame(CLOSE), "without a body"),
    ):
        yield Case(
            rule=f"an answer to the gateway's close {words} ends the connection, without a reset",
            section="7.1.1",
            frames=data,
            answers=("101", SENT_AWAY, "end"),
            is_sent_away=True,
        )
    for data, words in (
        (frame(TEXT, b"x"), "a message"),
        (frame(PING, b"x"), "a ping"),
        (frame(TEXT, b"x", fin=False) + frame(CONTINUATION), "a message in fragments"),
    ):
        yield Case(
            rule=f"{words} that crosses the gateway's close is not answered",
            section="5.5.1",
            frames=data + close(4000),
            answers=("101", SENT_AWAY, "end"),
            is_sent_away=True,
        )
    for data, words in (
        (frame(TEXT, b"x", mask=None), "an unmasked frame"),
        (close(1005), "a code that may not be sent"),
        (frame(3), "a reserved opcode"),
    ):
        yield Case(
            rule=f"{words} instead of an answer to the gateway's close ends the connection",
            section="7.1.7",
            frames=data,
            answers=("101", SENT_AWAY, "end"),
            is_sent_away=True,
        )


CASES = [*codes(), *bodies(), *order(), *sent_away()]
