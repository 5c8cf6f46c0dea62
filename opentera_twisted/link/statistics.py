"""Counts of one of the link's connections, across reconnections."""

from __future__ import annotations

from collections import Counter
from time import time
from typing import Final

from attrs import Factory, define

from opentera_twisted._internal.histogram import Histogram

SAMPLED: Final = 16
"""Number of commands of which one is timed."""


@define(eq=False)
class ConnectionStatistics:
    """Counts of one connection.

    Attributes:
        since: seconds since the epoch when it became ready, or stopped being ready.
        connected: number of times that it became ready.
        failed: number of failed attempts and lost connections.
        commands: number of commands sent, by name.
        refused: number of commands that Redis answered with an error.
        lost: number of commands without a reply because the connection broke.
        seconds: reply times of every ping and one in `SAMPLED` other commands.
    """

    since: float = Factory(time)
    connected: int = 0
    failed: int = 0
    commands: Counter[str | bytes | int] = Factory(Counter)
    refused: int = 0
    lost: int = 0
    seconds: Histogram = Factory(Histogram)

    @property
    def published(self) -> int:
        """Number of messages published, sharded ones included."""
        return self.commands["PUBLISH"] + self.commands["SPUBLISH"]
