"""What Prometheus reads: looked up in the bus and the gateway when it asks.

No label holds what a client or another program has chosen: no UUID, key, topic or procedure.
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
from prometheus_client.registry import Collector

from opentera_twisted._internal.histogram import Histogram
from opentera_twisted.admin.health import Health
from opentera_twisted.admin.sampler import Sampler
from opentera_twisted.bus import Bus
from opentera_twisted.gateway import Gateway, GatewayLimits
from opentera_twisted.gateway.recovery import OUTCOMES as RECOVERY_OUTCOMES
from opentera_twisted.rpc import OUTCOMES, SERVED_OUTCOMES

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_LOGINS = ("accepted", "refused", "limited", "unavailable", "gone", "failed")
_STATES = ("idle", "down", "connecting", "authenticating", "restoring", "ready", "stopping")


class _Collecting(Collector):
    """What a function finds when it is asked."""

    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        """Ask it."""
        return self._collect()


class Metrics:
    """What Prometheus reads of this process.

    Args:
        bus: whose counts it shows.
        gateway: whose counts it shows; None: there is none.
        sampler: knows how late the reactor is.
        health: knows the version.
    """

    def __init__(self, bus: Bus, gateway: Gateway | None, sampler: Sampler, health: Health) -> None:
        self._bus = bus
        self._gateway = gateway
        self._sampler = sampler
        self._health = health
        self._registry = CollectorRegistry()
        for collect in (self._program, self._link, self._messages, self._calls, self._clients):
            self._registry.register(_Collecting(collect))
        ProcessCollector("opentera_bus", registry=self._registry)

    def families(self) -> Sequence[Metric]:
        """The metrics as they are now."""
        return list(self._registry.collect())

    def _program(self) -> Iterable[Metric]:
        info = InfoMetricFamily("opentera_bus", "The program.")
        info.add_metric([], {"version": self._health.version})
        yield info
        yield _histogram(
            "reactor_delay_seconds",
            "How late timers are called, at each beat.",
            self._sampler.delay,
        )

    def _link(self) -> Iterable[Metric]:
        link = self._bus.link
        statistics = link.statistics
        yield _gauge(
            "link_ready", "1 when both connections to Redis are ready, else 0.", int(link.is_ready)
        )
        states = GaugeMetricFamily(
            "opentera_bus_link_state",
            "1 for the state that a connection to Redis is in, else 0.",
            labels=["connection", "state"],
        )
        for name, state in link.states.items():
            for one in _STATES:
                states.add_metric([name, one], int(one == state))
        yield states
        yield _gauges(
            "link_since_timestamp_seconds",
            "When a connection to Redis became ready, or ceased to be; seconds since the epoch.",
            "connection",
            {name: one.since for name, one in statistics.items()},
        )
        yield _counters(
            "link_reconnects",
            "Connections to Redis that became ready again.",
            "connection",
            {name: max(one.connected - 1, 0) for name, one in statistics.items()},
        )
        yield _counters(
            "link_failures",
            "Connections to Redis that were lost, and attempts that failed.",
            "connection",
            {name: one.failed for name, one in statistics.items()},
        )
        yield _counter(
            "link_gaps", "Subscriptions restored after messages may have been missed.", link.gaps
        )
        yield _gauge("subscriptions_wanted", "Topics asked for.", len(link.subscriptions.wanted))
        yield _gauge(
            "subscriptions_acknowledged",
            "Topics that Redis has confirmed on the present connection.",
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
            "From sending a command to Redis's reply; of each ping and one in 16 other commands.",
            labels=["connection"],
        )
        for name, one in link.statistics.items():
            for command, count in sorted(_by_name(one.commands).items()):
                commands.add_metric([name, command], count)
            times.add_metric([name], *_buckets(one.seconds))
        yield commands
        yield times
        yield _counters(
            "commands_failed",
            "Commands that Redis answered with an error, or whose reply was lost with the "
            "connection.",
            "reason",
            {
                "refused": sum(one.refused for one in link.statistics.values()),
                "lost": sum(one.lost for one in link.statistics.values()),
            },
        )
        yield _gauge("commands_waiting", "Commands that wait for the link.", link.waiting)

    def _messages(self) -> Iterable[Metric]:
        bus = self._bus
        yield _counter(
            "published",
            "Messages published, calls and replies among them.",
            bus.link.statistics["client"].commands["PUBLISH"],
        )
        yield _counter("received", "Messages received on subscribed topics.", bus.pubsub.received)

    def _calls(self) -> Iterable[Metric]:
        caller = self._bus.caller
        outcomes = ("returned", "cancelled", *OUTCOMES.values())
        yield _counters(
            "calls",
            "Calls that this program made, by their outcome.",
            "outcome",
            {outcome: caller.outcomes[outcome] for outcome in outcomes},
        )
        yield _histogram(
            "call_seconds", "From a call to its reply, of calls that got one.", caller.seconds
        )
        yield _gauge("calls_in_flight", "Calls that wait for their reply.", caller.in_flight)
        yield _counter(
            "replies_dropped",
            "Replies that came late, twice, from another topic, or to no call.",
            caller.dropped_replies,
        )
        served = self._bus.served
        yield _counters(
            "calls_served",
            "Calls that this program's servers answered, by their outcome.",
            "outcome",
            {outcome: served.outcomes[outcome] for outcome in SERVED_OUTCOMES},
        )
        yield _histogram(
            "call_served_seconds",
            "From the start of a procedure to its reply, of calls that had one run.",
            served.seconds,
        )

    def _clients(self) -> Iterable[Metric]:
        gateway = self._gateway
        if gateway is None:
            return
        yield _gauges("clients", "Websockets that are open.", "kind", gateway.clients)
        yield _counters(
            "logins",
            "Attempts to log in, by their outcome.",
            "outcome",
            {outcome: gateway.logins[outcome] for outcome in _LOGINS},
        )
        yield _counters(
            "tls_handshakes_failed",
            "TLS handshakes with clients that failed.",
            "reason",
            {reason: gateway.tls_failures[reason] for reason in ("error", "closed")},
        )
        yield _counters(
            "limited",
            "Clients sent away because of a limit.",
            "limit",
            {limit.name: gateway.limited[limit.name] for limit in fields(GatewayLimits)},
        )
        yield _counter(
            "slow_clients_closed",
            "Clients closed because they did not read.",
            gateway.limited["max_send_buffer"],
        )
        yield _counter("frames_delivered", "Frames written to clients.", gateway.delivered)
        yield _counter(
            "client_messages_dropped",
            "Messages on clients' topics that were neither an event nor a command.",
            gateway.dropped,
        )
        recovery = gateway.recovery
        yield _counters(
            "recoveries",
            "Returns of clients, by outcome: recovered, or why not.",
            "outcome",
            {outcome: recovery.outcomes[outcome] for outcome in RECOVERY_OUTCOMES},
        )
        yield _counter(
            "frames_replayed", "Missed frames sent to clients that returned.", recovery.replayed
        )
        yield _gauges(
            "recoverable_clients",
            "Clients that may return: those connected, and those away.",
            "state",
            {"connected": recovery.attached, "away": recovery.held},
        )
        yield _gauge(
            "recovery_bytes",
            "Bytes of frames kept for clients; a frame kept for several clients counts for each.",
            recovery.bytes,
        )
        yield _gauge("client_backlog_bytes", "Bytes waiting for clients.", gateway.backlog)


def page_of(families: Sequence[Metric]) -> bytes:
    """Metrics in the text format 0.0.4."""
    registry = CollectorRegistry()
    registry.register(_Collecting(lambda: families))
    return generate_latest(registry)


_Kind = type[GaugeMetricFamily] | type[CounterMetricFamily]


def _number(kind: _Kind, name: str, text: str, value: float) -> Metric:
    return kind(f"opentera_bus_{name}", text, value)


def _numbers(kind: _Kind, name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = kind(f"opentera_bus_{name}", text, labels=[label])
    for one, value in values.items():
        family.add_metric([one], value)
    return family


_gauge = partial(_number, GaugeMetricFamily)
_counter = partial(_number, CounterMetricFamily)
_gauges = partial(_numbers, GaugeMetricFamily)
_counters = partial(_numbers, CounterMetricFamily)


def _histogram(name: str, text: str, durations: Histogram) -> Metric:
    buckets, total = _buckets(durations)
    return HistogramMetricFamily(f"opentera_bus_{name}", text, buckets=buckets, sum_value=total)


def _buckets(durations: Histogram) -> tuple[list[tuple[str, float]], float]:
    buckets: list[tuple[str, float]] = [
        ("+Inf" if bound == float("inf") else str(float(bound)), count)
        for bound, count in durations.cumulative()
    ]
    return buckets, durations.total


def _by_name(commands: Mapping[str | bytes | int, int]) -> Counter[str]:
    """Commands by their name alone, however it was written."""
    counts: Counter[str] = Counter()
    for name, count in commands.items():
        text = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
        counts[text.upper()] += count
    return counts
