"""Incidents: refused logins, slow clients, reconnects and gaps, with the times of the latest."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import define

from opentera_twisted.bus import Bus
from opentera_twisted.gateway import Gateway

KEPT: Final = 100
"""Episodes kept, at most."""

QUIET: Final = 30.0
"""Seconds without an incident that end its episode."""

_LIMITS: Final = ("handshake_timeout", "max_message_size", "max_messages_per_minute")
"""Limits for which the gateway closes clients; others refuse logins, which are counted by cause."""


def totals_of(bus: Bus, gateway: Gateway | None) -> dict[str, int]:
    """Count the incidents of a process since its start, by ``kind:detail``."""
    totals = {f"reconnect:{name}": count for name, count in bus.link.reconnects.items()}
    totals["gap:"] = bus.link.gaps
    if gateway is not None:
        totals["slow:"] = gateway.limited["max_send_buffer"]
        totals |= {f"limit:{name}": gateway.limited[name] for name in _LIMITS}
        totals |= {f"refused:{cause}": count for cause, count in gateway.refusals.items()}
    return totals


@define
class _Episode:
    name: str
    count: int
    first: float
    last: float


class Incidents:
    """Keeps the times of incidents: one episode for those that follow each other closely.

    Args:
        totals: returns the counts since the start, by ``kind:detail``.
    """

    def __init__(self, totals: Callable[[], Mapping[str, int]]) -> None:
        self._totals = totals
        self._counted: Counter[str] = Counter()
        self._episodes: deque[_Episode] = deque(maxlen=KEPT)

    def start(self) -> None:
        """Ignore the incidents until now."""
        self._counted = Counter(self._totals())

    def update(self) -> None:
        """Add the incidents since the last call."""
        now = time.time()
        totals = Counter(self._totals())
        for name, count in (totals - self._counted).items():
            self._add(name, count, now)
        self._counted = totals

    def _add(self, name: str, count: int, now: float) -> None:
        for episode in reversed(self._episodes):
            if episode.last < now - QUIET:
                break
            if episode.name == name:
                episode.count += count
                episode.last = now
                self._episodes.remove(episode)
                self._episodes.append(episode)
                return
        self._episodes.append(_Episode(name, count, now, now))

    def to_json(self) -> list[dict[str, Any]]:
        """Return the episodes, the latest first."""
        return [
            {
                "name": episode.name,
                "count": episode.count,
                "first": episode.first,
                "last": episode.last,
            }
            for episode in reversed(self._episodes)
        ]
