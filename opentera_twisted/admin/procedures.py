"""Figures of all servers' procedures: calls, errors and durations, from ``opentera.stats``."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeGuard

from attrs import Factory, define
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from opentera_twisted._internal.gathered import gathered
from opentera_twisted._internal.waiters import Waiters
from opentera_twisted.admin.own_traffic import OwnTraffic
from opentera_twisted.admin.rights import SERVICES, lacking
from opentera_twisted.bus import Bus
from opentera_twisted.errors import BusError, PermissionDenied
from opentera_twisted.rpc.discovery import listed_topics

TIMEOUT: Final = 2.0
"""Seconds to wait for the servers of one topic."""

FRESH: Final = 2.0
"""Seconds for which one reply serves all viewers."""

SILENCE: Final = 60.0
"""Seconds without requests to a topic whose servers did not answer."""

MOST_TOPICS: Final = 50
MOST_ROWS: Final = 300
"""Topics and procedures in one reply, at most."""

LONGEST: Final = 100
"""Characters of a name, at most."""

PERCENTILES: Final = ("p50", "p90", "p99")


@define(eq=False)
class _Row:
    """The figures of one procedure, over all servers of a topic."""

    servers: int = 0
    calls: int = 0
    errors: Counter[str] = Factory(Counter)
    seconds: dict[str, float] = Factory(dict)

    def add(self, figures: Mapping[str, Any]) -> None:
        """Add one server's figures; of several servers, keep the longest durations."""
        self.servers += 1
        self.calls += _count(figures.get("calls"))
        self.errors.update(_counts(figures.get("errors")))
        seconds = figures.get("seconds")
        for name in PERCENTILES:
            value = seconds.get(name) if isinstance(seconds, dict) else None
            if _is_number(value):
                self.seconds[name] = max(self.seconds.get(name, 0.0), float(value))


class Figures:
    """The figures of all procedures, requested when a page asks for them.

    Args:
        bus: bus of the servers.
        own: counts of the console's own traffic.
    """

    def __init__(self, bus: Bus, own: OwnTraffic) -> None:
        self._bus = bus
        self._own = own
        self._clock = bus.link.clock
        self._waiting: Waiters[dict[str, Any]] = Waiters()
        self._page: dict[str, Any] = {}
        self._expires = 0.0
        self._silent: dict[str, float] = {}  # topics, and when to request them again

    async def page(self) -> dict[str, Any]:
        """Return the figures by procedure; concurrent requests share one query.

        Raises:
            Refused: the Redis user may not list servers.
            BusUnavailable, CommandFailed: Redis did not list them.
        """
        if self._page and self._clock.seconds() < self._expires:
            return self._page
        waiting = self._waiting.wait()
        if len(self._waiting) == 1:
            Deferred.fromCoroutine(self._query())
        return await waiting

    async def _query(self) -> None:
        found: dict[str, Any] | Failure
        try:
            found = self._page = await self._gather()
            self._expires = self._clock.seconds() + FRESH
        except PermissionDenied:
            found = Failure(lacking("the servers", SERVICES))
        except Exception:  # noqa: BLE001 (pass any failure on to the waiting requests)
            found = Failure()
        self._waiting.fire(found)

    async def _gather(self) -> dict[str, Any]:
        listed = sorted(await listed_topics(self._bus.link))
        now = self._clock.seconds()
        self._silent = {name: until for name, until in self._silent.items() if until > now}
        asked = [topic for topic in listed if topic not in self._silent][:MOST_TOPICS]
        answers = await gathered(Deferred.fromCoroutine(self._stats(topic)) for topic in asked)
        self._silent.update(
            (topic, self._clock.seconds() + SILENCE)
            for topic, stats in zip(asked, answers, strict=True)
            if not stats
        )
        rows: list[dict[str, Any]] = []
        for topic, stats in zip(asked, answers, strict=True):
            rows += _rows(topic.removesuffix(".rpc"), stats)
        return {
            "time": time.time(),
            "topics": len(listed),
            "asked": len(asked),
            "silent": len(self._silent.keys() & set(listed)),
            "procedures": rows[:MOST_ROWS],
            "omitted": max(len(rows) - MOST_ROWS, 0),
        }

    async def _stats(self, topic: str) -> list[dict[str, Any]]:
        """Request the counts of all servers of a topic; servers that do not count are omitted."""
        server = topic.removesuffix(".rpc")
        self._own.asked(topic)
        try:
            answers = await self._bus.call_all(server, "opentera.stats", timeout=TIMEOUT)
        except BusError:
            return []
        self._own.answered(len(answers))
        return [answer.value for answer in answers if isinstance(answer.value, dict)]


def _rows(server: str, stats: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    rows: dict[str, _Row] = {}
    refused: Counter[str] = Counter()
    for part in stats:
        refused.update(_counts(part.get("refused")))
        procedures = part.get("procedures")
        if isinstance(procedures, dict):
            for name, figures in list(procedures.items())[:MOST_ROWS]:
                if isinstance(figures, dict):
                    rows.setdefault(name[:LONGEST], _Row()).add(figures)
    if refused:  # not run, hence without durations
        rows[""] = _Row(servers=0, calls=refused.total(), errors=refused)
    for name, row in sorted(rows.items()):
        yield {
            "server": server[:LONGEST],
            "procedure": name,
            "servers": row.servers,
            "calls": row.calls,
            "errors": dict(row.errors),
            "seconds": row.seconds,
        }


def _count(value: Any) -> int:
    return int(value) if _is_number(value) else 0


def _is_number(value: Any) -> TypeGuard[float]:
    """Return True for a finite number ≥ 0; another program's server may send anything."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and 0 <= value < 1e15 and math.isfinite(value)


def _counts(value: Any) -> dict[str, int]:
    if not isinstance(value, dict):
        return {}
    return {str(name)[:LONGEST]: _count(number) for name, number in list(value.items())[:20]}
