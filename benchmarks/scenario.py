"""Settings and common functions of scenarios."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

from attrs import frozen

SERVICE: Final = "bench"
TOPIC: Final = f"service.{SERVICE}.rpc"

One = TypeVar("One")


@frozen
class Setting:
    """Settings of a run.

    Attributes:
        port: Port of the Redis-compatible server.
        rounds: Number of measurements of each side.
        quick: with a tenth of the work, to see whether it runs.
        against: names of the websocket gateways to measure beside ours.
    """

    port: int
    rounds: int
    quick: bool
    against: frozenset[str] = frozenset()

    @property
    def url(self) -> str:
        """URL of the Redis-compatible server."""
        return f"redis://127.0.0.1:{self.port}/0"

    def amount(self, full: int) -> int:
        """Return the amount of work, less in a quick run."""
        return full // 10 if self.quick else full

    def each_round(self, scenario: str) -> Iterator[int]:
        """Number the rounds, telling of each on standard error."""
        for number in range(1, self.rounds + 1):
            print(f"{scenario}: round {number} of {self.rounds}", file=sys.stderr)
            yield number


def rotated(sides: Sequence[One], number: int) -> list[One]:
    """Return the sides in the order of that round: each has each place once."""
    first = (number - 1) % len(sides) if sides else 0
    return [*sides[first:], *sides[:first]]
