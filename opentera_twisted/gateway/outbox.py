"""The frames that fall due in one turn of the reactor: each client gets its own in one write."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from opentera_twisted.gateway.frames import Frame, Frames


class Client(Protocol):
    """One websocket, as what is delivered to it sees it.

    Attributes:
        window_bits: of the compression agreed on with it; 0: none.
    """

    window_bits: int

    def write(self, data: bytes, frames: Sequence[Frame]) -> bool:
        """Send finished frames.

        Args:
            data: the bytes of all of them, for its compression.
            frames: the same, for whom it is not enough to send them.

        Returns:
            Whether they were sent: the websocket is open, and its client reads.
        """

    def close(self, code: int, reason: str) -> None:
        """Begin to close the websocket."""


class _Batch:
    """What one audience gets in this turn: frames, each with its number in the turn's order."""

    __slots__ = ("audience", "frames")

    def __init__(self, audience: Sequence[Client]) -> None:
        self.audience = audience
        self.frames: list[tuple[int, Frame]] = []


class Outbox:
    """Joins what the same clients get in the same turn, and writes it once to each.

    Args:
        clock: of the reactor whose turns these are.

    Attributes:
        delivered: how many frames were written, to all clients together.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self.delivered = 0
        self._clock = clock
        self._batches: dict[int, _Batch] = {}
        self._count = 0
        self._is_scheduled = False

    def put(self, frame: Frame, audience: Sequence[Client]) -> None:
        """Send a frame to some clients at the end of this turn.

        Args:
            frame: what they get, after all that was put before.
            audience: the clients; the same object each time, where they are the same.
        """
        batch = self._batches.get(id(audience))
        if batch is None:
            if not self._batches and not self._is_scheduled:
                self._is_scheduled = True
                self._clock.callLater(0, self._turn)
            batch = self._batches[id(audience)] = _Batch(audience)
        batch.frames.append((self._count, frame))
        self._count += 1

    def _turn(self) -> None:
        self._is_scheduled = False
        self.flush()

    def flush(self) -> None:
        """Write what was put in this turn until now."""
        batches = list(self._batches.values())
        self._batches.clear()
        self._count = 0
        if len(batches) == 1 or _are_apart(batches):
            for batch in batches:
                self._write(batch.audience, [frame for _, frame in batch.frames])
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
            numbered = [one for batch in mine for one in batch.frames]
            if len(mine) > 1:
                numbered.sort(key=itemgetter(0))
            self._write(clients, [frame for _, frame in numbered])

    def _write(self, clients: Iterable[Client], frames: Sequence[Frame]) -> None:
        """The same frames to each of some clients."""
        if len(frames) > 1:
            frames = Frames(frames)
        joined: dict[int, bytes] = {}
        written = 0
        for client in clients:
            bits = client.window_bits
            data = joined.get(bits)
            if data is None:
                data = joined[bits] = b"".join([frame.deflated(bits) for frame in frames])
            try:
                written += client.write(data, frames)
            except Exception:  # noqa: BLE001 (the other clients get theirs)
                self._log.failure("a client could not be written to")
        self.delivered += written * len(frames)


def _are_apart(batches: Sequence[_Batch]) -> bool:
    """Whether no client is in two of them."""
    clients = {client for batch in batches for client in batch.audience}
    return len(clients) == sum([len(batch.audience) for batch in batches])
