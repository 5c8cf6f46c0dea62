"""Message rates by topic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import define, frozen

MOST_TOPICS: Final = 10_000
"""Topics counted one by one; messages on further topics are counted together."""

OTHERS: Final = "(other topics)"


@frozen
class Rate:
    """The rate of one topic.

    Attributes:
        topic: name.
        messages: messages per second in the last interval.
        bytes: payload bytes per second in the last interval.
        total: messages since the start.
    """

    topic: str
    messages: float
    bytes: float
    total: int


@define
class _Count:
    messages: int = 0
    bytes: int = 0
    total: int = 0


class Rates:
    """Message counters.

    Args:
        now: current time in seconds, of a monotonic clock.
    """

    def __init__(self, now: float) -> None:
        self._began = now
        self._topics: dict[str, _Count] = {}

    def add(self, topic: str, size: int) -> None:
        """Count a message with the size of its payload in bytes."""
        count = self._topics.get(topic)
        if count is None:
            name = topic if len(self._topics) < MOST_TOPICS else OTHERS
            count = self._topics.setdefault(name, _Count())
        count.messages += 1
        count.bytes += size
        count.total += 1

    def read(self, now: float) -> Sequence[Rate]:
        """Return the rates since the last call, the busiest topic first, and reset them."""
        seconds = max(now - self._began, 1e-6)
        self._began = now
        rates = []
        for topic, count in self._topics.items():
            rate = Rate(topic, count.messages / seconds, count.bytes / seconds, count.total)
            rates.append(rate)
            count.messages = count.bytes = 0
        return sorted(rates, key=lambda rate: (-rate.messages, -rate.total, rate.topic))
