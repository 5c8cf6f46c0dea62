"""Bookkeeping of the event frames that one client may need again: no socket and no clock.

The client counts the event frames of its connection, so the frames themselves carry nothing. The
number of a frame is the client's count before it:

    number    0 … 41      42 … 57    58
              dropped     kept       the next frame
                          `bytes`    `sent`
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

from opentera_twisted.gateway.frames import Frame

STEPS: Final = 16
"""Marks of time in a window; a frame is kept for up to one such part longer than the window."""


class Window:
    """The newest event frames of one client, bounded in time and in bytes.

    Args:
        seconds: age at which a frame is dropped.
        limit: bytes of frames that are kept; 0: none.

    Attributes:
        sent: frames that the client was sent, or would have been, on its present connection.
        bytes: size of the frames that are kept.
    """

    __slots__ = ("_began", "_frames", "_limit", "_marks", "_seconds", "_step", "bytes", "sent")

    def __init__(self, seconds: float, limit: int) -> None:
        self.sent = 0
        self.bytes = 0
        self._seconds = seconds
        self._step = seconds / STEPS
        self._limit = limit
        self._frames: deque[Frame] = deque()
        # Each with a time, and the number before which all frames were added until then.
        self._marks: deque[tuple[float, int]] = deque()
        self._began: float | None = None  # the part of the window that is not marked yet

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, frames: Sequence[Frame], now: float | None) -> None:
        """Keep frames that the client is sent.

        Args:
            frames: in their order.
            now: seconds of a steady clock; None drops nothing for its age, as for a client that is
                away: its own time is limited.
        """
        if now is None:
            self._mark()
        elif self._began is None:
            self._began = now
        elif now - self._began >= self._step:
            self.trim(now)
            self._began = now
        for frame in frames:
            self._frames.append(frame)
            self.bytes += frame.size
        self.sent += len(frames)
        while self.bytes > self._limit:
            self.bytes -= self._frames.popleft().size

    def trim(self, now: float) -> None:
        """Drop frames for their age, as of a client that has received nothing for a while."""
        if self._began is not None and now - self._began >= self._step:
            self._mark()
        first = 0
        while self._marks and self._marks[0][0] <= now - self._seconds:
            first = self._marks.popleft()[1]
        while self._frames and self.sent - len(self._frames) < first:
            self.bytes -= self._frames.popleft().size

    def _mark(self) -> None:
        """Note that what was added in the present part of the window is not newer than that."""
        if self._began is not None:
            self._marks.append((self._began + self._step, self.sent))
            self._began = None

    def since(self, received: int) -> list[Frame] | None:
        """Find the frames that the client has missed.

        Args:
            received: event frames that it counted on its connection.

        Returns:
            The frames in their order; None when one was dropped, or it counted too many.
        """
        first = self.sent - len(self._frames)
        if not first <= received <= self.sent:
            return None
        return list(islice(self._frames, received - first, None))

    def restart(self, frames: Iterable[Frame]) -> None:
        """Begin a connection, whose first event frames are those that were missed.

        They are new from now on, as `add` sees it.
        """
        frames = list(frames)
        self._frames.clear()
        self._marks.clear()
        self._began = None
        self.sent = self.bytes = 0
        self.add(frames, None)

    @property
    def frames(self) -> Sequence[Frame]:
        """Those that are kept."""
        return tuple(self._frames)
