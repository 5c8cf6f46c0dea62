"""Pings to websockets, with one timer, and a few per reactor iteration."""

from __future__ import annotations

from itertools import islice, takewhile
from typing import Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

PING_INTERVAL: Final = 10
"""Seconds between two pings to a peer."""

PONG_TIMEOUT: Final = 20
"""Seconds to react to a ping, which limits a peer's silence to 30 s."""

PAYLOAD: Final = b"ping"
"""Payload of each ping. All answers count alike, so one payload suffices."""

PINGS_AT_ONCE: Final = 32
"""Maximum pings per reactor iteration."""

SHORTEST_PAUSE: Final = 0.1
"""Minimum seconds until the next pings; those that are due meanwhile leave together."""


class Pinged(Protocol):
    """An open websocket to ping: a gateway's to a client, or a client's to its gateway."""

    def ping(self) -> bool:
        """Send a ping, or drop a silent peer.

        Returns:
            True if the next ping is due after the interval; False for no further ping.
        """

    def fail(self) -> None:
        """Close the connection after an internal error; `Pings` logs the error."""


class Pings:
    """Pings each peer at an interval.

    A timer per peer would cost more than its ping. After a stall, each late ping is sent once, and
    its answer gets the whole timeout.

    Args:
        clock: Clock of the interval.
        interval: Seconds between two pings to a peer.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, interval: float) -> None:
        self._clock = clock
        self._interval = interval
        self._due: dict[Pinged, float] = {}  # in the order of time
        self._timer: IDelayedCall | None = None

    def add(self, peer: Pinged) -> None:
        """Ping a peer from now on, first after the interval."""
        self._due[peer] = self._clock.seconds() + self._interval
        if self._timer is None:
            self._timer = self._clock.callLater(self._interval, self._ping_some)

    def forget(self, peer: Pinged) -> None:
        """Stop the pings to a peer."""
        self._due.pop(peer, None)
        if not self._due and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ping_some(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        due = takewhile(lambda item: item[1] <= now, self._due.items())
        peers = [peer for peer, _ in islice(due, PINGS_AT_ONCE)]
        for peer in peers:
            if self._due.pop(peer, None) is not None and self._ping(peer):
                self._due[peer] = now + self._interval
        if self._due:
            pause = 0.0  # more may be due
            if len(peers) < PINGS_AT_ONCE:
                pause = max(SHORTEST_PAUSE, next(iter(self._due.values())) - now)
            self._timer = self._clock.callLater(pause, self._ping_some)

    def _ping(self, peer: Pinged) -> bool:
        try:
            return peer.ping()
        except Exception:  # noqa: BLE001 (one peer's error must not stop the others)
            self._log.failure("pinging a client failed; closing its connection")
            peer.fail()
            return False
