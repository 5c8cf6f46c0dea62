"""What one of the link's connections counts, over all the times that it was made anew."""

from __future__ import annotations

from collections import Counter
from time import time
from typing import Final

from attrs import Factory, define

from opentera_twisted._internal.histogram import Histogram

SAMPLED: Final = 16
"""Of so many commands the time of one is taken."""


@define(eq=False)
class ConnectionStatistics:
    """Counts of one connection.

    Attributes:
        since: seconds since the epoch when it became ready, or ceased to be.
        connected: how often it became ready.
        failed: how many attempts failed, and connections were lost.
        commands: how many of each were sent.
        refused: how many commands Redis answered with an error.
        lost: how many were sent and got no reply, because the connection broke.
        seconds: from sending to the reply, of every ping and one in `SAMPLED` other commands.
    """

    since: float = Factory(time)
    connected: int = 0
    failed: int = 0
    commands: Counter[str | bytes | int] = Factory(Counter)
    refused: int = 0
    lost: int = 0
    seconds: Histogram = Factory(Histogram)
