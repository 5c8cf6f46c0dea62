"""Addresses of clients behind trusted proxies, from the proxies' headers.

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
"""Address of peers on a Unix socket."""


@frozen
class Peer:
    """The source of a login.

    Attributes:
        address: the client's IP address, or ``unix``.
        secure: True if it uses TLS, to the gateway or to a trusted proxy.
    """

    address: str
    secure: bool


class TrustedProxies:
    """The proxies whose headers are trusted.

    Args:
        addresses: IP addresses, networks such as ``10.0.0.0/8``, or ``unix``. An address with a
            scope, such as ``fe80::1%eth0``, is trusted on that interface only.

    Raises:
        InvalidArgument: an address is malformed.
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
        """Return the client behind a connection.

        Args:
            peer: peer of the connection.
            headers: headers of its request, with names in lower case.

        Returns:
            The peer itself if it is not trusted, else the last address that is not trusted.
        """
        if not self._trust(peer.address):
            return peer
        proto = headers.get("x-forwarded-proto")
        secure = peer.secure if proto is None else proto.strip().lower() in {"https", "wss"}
        hops = headers.get("x-forwarded-for", "").split(",")
        address = peer.address
        for hop in reversed(hops):
            found = _address(hop)
            if found is None:  # earlier entries are not trustworthy either
                break
            address = found
            if not self._trust(found):
                break
        return Peer(address, secure)

    def trusts(self, address: str) -> bool:
        """Return True if an address is a trusted proxy."""
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
    """Parse an entry's IP address, without port, and without scope, which is another machine's."""
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
