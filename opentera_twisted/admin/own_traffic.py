"""Counts of the console's own messages and calls, which its figures omit."""

from __future__ import annotations

from collections import Counter

from opentera_twisted import topics
from opentera_twisted.bus import Bus
from opentera_twisted.link.subscriptions import Name


class OwnTraffic(Counter[str]):
    """Own messages and calls by the names of samples: ``published``, ``received``, ``calls``."""

    def __init__(self, bus: Bus) -> None:
        super().__init__()
        self._bus = bus

    def asked(self, topic: str) -> None:
        """Count a request that is about to be published on a topic."""
        is_here = self._bus.link.subscriptions.is_wanted(Name(topics.encode(topic)))
        self["published"] += 1 + is_here  # this process answers too
        self["received"] += is_here

    def answered(self, answers: int) -> None:
        """Count the answers to a request."""
        self["received"] += answers
