"""Counts of connections and messages, which protocols compare with a limit."""

from __future__ import annotations

from collections import Counter

from opentera_twisted._internal.ip_addresses import network_of
from opentera_twisted.gateway.trusted_proxies import UNIX


class ConnectionLimit:
    """Counts the connections of each IPv4 address and of each IPv6 /64.

    Args:
        limit: connections allowed for each; 0 means no limit.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counts: Counter[str] = Counter()

    def acquire(self, address: str) -> Slot | None:
        """Count a connection of an address.

        Args:
            address: address of the peer; Unix sockets have no limit.

        Returns:
            The connection's slot, to release once; None if the address has reached the limit.
        """
        network = network_of(address)
        if self._limit and address != UNIX and self._counts[network] >= self._limit:
            return None
        self._counts[network] += 1
        return Slot(self._counts, network)


class Slot:
    """The place of one connection in a `ConnectionLimit`."""

    __slots__ = ("_counts", "_network")

    def __init__(self, counts: Counter[str], network: str) -> None:
        self._counts = counts
        self._network = network

    def release(self) -> None:
        """Free the slot for another connection of the address."""
        self._counts[self._network] -= 1
        if not self._counts[self._network]:
            del self._counts[self._network]


class RateLimit:
    """Counts events in fixed periods; the first event after a period begins the next."""

    __slots__ = ("_began", "_count")

    def __init__(self) -> None:
        self._began = 0.0
        self._count = 0

    def allows(self, limit: int, seconds: float, now: float) -> bool:
        """Count an event, if it is within the limit.

        Args:
            limit: events allowed in a period.
            seconds: length of a period.
            now: current time in seconds, of any clock. A clock set back begins a new period.

        Returns:
            True if the event is within the limit.
        """
        if not self._count or not 0 <= now - self._began < seconds:
            self._began = now
            self._count = 0
        if self._count >= limit:
            return False
        self._count += 1
        return True
