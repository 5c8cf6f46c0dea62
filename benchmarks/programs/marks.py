"""Counts events in what connections receive, without taking frames apart.

Each event carries one mark. A search in the bytes of one read costs the same for one frame as
for hundreds, so that counting does not limit the measurement.
"""

from __future__ import annotations

from collections.abc import Callable

READ_SIZE = 1 << 18
"""Bytes to ask a socket for: more than its buffer has, usually."""


class MarkCounter:
    """Counts one mark in the bytes of many connections, wherever reads divide them.

    Args:
        mark: Text that each event contains once; it does not overlap itself.

    Attributes:
        size: bytes read.
        total: marks found.
        counts: marks found, by connection.
    """

    def __init__(self, mark: bytes) -> None:
        self._mark = mark
        self._kept = len(mark) - 1
        # What a read brings is put behind the end of what the one before it brought.
        self._buffer = bytearray(self._kept + READ_SIZE)
        self._free = memoryview(self._buffer)[self._kept :]
        self._ends: dict[int, bytearray] = {}
        self.counts: dict[int, int] = {}
        self.size = 0
        self.total = 0

    def add(self, connection: int) -> None:
        """Expect bytes of a connection."""
        self._ends[connection] = bytearray(self._kept)
        self.counts[connection] = 0

    def read(self, connection: int, recv_into: Callable[[memoryview], int]) -> int:
        """Read from a connection once and count.

        Args:
            connection: its number.
            recv_into: reads bytes into a buffer; how many.

        Returns:
            Number of bytes read; 0 at the end.
        """
        size = recv_into(self._free)
        buffer, kept = self._buffer, self._kept
        buffer[:kept] = self._ends[connection]
        found = buffer.count(self._mark, 0, kept + size)
        self._ends[connection] = buffer[size : size + kept]
        self.counts[connection] += found
        self.total += found
        self.size += size
        return size

    def find(self, needle: bytes, size: int) -> bytes | None:
        """Return the bytes of the last read from a needle on.

        Args:
            needle: to look for.
            size: how many bytes were read.
        """
        start = self._buffer.find(needle, self._kept, self._kept + size)
        return None if start < 0 else bytes(self._buffer[start : self._kept + size])
