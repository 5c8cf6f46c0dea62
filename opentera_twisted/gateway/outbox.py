"""Batches frames from Redis, of one read or of several in a burst, into one write per client."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from opentera_twisted.gateway.frames import Frame, Frames, together

SHORTEST_HOLD: Final = 0.005
LONGEST_HOLD: Final = 0.1
"""Seconds that frames wait for the next reads: at first, and after `GROWTH` in a long burst."""

GROWTH: Final = 4
"""Factor from one wait of a burst to the next."""

GRACE: Final = 0.002
"""Seconds that held frames wait for a Redis that has just fallen behind."""

HELD_FOR_ONE: Final = 65_536
HELD_FOR_ALL: Final = 1_048_576
"""Bytes of held frames that one audience, and all audiences, may have after a read."""

HELD_DELIVERIES: Final = 10_000
"""Held frames after a read, each counted for each of its clients: the work of a flush."""


class Client(Protocol):
    """A websocket that receives frames.

    Attributes:
        window_bits: binary logarithm of the negotiated compression window; 0 without compression.
    """

    window_bits: int

    def write(self, data: bytes, frames: Frame | Frames | None = None) -> bool:
        """Send frames.

        Args:
            data: bytes of all frames, encoded for the client's compression.
            frames: the same frames, for a client that keeps them; None for none to keep.

        Returns:
            True if they were sent: the websocket is open, and its client reads.
        """

    def close(self, code: int, reason: str) -> bool:
        """Begin to close the websocket; return False if it is closing already."""


class _Batch:
    """The frames for one audience, each with its number in the order of all frames."""

    __slots__ = ("audience", "frames", "numbers", "size")

    def __init__(self, audience: Sequence[Client]) -> None:
        self.audience = audience
        self.frames: list[Frame] = []
        self.numbers: list[int] = []
        self.size = 0


class Outbox:
    """Joins the frames for the same clients, and writes them once to each.

    A write costs as much as all else about an event for one client. While each read from Redis is
    full, the frames therefore wait for the next reads. The wait grows as the burst goes on, up to
    `LONGEST_HOLD`, so that the events of a short burst are hardly later.

    Args:
        clock: clock of the wait.

    Attributes:
        delivered: frames written, to all clients together.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self.delivered = 0
        self._clock = clock
        self._batches: dict[int, _Batch] = {}
        self._count = 0
        self._size = 0
        self._deliveries = 0
        self._is_full = False
        self._hold = SHORTEST_HOLD
        self._until = 0.0
        self._end: IDelayedCall | None = None  # of the hold
        self._is_behind = False

    def put(self, frame: Frame, audience: Sequence[Client]) -> None:
        """Send a frame to some clients at the next flush.

        Args:
            frame: frame to send, after all earlier frames.
            audience: receiving clients; pass the same object for the same clients.
        """
        batch = self._batches.get(id(audience))
        if batch is None:
            batch = self._batches[id(audience)] = _Batch(audience)
        batch.frames.append(frame)
        batch.numbers.append(self._count)
        self._count += 1
        size = frame.size
        self._size += size
        self._deliveries += len(audience)
        batch.size += size
        if batch.size > HELD_FOR_ONE:
            self._is_full = True

    def read_ended(self, is_full: bool) -> None:
        """Write all frames after a read from Redis, or hold them for the next reads.

        Args:
            is_full: True if the read was as large as possible, so that more is waiting.
        """
        self._is_behind = is_full
        if self._end is None and not is_full:  # no burst
            self._hold = SHORTEST_HOLD
            self.flush()
        elif self._is_full or self._size > HELD_FOR_ALL or self._deliveries > HELD_DELIVERIES:
            self.flush()
        elif self._end is None:
            if self._batches:
                self._until = self._clock.seconds() + self._hold
                self._end = self._clock.callLater(self._hold, self._end_hold)
        else:
            left = max(0.0, self._until - self._clock.seconds())
            self._end.reset(left if is_full else min(left, GRACE))

    def _end_hold(self) -> None:
        self._end = None
        self._hold = min(GROWTH * self._hold, LONGEST_HOLD) if self._is_behind else SHORTEST_HOLD
        self.flush()

    def flush(self) -> None:
        """Write all frames now."""
        if self._end is not None:
            self._end.cancel()
            self._end = None
        if not self._batches:
            return
        batches = list(self._batches.values())
        self._batches.clear()
        self._count = self._size = self._deliveries = 0
        self._is_full = False
        if len(batches) == 1 or _are_apart(batches):
            for batch in batches:
                self._write(batch.audience, batch.frames)
            return
        due: dict[Client, list[_Batch]] = {}
        for batch in batches:
            for client in batch.audience:
                due.setdefault(client, []).append(batch)
        groups: dict[tuple[int, ...], tuple[list[_Batch], list[Client]]] = {}
        for client, mine in due.items():
            _, clients = groups.setdefault(tuple(map(id, mine)), (mine, []))
            clients.append(client)
        for mine, clients in groups.values():
            if len(mine) == 1:
                self._write(clients, mine[0].frames)
                continue
            numbers = chain.from_iterable([batch.numbers for batch in mine])
            frames = chain.from_iterable([batch.frames for batch in mine])
            ordered = sorted(zip(numbers, frames, strict=True), key=itemgetter(0))
            self._write(clients, [frame for _, frame in ordered])

    def _write(self, clients: Iterable[Client], frames: Sequence[Frame]) -> None:
        """Write the same frames to each client."""
        batch = together(frames)
        joined: dict[int, bytes] = {}
        written = 0
        for client in clients:
            bits = client.window_bits
            data = joined.get(bits)
            if data is None:
                if len(frames) == 1:
                    data = frames[0].deflated(bits)
                else:
                    data = b"".join([frame.deflated(bits) for frame in frames])
                joined[bits] = data
            try:
                written += client.write(data, batch)
            except Exception:  # noqa: BLE001 (the other clients get theirs)
                self._log.failure("a client could not be written to")
        self.delivered += written * len(frames)


def _are_apart(batches: Sequence[_Batch]) -> bool:
    """Return True if no client is in two batches."""
    clients = {client for batch in batches for client in batch.audience}
    return len(clients) == sum([len(batch.audience) for batch in batches])
