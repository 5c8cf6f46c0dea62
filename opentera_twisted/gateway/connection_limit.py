"""A limit on the connections of each address."""

from __future__ import annotations

from collections import Counter

from opentera_twisted._internal.ip_addresses import network_of
from opentera_twisted.gateway.proxies import UNIX


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
