"""Samples of the last three minutes, one a second, and of the last hour: delay and rates."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Final

from twisted.internet.interfaces import IDelayedCall

from opentera_twisted._internal.histogram import Histogram
from opentera_twisted.bus import Bus
from opentera_twisted.gateway import Gateway

INTERVAL: Final = 0.25
"""Seconds between measurements of the reactor's delay."""

BEATS: Final = 4
"""Measurements in one sample."""

KEPT: Final = 180
"""Samples kept: three minutes, and an hour of coarse samples."""

COARSE: Final = 20
"""Samples in one coarse sample."""

_GREATEST: Final = frozenset({"time", "clients", "backlog", "delay"})
"""Values of which a coarse sample has the greatest; of rates, it has the mean."""

Sample = Mapping[str, float]


class Sampler:
    """Measures the reactor's delay and keeps a short history for charts.

    Args:
        bus: bus to sample.
        gateway: gateway to sample, or None.
        combine: called with each sample; returns the sample to keep.
        own: counts of the console's own traffic, which the samples omit.
        on_sample: called after each sample.

    Attributes:
        delay: delays of the timer, one at each measurement.
        taken: number of samples since the start.
    """

    def __init__(
        self,
        bus: Bus,
        gateway: Gateway | None,
        combine: Callable[[Sample], Sample] = lambda sample: sample,
        own: Mapping[str, int] | None = None,
        on_sample: Callable[[], None] = lambda: None,
    ) -> None:
        self.delay = Histogram()
        self.taken = 0
        self._bus = bus
        self._gateway = gateway
        self._combine = combine
        self._own: Mapping[str, int] = Counter() if own is None else own
        self._on_sample = on_sample
        self._clock = bus.link.clock
        self._samples: deque[Sample] = deque(maxlen=KEPT)
        self._hour: deque[Sample] = deque(maxlen=KEPT)
        self._beat: IDelayedCall | None = None
        self._due = 0.0
        self._beats = 0
        self._greatest = 0.0
        self._counted: dict[str, int] = {}
        self._since = 0.0

    def start(self) -> None:
        """Start sampling."""
        self._counted = self._counts()
        self._since = self._clock.seconds()
        self._schedule()

    def stop(self) -> None:
        """Stop sampling."""
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None

    def after(self, number: int) -> list[Sample]:
        """Return the kept samples after the given number, the oldest first."""
        new = min(max(self.taken - number, 0), len(self._samples))
        return list(islice(self._samples, len(self._samples) - new, None))

    def hour(self) -> list[Sample]:
        """Return the coarse samples of the last hour, the oldest first."""
        return list(self._hour)

    def _schedule(self) -> None:
        self._due = self._clock.seconds() + INTERVAL
        self._beat = self._clock.callLater(INTERVAL, self._beaten)

    def _beaten(self) -> None:
        late = max(self._clock.seconds() - self._due, 0.0)
        self.delay.add(late)
        self._greatest = max(self._greatest, late)
        self._beats += 1
        if self._beats == BEATS:
            self._sample()
        self._schedule()

    def _sample(self) -> None:
        now = self._clock.seconds()
        seconds = max(now - self._since, INTERVAL)
        counts = self._counts()
        # The console counts a message of its own when it is certain, perhaps in the next sample.
        rates = {
            name: max(count - self._counted[name], 0) / seconds for name, count in counts.items()
        }
        gateway = self._gateway
        sample = {
            "time": time.time(),
            "clients": 0 if gateway is None else sum(gateway.clients.values()),
            "backlog": 0 if gateway is None else gateway.backlog,
            "delay": self._greatest,
            **rates,
        }
        self._samples.append(self._combine(sample))
        self.taken += 1
        if self.taken % COARSE == 0:
            self._hour.append(_coarse(self.after(self.taken - COARSE)))
        self._counted, self._since, self._beats, self._greatest = counts, now, 0, 0.0
        self._on_sample()

    def _counts(self) -> dict[str, int]:
        bus, gateway = self._bus, self._gateway
        counts = {
            "received": bus.pubsub.received,
            "published": bus.link.statistics["client"].published,
            "delivered": 0 if gateway is None else gateway.delivered,
            "calls": bus.caller.outcomes.total(),
            "logins": 0 if gateway is None else gateway.logins["accepted"],
            "refused": 0 if gateway is None else gateway.refusals.total(),
        }
        return {name: count - self._own.get(name, 0) for name, count in counts.items()}


def _coarse(samples: Sequence[Sample]) -> Sample:
    return {
        name: max(sample[name] for sample in samples)
        if name in _GREATEST
        else sum(sample[name] for sample in samples) / len(samples)
        for name in samples[-1]
    }
