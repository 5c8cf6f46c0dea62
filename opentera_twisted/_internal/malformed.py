"""Malformed messages on a topic: counted, with a warning from time to time."""

from __future__ import annotations

from time import monotonic
from typing import Final

from twisted.logger import Logger

WARNING_INTERVAL: Final = 60.0
"""Seconds between two warnings for one topic."""

REMEMBERED_TOPICS: Final = 1000
"""Maximum number of topics with a remembered warning."""


class Malformed:
    """Count dropped messages; warn once per topic and minute."""

    _log = Logger()

    def __init__(self, where: str, expected: str) -> None:
        self.count = 0
        self._where = where
        self._expected = expected
        self._warned: dict[str, float] = {}

    def dropped(self, topic: str) -> None:
        """Count a dropped message of a topic."""
        self.count += 1
        now = monotonic()
        if now - self._warned.get(topic, -WARNING_INTERVAL) < WARNING_INTERVAL:
            return
        if len(self._warned) >= REMEMBERED_TOPICS:
            self._warned.clear()
        self._warned[topic] = now
        self._log.warn(
            "dropped a message that is not {expected} on {where}: {topic}",
            expected=self._expected,
            where=self._where,
            topic=topic,
        )
