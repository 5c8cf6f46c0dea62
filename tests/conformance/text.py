"""Text is UTF-8: at every position, and however it is split."""

from __future__ import annotations

from collections.abc import Iterator

from .case import REFUSED, Case, failed, taken
from .frames import BINARY, CONTINUATION, PING, TEXT, fragments, frame

SAMPLE = "aé€😀z"
"""Characters of one, two, three, four bytes and one again."""

_VALID = {
    "Greek": "κόσμε",
    "U+0000": "\0",
    "U+007F, the last of one byte": "\x7f",
    "U+0080, the first of two bytes": "\x80",
    "U+07FF, the last of two bytes": "\u07ff",
    "U+0800, the first of three bytes": "\u0800",
    "U+D7FF, the last before the surrogates": "\ud7ff",
    "U+E000, the first after the surrogates": "\ue000",
    "U+FEFF, the byte order mark": "\ufeff",
    "U+FFFD": "\ufffd",
    "U+FFFE, which is no character": "\ufffe",
    "U+FFFF, the last of three bytes": "\uffff",
    "U+10000, the first of four bytes": "\U00010000",
    "U+10FFFF, the last of all": "\U0010ffff",
}

INVALID = {
    "a continuation byte alone": b"\x80",
    "the last continuation byte alone": b"\xbf",
    "two continuation bytes alone": b"\x80\xbf",
    "C0, which never occurs": b"\xc0\x80",
    "C1, which never occurs": b"\xc1\xbf",
    "F5, which never occurs": b"\xf5\x80\x80\x80",
    "FE": b"\xfe",
    "FF": b"\xff",
    "a slash in two bytes": b"\xc0\xaf",
    "a slash in three bytes": b"\xe0\x80\xaf",
    "a slash in four bytes": b"\xf0\x80\x80\xaf",
    "U+007F in two bytes": b"\xc1\xbf",
    "U+07FF in three bytes": b"\xe0\x9f\xbf",
    "U+FFFF in four bytes": b"\xf0\x8f\xbf\xbf",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "six bytes": b"\xfc\x84\x80\x80\x80\x80",
    "U+110000, the first beyond all": b"\xf4\x90\x80\x80",
    "U+D800, the first surrogate": b"\xed\xa0\x80",
    "U+DBFF, the last high surrogate": b"\xed\xaf\xbf",
    "U+DC00, the first low surrogate": b"\xed\xb0\x80",
    "U+DFFF, the last surrogate": b"\xed\xbf\xbf",
    "a pair of surrogates": b"\xed\xa0\x80\xed\xb0\x80",
    "two bytes without the second": b"\xc3x",
    "three bytes without the last": b"\xe2\x82x",
    "four bytes without the last": b"\xf0\x9f\x98x",
}


def valid() -> Iterator[Case]:
    """Valid text."""
    for words, text in _VALID.items():
        yield taken(f"{words} is text", "5.6, 8.1", frame(TEXT, text.encode()), REFUSED)
    data = SAMPLE.encode()
    for at in range(len(data) + 1):
        yield taken(
            f"text split in fragments after {at} of {len(data)} bytes is text",
            "5.6",
            fragments(TEXT, data[:at], data[at:]),
            REFUSED,
        )
    yield taken(
        "text with each byte in a fragment is text",
        "5.6",
        fragments(TEXT, *[bytes([byte]) for byte in data]),
        REFUSED,
    )
    yield taken(
        "a ping within a character changes nothing",
        "5.4, 5.6",
        frame(TEXT, b"\xf0\x9f", fin=False)
        + frame(PING, b"\xff")
        + frame(CONTINUATION, b"\x98\x80"),
        "pong ff",
        REFUSED,
    )
    some = [*INVALID.values()][::3]  # only ten messages a second are answered
    yield taken(
        "a binary message need not be text",
        "5.6",
        b"".join(frame(BINARY, data) for data in some),
        *[REFUSED] * len(some),
    )
    yield taken(
        "a binary message in fragments need not be text",
        "5.6",
        fragments(BINARY, b"\xff", b"\xc3"),
        REFUSED,
    )


def invalid() -> Iterator[Case]:
    """Invalid text."""
    for words, data in INVALID.items():
        yield failed(f"{words} is an error", "8.1", frame(TEXT, data), 1007)
    sample = SAMPLE.encode()
    for at in range(len(sample)):
        yield failed(
            f"FF as byte {at} of {len(sample)} is an error",
            "8.1",
            frame(TEXT, sample[:at] + b"\xff" + sample[at + 1 :]),
            1007,
        )
        if at and sample[at] & 0xC0 == 0x80:  # within a character
            yield failed(
                f"text that ends within a character, after {at} bytes, is an error",
                "8.1",
                frame(TEXT, sample[:at]),
                1007,
            )
            yield failed(
                f"a message in fragments that ends within a character, after {at} bytes, "
                "is an error",
                "8.1",
                fragments(TEXT, sample[:at], b""),
                1007,
            )
        yield failed(
            f"FF in the second fragment, after {at} bytes in the first, is an error",
            "8.1",
            fragments(TEXT, sample[:at], b"\xff"),
            1007,
        )
    yield failed(
        "FF in a message that has not ended is an error at once",
        "8.1",
        frame(TEXT, b"\xff", fin=False),
        1007,
    )
    yield failed(
        "FF in a frame of which the rest has not come is an error at once",
        "8.1",
        frame(TEXT, b"\xff", claim=125),
        1007,
    )
    yield failed(
        "invalid text in the second of two messages is an error",
        "8.1",
        frame(TEXT, b"x") + frame(TEXT, b"\xff"),
        1007,
        REFUSED,
    )
    yield failed(
        "data after invalid text is not answered",
        "7.1.7",
        frame(TEXT, b"\xff") + frame(PING, b"late") + frame(TEXT, b"x"),
        1007,
    )


CASES = [*valid(), *invalid()]
