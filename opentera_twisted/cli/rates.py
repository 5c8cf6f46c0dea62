"""How much is published, by topic: counted, and read off at intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import define, frozen

MOST_TOPICS: Final = 10_000
"""Topics that are counted one by one; what comes on others is counted together."""

OTHERS: Final = "(other topics)"


@frozen
class Rate:
    """What came on one topic.

    Attributes:
        topic: its name.
        messages: a second, during the last interval.
        bytes: of payload a second, during the last interval.
        total: messages since the beginning.
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
    """Counts messages and reads their rates off.

    Args:
        now: seconds of a clock that only advances.
    """

    def __init__(self, now: float) -> None:
        self._began = now
        self._topics: dict[str, _Count] = {}

    def add(self, topic: str, size: int) -> None:
        """One message came."""
        count = self._topics.get(topic)
        if count is None:
            name = topic if len(self._topics) < MOST_TOPICS else OTHERS
            count = self._topics.setdefault(name, _Count())
        count.messages += 1
        count.bytes += size
        count.total += 1

    def read(self, now: float) -> Sequence[Rate]:
        """The rates since they were read last, the busiest topic first."""
        seconds = max(now - self._began, 1e-6)
        self._began = now
        rates = []
        for topic, count in self._topics.items():
            rate = Rate(topic, count.messages / seconds, count.bytes / seconds, count.total)
            rates.append(rate)
            count.messages = count.bytes = 0
        return sorted(rates, key=lambda one: (-one.messages, -one.total, one.topic))
