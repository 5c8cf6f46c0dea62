"""Sizes: a message may have 65,536 bytes; a longer length in a header is refused at once."""

from __future__ import annotations

from collections.abc import Iterator

from .case import REFUSED, Case, failed, taken
from .frames import BINARY, CONTINUATION, PING, TEXT, fragments, frame

LIMIT = 65_536


def sizes() -> Iterator[Case]:
    """Sizes of messages (RFC section 10.4), refused with 1009."""
    for opcode, name in ((TEXT, "text"), (BINARY, "binary")):
        for size in (LIMIT + 1, 2 * LIMIT, 1_048_576):
            yield failed(
                f"a {name} message of {size:,} bytes is too big",
                "7.4.1, 10.4",
                frame(opcode, b"x" * size),
                1009,
            )
        for power in (20, 31, 32, 40, 62):
            yield failed(
                f"a {name} frame that claims 2^{power} bytes is too big at once",
                "7.4.1, 10.4",
                frame(opcode, claim=2**power),
                1009,
            )
        yield failed(
            f"a {name} frame that claims 2^63-1 bytes, the most there is, is too big at once",
            "7.4.1, 10.4",
            frame(opcode, claim=2**63 - 1),
            1009,
        )
        for count in (2, 4, 64):
            part = b"x" * (LIMIT // count)
            yield taken(
                f"a {name} message of {count} fragments with 65,536 bytes together is taken",
                "10.4",
                fragments(opcode, *[part] * count),
                REFUSED,
            )
            yield failed(
                f"a {name} message of {count} fragments and one byte too much is too big",
                "7.4.1, 10.4",
                fragments(opcode, *[part] * count, b"x"),
                1009,
            )
        yield failed(
            f"a last fragment that claims too much for a {name} message is too big at once",
            "7.4.1, 10.4",
            frame(opcode, b"x", fin=False) + frame(CONTINUATION, claim=LIMIT),
            1009,
        )
    yield taken(
        "each message is counted by itself",
        "10.4",
        frame(BINARY, b"x" * LIMIT) * 3,
        *[REFUSED] * 3,
    )
    yield taken(
        "pings between fragments do not count",
        "10.4",
        frame(TEXT, b"x" * LIMIT, fin=False)
        + frame(PING, b"x" * 125) * 3
        + frame(CONTINUATION, b""),
        *[f"pong {(b'x' * 125).hex()}"] * 3,
        REFUSED,
    )
    yield failed(
        "data after an oversized message is not answered",
        "7.1.7",
        frame(TEXT, b"x" * (LIMIT + 1)) + frame(PING, b"late"),
        1009,
    )
    yield failed(
        "the size is checked before the text",
        "10.4",
        frame(TEXT, b"\xff" * (LIMIT + 1)),
        1009,
    )


CASES = list(sizes())
