"""The state that the site shows: of this process, or of all workers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from prometheus_client.core import Metric

from opentera_twisted.admin.health import Health
from opentera_twisted.admin.history import KEPT, Sample, Sampler
from opentera_twisted.admin.incidents import Incidents, totals_of
from opentera_twisted.admin.metrics import Metrics, page_of
from opentera_twisted.admin.own_traffic import OwnTraffic
from opentera_twisted.bus import Bus
from opentera_twisted.gateway import Gateway


class Overview(Protocol):
    """The interface between the site and the program.

    Attributes:
        own: counts of the console's own traffic, which the samples omit.
    """

    own: OwnTraffic

    def start(self) -> None:
        """Start sampling."""

    def stop(self) -> None:
        """Stop sampling."""

    def health(self) -> dict[str, Any]:
        """Return the program's health; ``status`` is ``ready`` when clients can log in."""

    def state(self, after: int) -> dict[str, Any]:
        """Return health, counts, and the samples after the given number."""

    def hour(self) -> list[Sample]:
        """Return coarse samples of the last hour, the oldest first."""

    def metrics(self, *, has_exemplars: bool = False) -> bytes | Awaitable[bytes]:
        """Return the page for Prometheus, as `page_of` formats it."""


class LocalOverview:
    """The overview of this process.

    Args:
        bus: bus to show.
        gateway: gateway to show, or None.
        combine: called with each sample; returns the sample to keep.
        incidents: returns the incidents to watch; None watches those of this process.
        lost_lines: returns the number of lost log lines, by log.

    Attributes:
        own: counts of the console's own traffic, which the samples omit.
    """

    def __init__(
        self,
        bus: Bus,
        gateway: Gateway | None,
        combine: Callable[[Sample], Sample] = lambda sample: sample,
        incidents: Callable[[], Mapping[str, int]] | None = None,
        lost_lines: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self.own = OwnTraffic(bus)
        self._bus = bus
        self._gateway = gateway
        self._health = Health(bus, gateway)
        self._incidents = Incidents(incidents or self.incidents)
        self._sampler = Sampler(bus, gateway, combine, self.own, self._incidents.update)
        self._metrics = Metrics(bus, gateway, self._sampler, self._health, lost_lines)

    def start(self) -> None:
        """Start sampling and health checks."""
        self._incidents.start()
        self._sampler.start()
        self._health.start()

    def stop(self) -> None:
        """Stop sampling and health checks."""
        self._sampler.stop()
        self._health.stop()

    def health(self) -> dict[str, Any]:
        """Return the state of the link and the number of clients."""
        return self._health.page()

    def latest(self) -> dict[str, Any]:
        """Return the state with only the latest sample, and without episodes of incidents."""
        state = self.state(self._sampler.taken - 1)
        del state["episodes"]
        return state

    def incidents(self) -> dict[str, int]:
        """Count the incidents of this process since its start, by ``kind:detail``."""
        return totals_of(self._bus, self._gateway)

    def hour(self) -> list[Sample]:
        """Return coarse samples of the last hour, the oldest first."""
        return self._sampler.hour()

    def state(self, after: int) -> dict[str, Any]:
        """Return health, counts, and the samples after the given number."""
        gateway, caller = self._gateway, self._bus.caller
        return {
            "health": self.health(),
            "taken": self._sampler.taken,
            "samples": self._sampler.after(after),
            "kept": KEPT,
            "logins": {} if gateway is None else dict(gateway.logins),
            "limited": {}
            if gateway is None
            else {name: count for name, count in gateway.limited.items() if count},
            "calls": {**caller.outcomes, "in_flight": caller.in_flight},
            "incidents": self.incidents(),
            "episodes": self._incidents.to_json(),
        }

    def families(self) -> Sequence[Metric]:
        """Return the metrics as objects."""
        return self._metrics.families()

    def metrics(self, *, has_exemplars: bool = False) -> bytes:
        """Return the page for Prometheus."""
        return page_of(self.families(), has_exemplars=has_exemplars)
