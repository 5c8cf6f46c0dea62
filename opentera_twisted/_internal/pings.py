"""Pings to websockets, with one timer, and a few per reactor iteration."""

from __future__ import annotations

from itertools import islice, takewhile
from typing import Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

PAYLOAD: Final = b"ping"
PING: Final = bytes([0x89, len(PAYLOAD)]) + PAYLOAD
"""Frame of a gateway's ping. All answers count alike, so one payload suffices."""

PINGS_AT_ONCE: Final = 32
"""Maximum pings per reactor iteration."""

SHORTEST_PAUSE: Final = 0.1
"""Minimum seconds until the next pings; those that are due meanwhile leave together."""


class Client(Protocol):
    """An open websocket to ping: a gateway's to a client, or a client's to its gateway."""

    def ping(self) -> bool:
        """Send a ping, or drop a silent peer.

        Returns:
            True if the next ping is due after the interval; False for no further ping.
        """

    def fail(self) -> None:
        """Close the connection after an internal error; `Pings` logs the error."""


class Pings:
    """Pings each client at an interval.

    A timer per client would cost more than its ping. After a stall of this process, late pings
    leave once, and their answers have the whole timeout.

    Args:
        clock: Clock of the interval.
        interval: Seconds between two pings of a client.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, interval: float) -> None:
        self._clock = clock
        self._interval = interval
        self._due: dict[Client, float] = {}  # in the order of time
        self._timer: IDelayedCall | None = None

    def add(self, client: Client) -> None:
        """Ping a client from now on, first after the interval."""
        self._due[client] = self._clock.seconds() + self._interval
        if self._timer is None:
            self._timer = self._clock.callLater(self._interval, self._ping_some)

    def forget(self, client: Client) -> None:
        """Stop the pings of a client."""
        self._due.pop(client, None)
        if not self._due and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ping_some(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        due = takewhile(lambda item: item[1] <= now, self._due.items())
        clients = [client for client, _ in islice(due, PINGS_AT_ONCE)]
        for client in clients:
            if self._due.pop(client, None) is not None and self._ping(client):
                self._due[client] = now + self._interval
        if self._due:
            pause = 0.0  # more may be due
            if len(clients) < PINGS_AT_ONCE:
                pause = max(SHORTEST_PAUSE, next(iter(self._due.values())) - now)
            self._timer = self._clock.callLater(pause, self._ping_some)

    def _ping(self, client: Client) -> bool:
        try:
            return client.ping()
        except Exception:  # noqa: BLE001 (one client's error must not stop the others)
            self._log.failure("pinging a client failed; closing its connection")
            client.fail()
            return False
