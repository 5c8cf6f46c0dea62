"""Websockets of our gateway that log in at once: their logins, and bursts of events for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from attrs import frozen

from benchmarks.children import Child, program
from benchmarks.deliveries import PATIENCE
from benchmarks.events import MARK
from benchmarks.gateways import Audience, Side, Start
from benchmarks.presence_reports import awaiting_reports, forget_everyone
from benchmarks.processes import processor_time, resident
from benchmarks.scenario import Setting


@frozen
class Logins:
    """Measurements of the logins.

    Attributes:
        per_second: logins, until all are subscribed and reported.
        cost: Microseconds of processor time of a login, of all processes of the gateway.
        memory: KiB of memory of each websocket.
    """

    per_second: float
    cost: float
    memory: float


@frozen
class Crowd:
    """A gateway and the load generators of its websockets.

    Attributes:
        side: the gateway.
        audience: topics of the websockets.
        loads: load generators.
        shares: indices of each load generator's websockets.
    """

    side: Side
    audience: Audience
    loads: Sequence[Child]
    shares: Sequence[slice]

    def log_in(self, setting: Setting) -> Logins:
        """Open all websockets; wait until the gateway has reported their users."""
        paths, topics, pids = self.side.paths, self.audience.followed, self.side.pids
        memory, cost = resident(pids), processor_time(pids)
        with awaiting_reports(setting, len(paths)) as reported:
            for load, share in zip(self.loads, self.shares, strict=True):
                load.tell({"open": {"paths": paths[share], "topics": topics[share]}})
            started = min(load.report()["started"] for load in self.loads)
            seconds = reported() - started
        return Logins(
            per_second=len(paths) / seconds,
            cost=1e6 * (processor_time(pids) - cost) / len(paths),
            memory=(resident(pids) - memory) / len(paths),
        )

    def burst(self, topics: Sequence[str], each: int, times: int = 1) -> tuple[float, bool]:
        """Publish events at once, after a burst as a warm-up.

        Args:
            topics: topics of the events: the shared one, or one of each websocket.
            each: events for each websocket in a burst.
            times: number of measured bursts, one after another.

        Returns:
            Deliveries per second, and true if all arrived.
        """
        delivered = seconds = 0.0
        is_complete = True
        with self.side.publisher(topics) as publisher:
            for number in range(times + 1):
                for load in self.loads:
                    load.ask({"count": {"mark": MARK, "each": each, "within": PATIENCE}})
                sent = publisher.ask({"count": each * len(topics), "pace": 0.0})
                reports = [load.report() for load in self.loads]
                is_complete = is_complete and all(report["complete"] for report in reports)
                if number:
                    delivered += sum(report["delivered"] for report in reports)
                    seconds += max(report["last"] for report in reports) - sent["started"]
        return delivered / seconds, is_complete


@contextmanager
def crowd(setting: Setting, start: Start, count: int, most: int) -> Iterator[Crowd]:
    """A new gateway for websockets that each follow a topic of their own and a shared one.

    Args:
        setting: settings of the run.
        start: starts the gateway.
        count: number of websockets.
        most: maximum number of websockets of one load generator.
    """
    audience = Audience.both(count)
    shares = [slice(first, min(first + most, count)) for first in range(0, count, most)]
    forget_everyone(setting)
    with ExitStack() as stack:
        side = stack.enter_context(start(setting, audience))
        loads = [
            stack.enter_context(program("websocket_load", port=side.port, dialect=side.dialect))
            for _ in shares
        ]
        yield Crowd(side, audience, loads, shares)
