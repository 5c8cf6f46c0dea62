"""Messages that are not what their topic should carry: counted, and warned of now and then."""

from __future__ import annotations

from time import monotonic
from typing import Final

from twisted.logger import Logger

WARNING_INTERVAL: Final = 60.0
"""Seconds between two warnings of one topic."""

REMEMBERED_TOPICS: Final = 1000
"""Topics whose last warning is remembered."""


class Malformed:
    """Counts what is dropped; warns once a topic and minute.

    Args:
        where: what kind of topic it is.
        expected: what should have come.

    Attributes:
        count: how many were dropped.
    """

    _log = Logger()

    def __init__(self, where: str, expected: str) -> None:
        self.count = 0
        self._where = where
        self._expected = expected
        self._warned: dict[str, float] = {}

    def dropped(self, topic: str) -> None:
        """One more came on that topic."""
        self.count += 1
        now = monotonic()
        if now - self._warned.get(topic, -WARNING_INTERVAL) < WARNING_INTERVAL:
            return
        if len(self._warned) >= REMEMBERED_TOPICS:
            self._warned.clear()
        self._warned[topic] = now
        self._log.warn(
            "dropped what is not {expected} on {where}: {topic}",
            expected=self._expected,
            where=self._where,
            topic=topic,
        )
