"""Messages in fragments, with control frames between them."""

from __future__ import annotations

from collections.abc import Iterator

from .case import REFUSED, Case, failed, taken
from .frames import BINARY, CONTINUATION, PING, PONG, TEXT, close, fragments, frame

_PONG = f"pong {b'between'.hex()}"


def whole() -> Iterator[Case]:
    """Valid messages."""
    for opcode, name in ((TEXT, "text"), (BINARY, "binary")):
        for count in (2, 3, 10, 1000):
            yield taken(
                f"a {name} message in {count:,} fragments is one message",
                "5.4",
                fragments(opcode, *[b"x"] * count),
                REFUSED,
            )
        for payloads, words in (
            ((b"", b""), "two empty fragments"),
            ((b"", b"x"), "an empty first fragment"),
            ((b"x", b""), "an empty last fragment"),
            ((b"", b"x", b""), "empty fragments around one that is not"),
            ((b"x", b"", b"x"), "an empty fragment between others"),
            ((b"x" * 125, b"x" * 126, b"x" * 127), "fragments of 125, 126 and 127 bytes"),
            ((b"x", b"x" * 65_535), "fragments of 1 and 65,535 bytes"),
        ):
            yield taken(
                f"a {name} message of {words} is one message",
                "5.4",
                fragments(opcode, *payloads),
                REFUSED,
            )
        yield taken(
            f"a {name} message that has not ended is not answered",
            "5.4",
            frame(opcode, b"x", fin=False),
        )
        yield taken(
            f"a {name} message in fragments may follow another",
            "5.4",
            fragments(opcode, b"a", b"b") * 3,
            *[REFUSED] * 3,
        )


def between() -> Iterator[Case]:
    """Control frames may interleave fragments and are answered at once."""
    first, second, last = (
        frame(TEXT, b"a", fin=False),
        frame(CONTINUATION, b"b", fin=False),
        frame(CONTINUATION, b"c"),
    )
    ping = frame(PING, b"between")
    yield taken(
        "a ping between fragments is answered before the message",
        "5.4",
        first + ping + last,
        _PONG,
        REFUSED,
    )
    yield taken(
        "a ping after each fragment is answered each time",
        "5.4",
        first + ping + second + ping + last + ping,
        _PONG,
        _PONG,
        REFUSED,
        _PONG,
    )
    yield taken(
        "an empty ping between fragments is answered",
        "5.4",
        first + frame(PING) + last,
        "pong ",
        REFUSED,
    )
    yield taken(
        "a ping of 125 bytes between fragments is answered",
        "5.4",
        first + frame(PING, b"x" * 125) + last,
        f"pong {(b'x' * 125).hex()}",
        REFUSED,
    )
    yield taken(
        "ten pings between two fragments are answered in their order",
        "5.4",
        first + b"".join(frame(PING, bytes([n])) for n in range(10)) + last,
        *[f"pong {n:02x}" for n in range(10)],
        REFUSED,
    )
    yield taken(
        "a pong between fragments changes nothing", "5.4", first + frame(PONG, b"x") + last, REFUSED
    )
    yield taken("a close between fragments is answered; the message is not", "5.4", first + second)
    yield failed(
        "a fragmented ping between fragments is an error",
        "5.5",
        first + frame(PING, b"a", fin=False) + frame(CONTINUATION, b"b") + last,
        1002,
    )
    yield failed(
        "a close that breaks a rule between fragments is an error",
        "7.4.1",
        first + close(1005) + last,
        1002,
    )


def disordered() -> Iterator[Case]:
    """A message must end before the next begins."""
    for opcode, name in ((TEXT, "text"), (BINARY, "binary")):
        for fin in (False, True):
            end = "whole" if fin else "begun"
            for other, other_name in ((TEXT, "text"), (BINARY, "binary")):
                yield failed(
                    f"a {name} message {end} within a {other_name} message is an error",
                    "5.4",
                    frame(other, b"x", fin=False) + frame(opcode, b"x", fin=fin),
                    1002,
                )
            yield failed(
                f"a {name} message {end} after a second fragment is an error",
                "5.4",
                frame(TEXT, b"x", fin=False)
                + frame(CONTINUATION, b"x", fin=False)
                + frame(opcode, b"x", fin=fin),
                1002,
            )
    for fin in (False, True):
        end = "last" if fin else "further"
        for payload in (b"", b"x"):
            yield failed(
                f"a {end} fragment of {len(payload)} bytes with nothing before it is an error",
                "5.4",
                frame(CONTINUATION, payload, fin=fin),
                1002,
            )
        yield failed(
            f"a {end} fragment after a whole message is an error",
            "5.4",
            frame(TEXT, b"x") + frame(CONTINUATION, b"x", fin=fin),
            1002,
            REFUSED,
        )
        yield failed(
            f"a {end} fragment after a message in fragments is an error",
            "5.4",
            fragments(TEXT, b"a", b"b") + frame(CONTINUATION, b"x", fin=fin),
            1002,
            REFUSED,
        )
        yield failed(
            f"a {end} fragment after a ping, with no message begun, is an error",
            "5.4",
            frame(PING, b"between") + frame(CONTINUATION, b"x", fin=fin),
            1002,
            _PONG,
        )


CASES = [*whole(), *between(), *disordered()]
