"""Batches the frames of one read from Redis into one write per client."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Protocol

from twisted.logger import Logger

from opentera_twisted.gateway.frames import Frame, Frames, together


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

    def close(self, code: int, reason: str) -> None:
        """Begin to close the websocket."""


class _Batch:
    """The frames for one audience, each with its number in the order of all frames."""

    __slots__ = ("audience", "frames", "numbers")

    def __init__(self, audience: Sequence[Client]) -> None:
        self.audience = audience
        self.frames: list[Frame] = []
        self.numbers: list[int] = []


class Outbox:
    """Joins the frames for the same clients in one iteration, and writes them once to each.

    Attributes:
        delivered: frames written, to all clients together.
    """

    _log = Logger()

    def __init__(self) -> None:
        self.delivered = 0
        self._batches: dict[int, _Batch] = {}
        self._count = 0

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

    def flush(self) -> None:
        """Write all frames now; the link calls it after each read."""
        if not self._batches:
            return
        batches = list(self._batches.values())
        self._batches.clear()
        self._count = 0
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
