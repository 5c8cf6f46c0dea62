"""Metrics for Prometheus, read from the bus and the gateway at each scrape.

No label holds text chosen by a client or another program: no UUID, key, topic or procedure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from attrs import fields
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from opentera_twisted._internal.histogram import Histogram
from opentera_twisted.admin.health import Health
from opentera_twisted.admin.history import Sampler
from opentera_twisted.bus import Bus
from opentera_twisted.gateway import Gateway, GatewayLimits
from opentera_twisted.gateway.recovery import OUTCOMES as RECOVERY_OUTCOMES
from opentera_twisted.link import location
from opentera_twisted.rpc import OUTCOMES, SERVED_OUTCOMES

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text"

_LOGINS = ("accepted", "refused", "limited", "unavailable", "gone", "failed")
_STATES = ("idle", "down", "connecting", "authenticating", "restoring", "ready", "stopping")


class _Collecting(Collector):
    """A collector that calls a function."""

    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        """Return the function's metrics."""
        return self._collect()


class Metrics:
    """Metrics of this process."""

    def __init__(
        self,
        bus: Bus,
        gateway: Gateway | None,
        sampler: Sampler,
        health: Health,
        lost_lines: Callable[[], Mapping[str, int]],
    ) -> None:
        self._bus = bus
        self._gateway = gateway
        self._sampler = sampler
        self._health = health
        self._lost_lines = lost_lines
        self._registry = CollectorRegistry()
        for collect in (self._program, self._link, self._messages, self._calls, self._clients):
            self._registry.register(_Collecting(collect))
        ProcessCollector("opentera_bus", registry=self._registry)

    def families(self) -> Sequence[Metric]:
        """Return the current metrics."""
        return list(self._registry.collect())

    def _program(self) -> Iterable[Metric]:
        info = InfoMetricFamily("opentera_bus", "Version of the program.")
        info.add_metric([], {"version": self._health.version})
        yield info
        yield _histogram(
            "reactor_delay_seconds",
            "Delay of a timer in the reactor, measured four times a second.",
            self._sampler.delay,
        )
        yield _counters(
            "log_lines_lost",
            "Log lines lost because the reader or the disk was too slow, gone or full.",
            "log",
            self._lost_lines(),
        )

    def _link(self) -> Iterable[Metric]:
        link = self._bus.link
        statistics = link.statistics
        yield _gauge(
            "link_ready", "1 if both connections to Redis are ready, else 0.", int(link.is_ready)
        )
        states = GaugeMetricFamily(
            "opentera_bus_link_state",
            "1 for the current state of a connection to Redis, else 0.",
            labels=["connection", "state"],
        )
        for name, state in link.states.items():
            for known in _STATES:
                states.add_metric([name, known], int(known == state))
        yield states
        nodes = {location(*address): node for address, node in link.nodes.items()}
        yield _gauges(
            "node_ready",
            "1 if both connections to a node of a Redis Cluster are ready, else 0.",
            "node",
            {name: int(node.is_ready) for name, node in nodes.items()},
        )
        yield _gauges(
            "node_slots",
            "Slots that a primary of a Redis Cluster owns.",
            "node",
            {location(*address): slots for address, slots in link.slots.items()},
        )
        yield _gauges(
            "node_topics",
            "Topics and patterns that a node of a Redis Cluster has acknowledged.",
            "node",
            {name: len(node.subscriptions.acknowledged) for name, node in nodes.items()},
        )
        yield _gauges(
            "link_since_timestamp_seconds",
            "Time at which a connection to Redis last became ready or was lost, since the epoch.",
            "connection",
            {name: counts.since for name, counts in statistics.items()},
        )
        yield _counters(
            "link_reconnects",
            "Reconnections to Redis.",
            "connection",
            link.reconnects,
        )
        yield _counters(
            "link_failures",
            "Lost connections to Redis, and failed attempts to connect.",
            "connection",
            {name: counts.failed for name, counts in statistics.items()},
        )
        yield _counter(
            "link_gaps", "Gaps: periods in which messages may have been missed.", link.gaps
        )
        yield _gauge(
            "subscriptions_wanted",
            "Topics that this program subscribes to.",
            len(link.subscriptions.wanted),
        )
        yield _gauge(
            "subscriptions_acknowledged",
            "Topics that Redis has confirmed on the current connection.",
            len(link.subscriptions.acknowledged),
        )
        yield from self._commands()

    def _commands(self) -> Iterable[Metric]:
        link = self._bus.link
        commands = CounterMetricFamily(
            "opentera_bus_commands", "Commands sent to Redis.", labels=["connection", "command"]
        )
        times = HistogramMetricFamily(
            "opentera_bus_command_seconds",
            "Round trip of commands to Redis; all pings, and one in 16 other commands.",
            labels=["connection"],
        )
        for name, counts in link.statistics.items():
            for command, count in sorted(_by_name(counts.commands).items()):
                commands.add_metric([name, command], count)
            times.add_metric([name], *_buckets(counts.seconds))
        yield commands
        yield times
        yield _counters(
            "commands_failed",
            "Failed commands: refused by Redis, or lost with the connection.",
            "reason",
            {
                "refused": sum(counts.refused for counts in link.statistics.values()),
                "lost": sum(counts.lost for counts in link.statistics.values()),
            },
        )
        yield _gauge("commands_waiting", "Commands queued until the link is ready.", link.waiting)

    def _messages(self) -> Iterable[Metric]:
        bus = self._bus
        yield _counter(
            "published",
            "Messages published, including calls and replies.",
            bus.link.statistics["client"].published,
        )
        yield _counter("received", "Messages received on subscribed topics.", bus.pubsub.received)

    def _calls(self) -> Iterable[Metric]:
        caller = self._bus.caller
        outcomes = ("returned", "cancelled", *OUTCOMES.values())
        yield _counters(
            "calls",
            "Calls made by this program, by outcome.",
            "outcome",
            {outcome: caller.outcomes[outcome] for outcome in outcomes},
        )
        yield _histogram("call_seconds", "Duration of calls that got a reply.", caller.seconds)
        yield _gauge("calls_in_flight", "Calls waiting for their reply.", caller.in_flight)
        yield _counter(
            "replies_dropped",
            "Replies ignored: late, duplicate, from another topic, or without a call.",
            caller.dropped_replies,
        )
        served = self._bus.served
        yield _counters(
            "calls_served",
            "Calls answered by this program's servers, by outcome.",
            "outcome",
            {outcome: served.outcomes[outcome] for outcome in SERVED_OUTCOMES},
        )
        yield _histogram(
            "call_served_seconds",
            "Duration of procedures, from the start to the reply.",
            served.seconds,
        )

    def _clients(self) -> Iterable[Metric]:
        gateway = self._gateway
        if gateway is None:
            return
        yield _gauges("clients", "Open websockets.", "kind", gateway.clients)
        yield _counters(
            "logins",
            "Login attempts, by outcome.",
            "outcome",
            {outcome: gateway.logins[outcome] for outcome in _LOGINS},
        )
        yield _counters(
            "tls_handshakes_failed",
            "Failed TLS handshakes of clients.",
            "reason",
            {reason: gateway.tls_failures[reason] for reason in ("error", "closed")},
        )
        yield _counters(
            "limited",
            "Clients refused or closed because of a limit.",
            "limit",
            {limit.name: gateway.limited[limit.name] for limit in fields(GatewayLimits)},
        )
        yield _counter(
            "slow_clients_closed",
            "Deprecated: use opentera_bus_limited_total, limit max_send_buffer.",
            gateway.limited["max_send_buffer"],
        )
        yield _counter("frames_delivered", "Frames written to clients.", gateway.delivered)
        yield _counter(
            "client_messages_dropped",
            "Messages dropped because they were neither an event nor a command.",
            gateway.dropped,
        )
        recovery = gateway.recovery
        yield _counters(
            "recoveries",
            "Recovery attempts of clients, by outcome.",
            "outcome",
            {outcome: recovery.outcomes[outcome] for outcome in RECOVERY_OUTCOMES},
        )
        yield _counter("frames_replayed", "Missed frames replayed to clients.", recovery.replayed)
        yield _gauges(
            "recoverable_clients",
            "Clients that can recover missed events: connected, and away.",
            "state",
            {"connected": recovery.attached, "away": recovery.held},
        )
        yield _gauge(
            "recovery_bytes",
            "Bytes of frames kept for recovery; a frame kept for several clients counts for each.",
            recovery.bytes,
        )
        yield _gauge("client_backlog_bytes", "Bytes queued for clients.", gateway.backlog)


