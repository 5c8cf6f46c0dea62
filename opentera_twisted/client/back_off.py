"""Delays between a client's attempts, which protect the gateway and the key supplier."""

from __future__ import annotations

import random
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from opentera_twisted.errors import HandshakeFailed, WebSocketClosed
from opentera_twisted.link.back_off import BackOff

STEADY_AFTER: Final = 10.0
"""Seconds that a connection must last to reset the delays."""

REBUKED: Final = 5.0
"""Shortest delay in seconds after a close that this client caused, for example by being slow."""

LONGEST_RETRY_AFTER: Final = 60.0
"""Longest delay in seconds that a client accepts from a gateway's ``Retry-After``."""

_REBUKES: Final = frozenset({1008, 1009, 1013})


class ClientBackOff(BackOff):
    """Delays that grow until a connection has lasted for a while.

    Args:
        clock: clock that measures how long a connection lasted.

    Attributes:
        is_skipped: make the next attempt at once.
    """

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__()
        self._clock = clock
        self._ready_at: float | None = None
        self.is_skipped = False

    def delay(self, cause: Failure) -> float:
        """Return the seconds to wait after one more attempt or connection has ended."""
        if self._ready_at is not None and self._clock.seconds() - self._ready_at >= STEADY_AFTER:
            self.attempts = 0
        self._ready_at = None
        if self.is_skipped:
            self.is_skipped = False
            return 0.0
        return max(super().delay(cause), _least(cause.value))

    def succeeded(self) -> None:
        """Note that a connection is ready; the delays are reset only if it lasts."""
        self._ready_at = self._clock.seconds()

    def reset(self) -> None:
        """Reset the delays."""
        super().reset()
        self._ready_at = None
        self.is_skipped = False


def _least(error: BaseException | None) -> float:
    if isinstance(error, HandshakeFailed):
        seconds = min(error.retry_after, LONGEST_RETRY_AFTER)
    elif isinstance(error, WebSocketClosed) and error.code in _REBUKES:
        seconds = REBUKED
    else:
        return 0.0
    # Wait longer than required, so that clients do not return all at once.
    return seconds * random.uniform(1.0, 1.5)  # noqa: S311 (no secret)
