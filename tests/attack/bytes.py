"""Random damage to bytes, and malformed bytes."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from uuid import UUID

SHOWN = 600
"""Bytes of a sent message that a failure shows."""


def shown(data: bytes) -> str:
    """Describe bytes by their beginning and length."""
    return f"{len(data)} bytes {data[:SHOWN]!r}{'…' if len(data) > SHOWN else ''}"


def a_uuid(random: Random) -> str:
    """Return a random UUID, reproducible by seed."""
    return str(UUID(int=random.getrandbits(128), version=4))


def damaged(random: Random, data: bytes) -> bytes:
    """Return the bytes with one to four random mistakes."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 4)):
        start = random.randrange(len(changed) + 1)
        end = min(len(changed), start + random.randint(0, 20))
        random.choice(_DAMAGES)(random, changed, start, end)
    return bytes(changed)


def _flip(random: Random, data: bytearray, start: int, end: int) -> None:
    if start < len(data):
        data[start] ^= 1 << random.randrange(8)


def _remove(random: Random, data: bytearray, start: int, end: int) -> None:
    del data[start:end]


def _double(random: Random, data: bytearray, start: int, end: int) -> None:
    data[end:end] = data[start:end] * random.choice([1, 1, 50])


def _insert(random: Random, data: bytearray, start: int, end: int) -> None:
    data[start:start] = random.randbytes(end - start)


def _replace(random: Random, data: bytearray, start: int, end: int) -> None:
    data[start:end] = random.choice(
        [b"\xff" * 9 + b"\x01", b"\0" * 4, b"\r\n", b"\x80\x80\x80\x00"]
    )


def _end(random: Random, data: bytearray, start: int, end: int) -> None:
    del data[start:]


_DAMAGES: list[Callable[[Random, bytearray, int, int], None]] = [
    _flip, _flip, _remove, _double, _insert, _replace, _end,
]  # fmt: skip


def junk(random: Random) -> bytes:
    """Return meaningless bytes, sometimes megabytes long or deeply nested."""
    return random.choice(
        [
            lambda: b"",
            lambda: random.randbytes(random.randrange(300)),
            lambda: bytes([random.randrange(256)]) * random.randrange(3000),
            lambda: random.randbytes(1000) * random.randrange(4000),
            lambda: b"\x0b" * random.choice([99, 101, 50_000]),  # groups within groups
            lambda: _nested(b"\x12", random.choice([50, 101, 900])),
            lambda: b"[" * random.choice([900, 100_000]),
            lambda: b'{"a":' * random.choice([900, 100_000]) + b"1",
            lambda: b"\xff" * random.randrange(40),
        ]
    )()


def _nested(tag: bytes, depth: int) -> bytes:
    data = b""
    for _ in range(depth):
        data = tag + _varint(len(data)) + data
    return data


def _varint(number: int) -> bytes:
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])
