"""State of all workers for the admin endpoint: sums, and metrics by worker.

A worker sends its state each second. The parent requests its metrics when Prometheus scrapes.
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
from opentera_twisted.admin.history import Sample
from opentera_twisted.admin.metrics import page_of
from opentera_twisted.bus import Bus
from opentera_twisted.program.log import lost_by_log
from opentera_twisted.program.workers.pool import Pool
from opentera_twisted.program.workers.process import Worker

try:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.samples import Exemplar
    from prometheus_client.samples import Sample as MetricSample
except ModuleNotFoundError as error:
    raise explained(error) from None

ANSWER_WITHIN: Final = 2.0
"""Seconds to wait for a worker's metrics; after that, the page omits them."""

_COUNTS: Final = ("logins", "limited", "calls", "incidents")


class AllWorkers:
    """The overview of the parent and its workers."""

    def __init__(self, bus: Bus, pool: Pool) -> None:
        self._own = LocalOverview(bus, None, self._combine, self._incidents, lost_by_log)
        self.own = self._own.own
        self._pool = pool
        self._clock = bus.link.clock
        self._dead: dict[str, Counter[str]] = {name: Counter() for name in _COUNTS}
        self._dead_reconnects: Counter[str] = Counter()
        self._dead_gaps = 0
        self._dead_recoveries: Counter[str] = Counter()
        self._was_complete = False
        self._since = time()
        pool.collect_reports()
        pool.on_changed.append(self._changed)
        pool.on_died.append(self._died)

    def start(self) -> None:
        """Start sampling."""
        self._own.start()

    def stop(self) -> None:
        """Stop sampling."""
        self._own.stop()

    def health(self) -> dict[str, Any]:
        """Return the parent's health with the sums of all workers, and a part for each worker."""
        page = self._own.health()
        reported = self._reported("health")
        missing = self._pool.missing()
        if missing:
            page["status"] = "unavailable"
            page["reason"] = missing
        page["since"] = max(
            page["since"], datetime.fromtimestamp(self._since, UTC).isoformat(timespec="seconds")
        )
        page["clients"] = _sum(health["clients"] for health in reported.values())
        recovery = [health["recovery"] for health in reported.values()]
        page["recovery"] = {
            **{name: sum(part[name] for part in recovery) for name in ("away", "bytes")},
            "outcomes": _sum([self._dead_recoveries, *(part["outcomes"] for part in recovery)]),
        }
        everyone = [page, *reported.values()]
        page["subscriptions"] = _sum(health["subscriptions"] for health in everyone)
        redis = [health["redis"] for health in everyone]
        page["redis"]["reconnects"] = _sum(
            [self._dead_reconnects, *(state["reconnects"] for state in redis)]
        )
        page["redis"]["gaps"] = self._dead_gaps + sum(state["gaps"] for state in redis)
        page["workers"] = {
            "count": self._pool.count,
            "ready": self._pool.ready,
            "replaced": self._pool.replaced,
            "each": [_part(worker) for _, worker in sorted(self._pool.workers.items())],
        }
        return page

    def state(self, after: int) -> dict[str, Any]:
        """Return the health, the sums of all counts, and the samples after the given number."""
        own = self._own.state(after)
        counts = {name: self._summed(name, own[name]) for name in _COUNTS}
        return {**own, "health": self.health(), **counts}

    def hour(self) -> list[Sample]:
        """Return coarse samples of the last hour, the oldest first."""
        return self._own.hour()

    def _incidents(self) -> dict[str, int]:
        return self._summed("incidents", self._own.incidents())

    def _summed(self, name: str, own: Mapping[str, int]) -> dict[str, int]:
        return _sum([own, self._dead[name], *self._reported(name).values()])

    async def metrics(self, *, has_exemplars: bool = False) -> bytes:
        """Return the parent's metrics, and each worker's with its number as a label."""
        workers = dict(self._pool.workers)
        replies = await DeferredList(
            [
                worker.metrics().addTimeout(ANSWER_WITHIN, self._clock)
                for worker in workers.values()
            ],
            consumeErrors=True,
        )
        received = {
            number: reply
            for number, (is_received, reply) in zip(workers, replies, strict=True)
            if is_received
        }
        merged = _merged([*self._own.families(), *families(self._pool)], received)
        return page_of(merged, has_exemplars=has_exemplars)

    def _reported(self, name: str) -> Mapping[int, Any]:
        return {
            number: worker.report[name]
            for number, worker in self._pool.workers.items()
            if name in worker.report
        }

    def _combine(self, sample: Sample) -> Sample:
        """Add the latest sample of each worker to the parent's; take the maximum of delays."""
        latest = [sample, *(kept[-1] for kept in self._reported("samples").values() if kept)]
        return {
            name: value
            if name == "time"
            else (max if name == "delay" else sum)(values[name] for values in latest)
            for name, value in sample.items()
        }

    def _changed(self) -> None:
        is_complete = not self._pool.missing()
        if is_complete != self._was_complete:
            self._was_complete = is_complete
            self._since = time()

    def _died(self, worker: Worker) -> None:
        """Keep a dead worker's counts, so that sums never fall."""
        for name, counts in self._dead.items():
            counts.update(worker.report.get(name, {}))
        del self._dead["calls"]["in_flight"]
        if "health" in worker.report:
            redis = worker.report["health"]["redis"]
            self._dead_reconnects.update(redis["reconnects"])
            self._dead_gaps += redis["gaps"]
            self._dead_recoveries.update(worker.report["health"]["recovery"]["outcomes"])


def families(pool: Pool) -> Sequence[Metric]:
    """Return the metrics of the pool itself."""
    return [
        GaugeMetricFamily("opentera_bus_workers", "Configured workers.", pool.count),
        GaugeMetricFamily("opentera_bus_workers_ready", "Workers that accept clients.", pool.ready),
        CounterMetricFamily(
            "opentera_bus_workers_replaced",
            "Workers replaced after they died or were killed as unresponsive.",
            pool.replaced,
        ),
    ]


def as_json(metrics: Iterable[Metric]) -> list[Any]:
    """Encode metrics as JSON values."""
    return [
        [
            metric.name,
            metric.documentation,
            metric.type,
            [
                [sample.name, sample.labels, sample.value, sample.exemplar]
                for sample in metric.samples
            ],
        ]
        for metric in metrics
    ]


def _merged(own: Sequence[Metric], received: Mapping[int, Sequence[Any]]) -> Sequence[Metric]:
    """Group the samples by name, with the number of a worker as a label."""
    found = {metric.name: metric for metric in own}
    for number, metrics in received.items():
        for name, documentation, kind, samples in metrics:
            family = found.get(name)
            if family is None:
                family = found[name] = Metric(name, documentation, kind)
            family.samples += [
                MetricSample(
                    sample,
                    {**labels, "worker": str(number)},
                    value,
                    exemplar=exemplar and Exemplar(*exemplar),
                )
                for sample, labels, value, exemplar in samples
            ]
    return list(found.values())


def _part(worker: Worker) -> dict[str, Any]:
    page = worker.report.get("health", {})
    part: dict[str, Any] = {
        "worker": worker.number,
        "process": worker.pid,
        "status": "ready" if worker.is_ready else "unavailable",
    }
    names = ("started", "clients", "recovery", "redis")
    return part | {name: page[name] for name in names if name in page}


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total)
