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
from typing import Final

from opentera_twisted.gateway.frames import Frame, Frames

STEPS: Final = 16
"""Time steps in a window; a frame is kept for up to one step longer than the window."""


class Window:
    """The newest event frames of one client, bounded in time and in bytes.

    Args:
        seconds: Seconds after which a frame is dropped.
        limit: Bytes of frames to keep; 0 for none.

    Attributes:
        sent: Frames for the client's present connection, sent or due while it was away.
        bytes: Bytes of the frames in the buffer.
    """

    __slots__ = (
        "_batches",
        "_began",
        "_first",
        "_limit",
        "_marks",
        "_seconds",
        "_skipped",
        "_step",
        "bytes",
        "sent",
    )

    def __init__(self, seconds: float, limit: int) -> None:
        self.sent = 0
        self.bytes = 0
        self._seconds = seconds
        self._step = seconds / STEPS
        self._limit = limit
        # Clients share the frames of one write; a single frame needs no batch.
        self._batches: deque[Frame | Frames] = deque()
        self._first = 0  # number of the oldest frame in the buffer
        self._skipped = 0  # dropped frames of the first batch
        # Each holds a time, and the number below which all frames were added by that time.
        self._marks: deque[tuple[float, int]] = deque()
        self._began: float | None = None  # start of the step not marked yet

    def __len__(self) -> int:
        return self.sent - self._first

    def add(self, frames: Sequence[Frame], now: float | None) -> None:
        """Keep frames for the client.

        Args:
            frames: Frames in their order.
            now: Seconds of a monotonic clock. None, for a client that is away, drops no frame for
                its age; the client's absence itself is limited.
        """
        if now is None:
            self._mark()
        elif self._began is None:
            self._began = now
        elif now - self._began >= self._step:
            self.trim(now)
            self._began = now
        count = len(frames)
        if not count:
            return
        if count == 1:
            batch: Frame | Frames = frames[0]
        else:
            batch = frames if isinstance(frames, Frames) else Frames(frames)
        self._batches.append(batch)
        self.bytes += batch.size
        self.sent += count
        while self.bytes > self._limit:
            oldest = self._batches[0]
            if isinstance(oldest, Frame):
                self._drop(1)
            else:
                ends, skipped = oldest.ends, self._skipped
                least = ends[skipped] + self.bytes - self._limit
                self._drop(bisect_left(ends, least, hi=len(oldest)) - skipped)

    def trim(self, now: float) -> None:
        """Drop old frames of a client that has received nothing for a while."""
        if self._began is not None and now - self._began >= self._step:
            self._mark()
        first = 0
        while self._marks and self._marks[0][0] <= now - self._seconds:
            first = self._marks.popleft()[1]
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
        end = min(skipped + count, len(batch))
        self._first += end - skipped
        self.bytes -= ends[end] - ends[skipped]
        self._skipped = end
        if end == len(batch):
            self._batches.popleft()
            self._skipped = 0
        elif ends[end] > self._limit:  # dropped frames of a batch stay in memory
            self._batches[0] = Frames(batch[end:])
            self._skipped = 0

    def _mark(self) -> None:
        """Mark the end of the present step with the count of frames so far."""
        if self._began is not None:
            self._marks.append((self._began + self._step, self.sent))
            self._began = None

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
            newest += (batch,) if isinstance(batch, Frame) else reversed(batch)
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
        self._began = None
        self.sent = self._first = received
        self.bytes = self._skipped = 0
        self.add(frames, None)

    @property
    def frames(self) -> Sequence[Frame]:
        """Frames in the buffer."""
        return tuple(self._newest(len(self)))
