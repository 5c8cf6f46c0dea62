"""What the admin endpoint shows of all workers: sums, and metrics by worker.

A worker sends the state of its own each second; its metrics are asked for when Prometheus asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from time import time
from typing import Any, Final

from twisted.internet.defer import DeferredList

from opentera_twisted._internal.extras import explained
from opentera_twisted.admin import LocalOverview
from opentera_twisted.admin.metrics import page_of
from opentera_twisted.admin.sampler import Sample
from opentera_twisted.bus import Bus
from opentera_twisted.program.workers.pool import Pool
from opentera_twisted.program.workers.process import Worker

try:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.samples import Sample as MetricSample
except ModuleNotFoundError as error:
    raise explained(error) from None

ANSWER_WITHIN: Final = 2.0
"""Seconds that a worker may take to tell its metrics; after that the page is without them."""

_COUNTS: Final = ("logins", "limited", "calls")


class AllWorkers:
    """Of the parent and its workers.

    Args:
        bus: of the parent.
        pool: the workers.
    """

    def __init__(self, bus: Bus, pool: Pool) -> None:
        self._own = LocalOverview(bus, None, self._combine)
        self._pool = pool
        self._clock = bus.link.clock
        self._dead: dict[str, Counter[str]] = {name: Counter() for name in _COUNTS}
        self._dead_reconnects: Counter[str] = Counter()
        self._dead_gaps = 0
        self._was_complete = False
        self._since = time()
        pool.have_told()
        pool.on_changed.append(self._changed)
        pool.on_died.append(self._died)

    def start(self) -> None:
        """Begin to take samples."""
        self._own.start()

    def stop(self) -> None:
        """Take no more."""
        self._own.stop()

    def health(self) -> dict[str, Any]:
        """The parent's page with the sums of all, and a part for each worker."""
        page = self._own.health()
        told = self._told("health")
        missing = self._pool.missing()
        if missing:
            page["status"] = "unavailable"
            page["reason"] = missing
        page["since"] = max(
            page["since"], datetime.fromtimestamp(self._since, UTC).isoformat(timespec="seconds")
        )
        page["clients"] = _sum(one["clients"] for one in told.values())
        everyone = [page, *told.values()]
        page["subscriptions"] = _sum(one["subscriptions"] for one in everyone)
        redis = [one["redis"] for one in everyone]
        page["redis"]["reconnects"] = _sum(
            [self._dead_reconnects, *(one["reconnects"] for one in redis)]
        )
        page["redis"]["gaps"] = self._dead_gaps + sum(one["gaps"] for one in redis)
        page["workers"] = {
            "count": self._pool.count,
            "ready": self._pool.ready,
            "replaced": self._pool.replaced,
            "each": [_part(one) for _, one in sorted(self._pool.workers.items())],
        }
        return page

    def state(self, after: int) -> dict[str, Any]:
        """Its health, the sums of its counts, and the samples after the one of that number."""
        own = self._own.state(after)
        counts = {
            name: _sum([own[name], self._dead[name], *self._told(name).values()])
            for name in _COUNTS
        }
        return {**own, "health": self.health(), **counts}

    async def metrics(self) -> bytes:
        """The parent's metrics, and those of each worker with its number as a label."""
        asked = dict(self._pool.workers)
        answers = await DeferredList(
            [one.metrics().addTimeout(ANSWER_WITHIN, self._clock) for one in asked.values()],
            consumeErrors=True,
        )
        told = {
            number: answer
            for number, (has_come, answer) in zip(asked, answers, strict=True)
            if has_come
        }
        return page_of(_merged([*self._own.families(), *families(self._pool)], told))

    def _told(self, name: str) -> Mapping[int, Any]:
        return {
            number: worker.told[name]
            for number, worker in self._pool.workers.items()
            if name in worker.told
        }

    def _combine(self, sample: Sample) -> Sample:
        """The sum of our own sample and the latest one of each worker; of delays the greatest."""
        latest = [sample, *(one[-1] for one in self._told("samples").values() if one)]
        return {
            name: value
            if name == "time"
            else (max if name == "delay" else sum)(one[name] for one in latest)
            for name, value in sample.items()
        }

    def _changed(self) -> None:
        is_complete = not self._pool.missing()
        if is_complete != self._was_complete:
            self._was_complete = is_complete
            self._since = time()

    def _died(self, worker: Worker) -> None:
        """Keep what it has counted: sums do not fall."""
        for name, counts in self._dead.items():
            counts.update(worker.told.get(name, {}))
        del self._dead["calls"]["in_flight"]
        if "health" in worker.told:
            redis = worker.told["health"]["redis"]
            self._dead_reconnects.update(redis["reconnects"])
            self._dead_gaps += redis["gaps"]


def families(pool: Pool) -> Sequence[Metric]:
    """What Prometheus reads of the pool itself."""
    return [
        GaugeMetricFamily("opentera_bus_workers", "Workers asked for.", pool.count),
        GaugeMetricFamily("opentera_bus_workers_ready", "Workers that let clients in.", pool.ready),
        CounterMetricFamily(
            "opentera_bus_workers_replaced",
            "Workers that died, or were killed because they did not answer.",
            pool.replaced,
        ),
    ]


def as_json(metrics: Iterable[Metric]) -> list[Any]:
    """Metrics as JSON can hold them."""
    return [
        [
            one.name,
            one.documentation,
            one.type,
            [[sample.name, sample.labels, sample.value] for sample in one.samples],
        ]
        for one in metrics
    ]


def _merged(own: Sequence[Metric], told: Mapping[int, Sequence[Any]]) -> Sequence[Metric]:
    """All samples of one name together, those of a worker with its number as a label."""
    found = {one.name: one for one in own}
    for number, metrics in told.items():
        for name, documentation, kind, samples in metrics:
            family = found.get(name)
            if family is None:
                family = found[name] = Metric(name, documentation, kind)
            family.samples += [
                MetricSample(sample, {**labels, "worker": str(number)}, value)
                for sample, labels, value in samples
            ]
    return list(found.values())


def _part(worker: Worker) -> dict[str, Any]:
    page = worker.told.get("health", {})
    part: dict[str, Any] = {
        "worker": worker.number,
        "process": worker.pid,
        "status": "ready" if worker.is_ready else "unavailable",
    }
    return part | {name: page[name] for name in ("started", "clients", "redis") if name in page}


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(total)
