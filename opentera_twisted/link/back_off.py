"""Delays between attempts to connect, which grow with each failure."""

from __future__ import annotations

import random
from typing import Final

from twisted.python.failure import Failure

FIRST_DELAY: Final = 0.1
LONGEST_DELAY: Final = 10.0
"""Seconds before a new attempt: the first and the longest delay."""


class BackOff:
    """Delays between attempts, which grow until a connection is ready."""

    def __init__(self) -> None:
        self.attempts = 0

    def delay(self, cause: Failure) -> float:
        """Compute the delay in seconds after another failure, with 20 % jitter."""
        delay = min(FIRST_DELAY * 2.0 ** min(self.attempts, 20), LONGEST_DELAY)
        self.attempts += 1
        return min(delay * random.uniform(0.8, 1.2), LONGEST_DELAY)  # noqa: S311 (no secret)

    def succeeded(self) -> None:
        """Note that a connection is ready."""
        self.reset()

    def reset(self) -> None:
        """Restart with the shortest delay."""
        self.attempts = 0
