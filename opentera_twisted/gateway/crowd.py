"""Connections counted by the address that they come from."""

from __future__ import annotations

from collections import Counter

from opentera_twisted.gateway.proxies import UNIX
from opentera_twisted.ip_addresses import network_of


class Crowd:
    """Counts connections of each address, of IPv6 those of its /64.

    Args:
        limit: connections of one address; 0: any number.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counts: Counter[str] = Counter()

    def enter(self, address: str) -> Place | None:
        """Count one more connection.

        Returns:
            Its place, to be left; None when the address has too many.
        """
        network = network_of(address)
        if self._limit and address != UNIX and self._counts[network] >= self._limit:
            return None
        self._counts[network] += 1
        return Place(self, network)

    def leave(self, network: str) -> None:
        """Count one less."""
        self._counts[network] -= 1
        if not self._counts[network]:
            del self._counts[network]


class Place:
    """One connection's place in a crowd."""

    __slots__ = ("_crowd", "_network")

    def __init__(self, crowd: Crowd, network: str) -> None:
        self._crowd = crowd
        self._network = network

    def leave(self) -> None:
        """Give it up."""
        self._crowd.leave(self._network)
