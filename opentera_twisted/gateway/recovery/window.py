"""A buffer of the event frames that one client may need again, without a socket or a clock.

The client counts the event frames of its connection, so frames carry no number. The number of a
frame is the client's count before it:

    number    0 … 41      42 … 57    58
              dropped     kept       the next frame
                          `bytes`    `sent`
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence

from opentera_twisted.gateway.frames import Frame, Frames, together


class Window:
    """The newest event frames of one client, bounded in time and in bytes.

    Args:
        seconds: Minimum age in seconds at which `trim` drops a frame.
        limit: Bytes of frames to keep; 0 for none.

    Attributes:
        sent: Frames for the client's present connection, sent or due while it was away.
        bytes: Bytes of the frames in the buffer.
    """

    __slots__ = ("_batches", "_first", "_limit", "_marks", "_seconds", "_skipped", "bytes", "sent")

    def __init__(self, seconds: float, limit: int) -> None:
        self.sent = 0
        self.bytes = 0
        self._seconds = seconds
        self._limit = limit
        # Clients share the frames of one write; a single frame needs no batch.
        self._batches: deque[Frame | Frames] = deque()
        self._first = 0  # number of the oldest frame in the buffer
        self._skipped = 0  # dropped frames of the first batch
        # Each holds a time, and the number below which all frames were added by that time.
        self._marks: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return self.sent - self._first

    def add(self, frames: Frame | Frames) -> None:
        """Keep frames for the client."""
        self._batches.append(frames)
        self.sent += frames.number
        self.bytes += frames.size
        while self.bytes > self._limit:
            oldest = self._batches[0]
            if isinstance(oldest, Frame):
                self._drop(1)
            else:
                ends, skipped = oldest.ends, self._skipped
                least = ends[skipped] + self.bytes - self._limit
                self._drop(bisect_left(ends, least, hi=oldest.number) - skipped)

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
        while marks and marks[0][0] <= oldest:
            _, first = marks.pop(0)
            while self._first < first:
                self._drop(first - self._first)

    def _drop(self, count: int) -> None:
        """Drop frames from the oldest batch, at most ``count``."""
        batch = self._batches[0]
        if isinstance(batch, Frame):
            self._batches.popleft()
            self._first += 1
            self.bytes -= batch.size
            return
        ends, skipped = batch.ends, self._skipped
        end = min(skipped + count, batch.number)
        self._first += end - skipped
        self.bytes -= ends[end] - ends[skipped]
        self._skipped = end
        if end == batch.number:
            self._batches.popleft()
            self._skipped = 0
        elif ends[end] > self._limit:  # dropped frames of a batch stay in memory
            self._batches[0] = Frames(batch.frames[end:])
            self._skipped = 0

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
        newest: list[Frame] = []
        for batch in reversed(self._batches):
            if len(newest) >= count:
                break
            newest += (batch,) if isinstance(batch, Frame) else reversed(batch.frames)
        return newest[:count][::-1]

    def restart(self, frames: Iterable[Frame], received: int = 0) -> None:
        """Begin a connection with the missed frames, whose age starts again.

        Args:
            frames: The missed frames.
            received: Event frames that the client counted before them; 0 on a new connection.
        """
        frames = list(frames)
        self._batches.clear()
        self._marks.clear()
        self.sent = self._first = received
        self.bytes = self._skipped = 0
        if frames:
            self.add(together(frames))

    @property
    def frames(self) -> Sequence[Frame]:
        """Frames in the buffer."""
        return tuple(self._newest(len(self)))