def page_of(families: Sequence[Metric], *, has_exemplars: bool = False) -> bytes:
    """Format metrics as text: OpenMetrics, which has exemplars, or format 0.0.4."""
    registry = CollectorRegistry()
    registry.register(_Collecting(lambda: families))
    if has_exemplars:
        page: bytes = openmetrics.generate_latest(registry)
        return page
    return generate_latest(registry)


def accepts_exemplars(accept: str) -> bool:
    """Return True if the header ``Accept`` names OpenMetrics."""
    return any(part.split(";")[0].strip() == OPENMETRICS for part in accept.split(","))


def content_type(*, has_exemplars: bool) -> str:
    """Return the content type of `page_of`."""
    return openmetrics.CONTENT_TYPE_LATEST if has_exemplars else CONTENT_TYPE


_Kind = type[GaugeMetricFamily] | type[CounterMetricFamily]


def _number(kind: _Kind, name: str, text: str, value: float) -> Metric:
    return kind(f"opentera_bus_{name}", text, value)


def _numbers(kind: _Kind, name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = kind(f"opentera_bus_{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


_gauge = partial(_number, GaugeMetricFamily)
_counter = partial(_number, CounterMetricFamily)
_gauges = partial(_numbers, GaugeMetricFamily)
_counters = partial(_numbers, CounterMetricFamily)


def _histogram(name: str, text: str, durations: Histogram) -> Metric:
    buckets, total = _buckets(durations)
    return HistogramMetricFamily(f"opentera_bus_{name}", text, buckets=buckets, sum_value=total)


_Bucket = tuple[str, float] | tuple[str, float, Exemplar]


def _buckets(durations: Histogram) -> tuple[list[_Bucket], float]:
    buckets: list[_Bucket] = []
    for number, (bound, count) in enumerate(durations.cumulative()):
        name = "+Inf" if bound == float("inf") else str(float(bound))
        found = durations.exemplars.get(number)
        if found is None:
            buckets.append((name, count))
        else:
            trace = {"trace_id": found.trace_id, "span_id": found.span_id}
            buckets.append((name, count, Exemplar(trace, found.seconds, found.timestamp)))
    return buckets, durations.total


def _by_name(commands: Mapping[str | bytes | int, int]) -> Counter[str]:
    """Sum the commands by name, in capital letters."""
    counts: Counter[str] = Counter()
    for name, count in commands.items():
        text = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
        counts[text.upper()] += count
    return counts
