"""What Prometheus reads: looked up in the bus and the gateway when it asks."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import fields
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from opentera_twisted.gateway import Gateway, GatewayLimits

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_OUTCOMES = ("accepted", "refused", "limited", "unavailable", "gone", "failed")


class _GatewayCollector(Collector):
    """The gateway's counts."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def collect(self) -> Iterable[Metric]:
        """Read them."""
        gateway = self._gateway
        clients = GaugeMetricFamily(
            "opentera_bus_clients", "Websockets that are open.", labels=["kind"]
        )
        for kind, count in gateway.clients.items():
            clients.add_metric([kind], count)
        yield clients
        logins = CounterMetricFamily(
            "opentera_bus_logins", "Attempts to log in, by their outcome.", labels=["outcome"]
        )
        for outcome in _OUTCOMES:
            logins.add_metric([outcome], gateway.logins[outcome])
        yield logins
        limited = CounterMetricFamily(
            "opentera_bus_limited", "Clients sent away because of a limit.", labels=["limit"]
        )
        for limit in fields(GatewayLimits):
            limited.add_metric([limit.name], gateway.limited[limit.name])
        yield limited
        yield CounterMetricFamily(
            "opentera_bus_frames_delivered", "Frames written to clients.", gateway.delivered
        )
        yield CounterMetricFamily(
            "opentera_bus_client_messages_dropped",
            "Messages on clients' topics that were neither an event nor a command.",
            gateway.dropped,
        )
        yield GaugeMetricFamily(
            "opentera_bus_client_backlog_bytes", "Bytes waiting for clients.", gateway.backlog
        )


class Metrics:
    """The page that Prometheus reads.

    Args:
        gateway: whose counts it shows.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_GatewayCollector(gateway))

    def page(self) -> bytes:
        """The metrics as they are now, in the text format 0.0.4."""
        return generate_latest(self._registry)
