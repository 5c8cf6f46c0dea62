"""What the site shows of the program: of the gateway in this process, or of all its workers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from prometheus_client.core import Metric

from opentera_twisted.admin.health import Health
from opentera_twisted.admin.metrics import Metrics, page_of
from opentera_twisted.admin.sampler import Sample, Sampler
from opentera_twisted.bus import Bus
from opentera_twisted.gateway import Gateway


class Overview(Protocol):
    """What the site asks."""

    def start(self) -> None:
        """Begin to take samples."""

    def stop(self) -> None:
        """Take no more."""

    def health(self) -> dict[str, Any]:
        """How the program is; ``status`` is ``ready`` when clients can log in."""

    def state(self, after: int) -> dict[str, Any]:
        """Its health, its counts, and the samples after the one of that number."""

    def metrics(self) -> bytes | Awaitable[bytes]:
        """The page that Prometheus reads."""


class LocalOverview:
    """Of this process.

    Args:
        bus: that it tells of.
        gateway: that it tells of; None: this process has none.
        combine: gets each sample, and returns the one that is kept.
    """

    def __init__(
        self,
        bus: Bus,
        gateway: Gateway | None,
        combine: Callable[[Sample], Sample] = lambda sample: sample,
    ) -> None:
        self._bus = bus
        self._gateway = gateway
        self._health = Health(bus, gateway)
        self._sampler = Sampler(bus, gateway, combine)
        self._metrics = Metrics(bus, gateway, self._sampler, self._health)

    def start(self) -> None:
        """Begin to take samples."""
        self._sampler.start()
        self._health.start()

    def stop(self) -> None:
        """Take no more."""
        self._sampler.stop()
        self._health.stop()

    def health(self) -> dict[str, Any]:
        """How the link is, and who is connected."""
        return self._health.page()

    def latest(self) -> dict[str, Any]:
        """Its state with no more than the latest sample."""
        return self.state(self._sampler.taken - 1)

    def state(self, after: int) -> dict[str, Any]:
        """Its health, its counts, and the samples after the one of that number."""
        gateway, caller = self._gateway, self._bus.caller
        return {
            "health": self.health(),
            "taken": self._sampler.taken,
            "samples": self._sampler.after(after),
            "logins": {} if gateway is None else dict(gateway.logins),
            "limited": {}
            if gateway is None
            else {name: count for name, count in gateway.limited.items() if count},
            "calls": {**caller.outcomes, "in_flight": caller.in_flight},
        }

    def families(self) -> Sequence[Metric]:
        """What Prometheus reads, before it is written as text."""
        return self._metrics.families()

    def metrics(self) -> bytes:
        """The page that Prometheus reads."""
        return page_of(self.families())
