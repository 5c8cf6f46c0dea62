"""A buffer of the event frames that one client may need again, without a socket or a clock.

The client counts the event frames of its connection, so frames carry no number. The number of a
frame is the client's count before it:

    number    0 … 41      42 … 57    58
              dropped     kept       the next frame
                          `bytes`    `sent`
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice

from opentera_twisted.gateway.frames import Frame, Frames


class Window:
    """The newest event frames of one client, bounded in time and in bytes.

    Args:
        seconds: Minimum age in seconds at which `trim` drops a frame.
        limit: Bytes of frames to keep; 0 for none. Frames of one write leave together, and missed
            frames stay together, so up to twice as many are kept.

    Attributes:
        sent: Frames for the client's present connection, sent or due while it was away.
        bytes: Bytes of the frames in the buffer.
    """

    __slots__ = ("_batches", "_first", "_limit", "_marks", "_seconds", "bytes", "sent")

    def __init__(self, seconds: float, limit: int) -> None:
        self.sent = 0
        self.bytes = 0
        self._seconds = seconds
        self._limit = limit
        # Clients share the frames of one write; a single frame needs no batch.
        self._batches: deque[Frame | Frames] = deque()
        self._first = 0  # number of the oldest frame in the buffer
        # Each holds a time, and the number below which all frames were added by that time.
        self._marks: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return self.sent - self._first

    def add(self, frames: Frame | Frames) -> None:
        """Keep frames for the client."""
        size = self.bytes + frames.size
        if size > self._limit:
            self._add_to_full(frames, size)
            return
        self._batches.append(frames)
        self.sent += frames.number
        self.bytes = size

    def _add_to_full(self, frames: Frame | Frames, size: int) -> None:
        """Keep frames, and drop the oldest ones beyond the limit."""
        limit, batches = self._limit, self._batches
        if frames.number > 1 and frames.size > limit:
            self.restart(_each(frames), self.sent)
            return
        batches.append(frames)
        self.sent += frames.number
        while size > limit:
            oldest = batches[0]
            # Frames of one write leave together, so that a write is no work for each frame.
            if oldest.number > 1 and size - oldest.size < limit:
                break
            batches.popleft()
            self._first += oldest.number
            size -= oldest.size
        self.bytes = size

    def trim(self, now: float) -> None:
        """Drop old frames; call it regularly while the client is connected.

        The age of a frame counts from the first call after it was added, so that adding needs no
        clock. The frames of a client that is away do not age; its absence itself is limited.

        Args:
            now: Seconds of a monotonic clock.
        """
        marks = self._marks
        if not marks or marks[-1][1] < self.sent:
            marks.append((now, self.sent))
        oldest = now - self._seconds
        while marks and (marks[0][0] <= oldest or marks[0][1] <= self._first):
            _, first = marks.pop(0)
            while self._first < first:
                self._drop()

    def _drop(self) -> None:
        """Drop the oldest frames."""
        oldest = self._batches.popleft()
        self._first += oldest.number
        self.bytes -= oldest.size

    def since(self, received: int) -> list[Frame] | None:
        """Find the frames that the client has missed.

        Args:
            received: Event frames that the client counted on its connection.

        Returns:
            The frames in their order; None if one was dropped, or if the count is too high.
        """
        if not self._first <= received <= self.sent:
            return None
        return self._newest(self.sent - received)

    def _newest(self, count: int) -> list[Frame]:
        if len(self._batches) == len(self):  # all are single frames
            return list(islice(self._batches, len(self) - count, None))  # type: ignore[arg-type]
        newest: list[Frame] = []
        for batch in reversed(self._batches):
            if len(newest) >= count:
                break
            newest += reversed(_each(batch))
        return newest[:count][::-1]

    def restart(self, frames: Iterable[Frame], received: int = 0) -> None:
        """Begin a connection with the missed frames, whose age starts again.

        The client may return once more before it has received them, so all are kept.

        Args:
            frames: The missed frames.
            received: Event frames that the client counted before them; 0 on a new connection.
        """
        kept: deque[Frame | Frames] = deque(frames)
        number, size = len(kept), sum([frame.size for frame in kept])
        if size > 2 * self._limit:
            while size > self._limit:
                size -= kept.popleft().size
        self._batches = kept
        self._marks.clear()
        self.sent = received + number
        self._first = self.sent - len(kept)
        self.bytes = size

    @property
    def frames(self) -> Sequence[Frame]:
        """Frames in the buffer."""
        return tuple(self._newest(len(self)))


def _each(frames: Frame | Frames) -> Sequence[Frame]:
    return (frames,) if isinstance(frames, Frame) else frames.frames
