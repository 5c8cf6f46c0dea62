"""Who a client is when it comes through a proxy: the headers of those proxies that are trusted.

Source: the de-facto standard headers X-Forwarded-For and X-Forwarded-Proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from attrs import frozen

from opentera_twisted._internal.ip_addresses import (
    Network,
    parse_ip,
    parse_network,
    scope_of,
    without_scope,
)
from opentera_twisted.errors import InvalidArgument

UNIX: Final = "unix"
"""Stands for whoever connects through a Unix socket."""


@frozen
class Peer:
    """Where a login comes from.

    Attributes:
        address: the client's IP address, or ``unix``.
        secure: whether it speaks TLS, with us or with a trusted proxy.
    """

    address: str
    secure: bool


class TrustedProxies:
    """The proxies whose word on their clients is taken.

    Args:
        addresses: IP addresses, networks such as ``10.0.0.0/8``, or ``unix``. An address with a
            scope, such as ``fe80::1%eth0``, is trusted on that interface only.

    Raises:
        InvalidArgument: one is none of these.
    """

    def __init__(self, addresses: Iterable[str] = ()) -> None:
        self._networks: list[tuple[Network, str]] = []  # each with its scope
        self._unix = False
        for address in addresses:
            if address == UNIX:
                self._unix = True
                continue
            try:
                self._networks.append(_scoped_network(address))
            except ValueError as error:
                raise InvalidArgument(
                    f"{address!r} is not a proxy's address: expected an IP address, a network "
                    f"such as 10.0.0.0/8, or unix: {error}"
                ) from None

    def client(self, peer: Peer, headers: Mapping[str, str]) -> Peer:
        """Who stands behind a connection.

        Args:
            peer: who has connected.
            headers: of its request, names in lower case.

        Returns:
            The peer itself unless it is trusted; else the last address on the way that is not.
        """
        if not self._trust(peer.address):
            return peer
        proto = headers.get("x-forwarded-proto")
        secure = peer.secure if proto is None else proto.strip().lower() in {"https", "wss"}
        hops = headers.get("x-forwarded-for", "").split(",")
        address = peer.address
        for hop in reversed(hops):
            told = _address(hop)
            if told is None:  # what stands before it is not to be believed either
                break
            address = told
            if not self._trust(told):
                break
        return Peer(address, secure)

    def trusts(self, address: str) -> bool:
        """Tell whether the word of an address on its clients is taken."""
        return self._trust(address)

    def _trust(self, address: str) -> bool:
        if address == UNIX:
            return self._unix
        if not self._networks:
            return False
        parsed = parse_ip(address)
        return parsed is not None and any(
            parsed in network and scope in {"", scope_of(parsed)}
            for network, scope in self._networks
        )


def _address(hop: str) -> str | None:
    """Read the IP address in one entry, which may have a port; its scope is another machine's."""
    text = hop.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    address = parse_ip(text)
    return None if address is None else str(without_scope(address))


def _scoped_network(text: str) -> tuple[Network, str]:
    address = parse_ip(text)
    if address is None:
        return parse_network(text), ""
    return parse_network(str(without_scope(address))), scope_of(address)
