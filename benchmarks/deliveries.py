"""Measures one gateway: opens websockets, has events published, counts and times deliveries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from attrs import evolve, frozen

from benchmarks.children import Child, program
from benchmarks.events import MARK
from benchmarks.gateways import Audience, Side, Start
from benchmarks.processes import processor_time
from benchmarks.scenario import Setting

WARM_UP: Final = 5
"""Events for each websocket before the measurement."""

WARM_UP_PACE: Final = 0.01
"""Seconds from one of them to the next."""

WARM_UP_DELIVERIES: Final = 2_500
"""To all websockets together, at most, but one to each."""

PATIENCE: Final = 30.0
"""Seconds to wait for what is delivered."""

LONGEST: Final = 2.0
"""Seconds that a slow gateway may take over one measurement; it gets fewer events then.

A gateway that takes longer for one event to each websocket has its warm-up measured.
"""


@frozen
class Delivered:
    """Measurements of some events.

    Attributes:
        per_second: deliveries, from the first event's publication to the last one's delivery.
        cost: Microseconds of the gateway's processor time per delivery.
        load: share of one core that the load generator took.
        lost: share of the deliveries that did not come.
    """

    per_second: float
    cost: float
    load: float
    lost: float


@frozen
class Connected:
    """A gateway with its websockets open."""

    side: Side
    _load: Child
    _publisher: Child
    _audience: Audience
    _at_first: int
    _warm: Delivered | None = None

    def open_others(self) -> None:
        """Open the websockets that were not opened at first, and warm them up."""
        others = slice(self._at_first, None)
        topics = self._audience.topics[others]
        self._load.ask({"open": {"paths": self.side.paths[others], "topics": topics}})
        self.warm_up()

    def warm_up(self) -> Delivered:
        """Publish a few events, paced."""
        each = max(1, min(WARM_UP, WARM_UP_DELIVERIES // len(self._audience.topics)))
        return self._deliver(each, WARM_UP_PACE / len(self._audience.published), 1)

    def warmed_up(self) -> Connected:
        """The same after a warm-up, which bounds the measurements of a slow gateway."""
        return evolve(self, warm=self.warm_up())

    def measure(self, each: int, pace: float = 0.0, times: int = 1) -> Delivered:
        """Publish events, and count what is delivered until all has come.

        Args:
            each: how many each websocket receives; fewer when the gateway is slow.
            pace: seconds between events; 0: in one burst.
            times: how often to do so, one after the other.
        """
        count = len(self._audience.topics)
        if self._warm is not None:
            most = int(LONGEST * self._warm.per_second / count)
            if not most:
                return self._warm
            if most < each * times:
                # Perhaps only the pace of the warm-up limited its rate; a burst has none.
                trial = self._deliver(min(each, most), 0.0, 1)
                most = max(1, int(LONGEST * trial.per_second / count))
            # Rather fewer bursts than smaller ones.
            each, times = min(each, most), max(1, min(times, most // each))
        return self._deliver(each, pace, times)

    def _deliver(self, each: int, pace: float, times: int) -> Delivered:
        published = each * len(self._audience.published)
        delivered = wanted = 0
        seconds = load = 0.0
        cost = -processor_time(self.side.pids)
        for _ in range(times):
            self._load.ask({"count": {"mark": MARK, "each": each, "within": PATIENCE}})
            sent = self._publisher.ask({"count": published, "pace": pace})
            report = self._load.report()
            took = max(report["last"] - sent["started"], 1e-9)
            delivered += report["delivered"]
            wanted += report["wanted"]
            seconds += took
            load += report["cpu_share"] * took
        cost += processor_time(self.side.pids)
        return Delivered(
            per_second=delivered / seconds,
            cost=1e6 * cost / max(1, delivered),
            load=load / seconds,
            lost=1.0 - delivered / wanted,
        )

    def latencies(self, each: int, pace: float) -> list[float]:
        """Publish events of a shared topic; how long each took to each websocket, in seconds.

        Args:
            each: how many events.
            pace: seconds between them: so many that none waits for the one before it.

        Raises:
            RuntimeError: not all came.
        """
        self._load.ask({"time": {"mark": MARK, "each": each, "within": each * pace + PATIENCE}})
        sent = self._publisher.ask({"count": each, "pace": pace})["sent"]
        arrivals = self._load.report()["arrivals"]
        return [
            arrived - began
            for arrival in arrivals
            for began, arrived in zip(sent, _all(arrival, each), strict=True)
        ]


def _all(arrivals: list[float], each: int) -> list[float]:
    if len(arrivals) != each:
        raise RuntimeError(f"{len(arrivals)} of {each} events came to a websocket")
    return arrivals


@contextmanager
def connected(
    start: Start, setting: Setting, audience: Audience, at_first: int | None = None
) -> Iterator[Connected]:
    """A warm gateway with a websocket for each topic of the audience.

    Args:
        start: starts the gateway.
        setting: settings of the run.
        audience: topics of the websockets.
        at_first: number of websockets to open; None opens all.
    """
    count = len(audience.topics) if at_first is None else at_first
    with (
        _opened(start, setting, audience, count) as (side, load),
        side.publisher(audience.published) as publisher,
    ):
        yield Connected(side, load, publisher, audience, count).warmed_up()


@contextmanager
def connected_to_both(
    start: Start, setting: Setting, count: int
) -> Iterator[tuple[Connected, Connected]]:
    """A warm gateway whose websockets follow one topic, and each another one of its own.

    Args:
        start: starts the gateway.
        setting: settings of the run.
        count: number of websockets.

    Yields:
        The gateway with events of the shared topic, and with events of personal topics.
    """
    both = Audience.both(count)
    shared = Audience.shared(count)
    with (
        _opened(start, setting, both, count) as (side, load),
        side.publisher(shared.published) as common,
        side.publisher(both.published) as personal,
    ):
        yield (
            Connected(side, load, common, shared, count).warmed_up(),
            Connected(side, load, personal, both, count).warmed_up(),
        )


@contextmanager
def _opened(
    start: Start, setting: Setting, audience: Audience, count: int
) -> Iterator[tuple[Side, Child]]:
    """A gateway, and the load generator of its first websockets."""
    with (
        start(setting, audience) as side,
        program("websocket_load", port=side.port, dialect=side.dialect) as load,
    ):
        load.ask({"open": {"paths": side.paths[:count], "topics": audience.followed[:count]}})
        yield side, load
