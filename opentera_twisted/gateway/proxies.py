"""Who a client is when it comes through a proxy: the headers of those proxies that are trusted.

Source: the de-facto standard headers X-Forwarded-For and X-Forwarded-Proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from attrs import frozen

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
        addresses: IP addresses, networks such as ``10.0.0.0/8``, or ``unix``.

    Raises:
        InvalidArgument: one is none of these.
    """

    def __init__(self, addresses: Iterable[str] = ()) -> None:
        self._networks: list[IPv4Network | IPv6Network] = []
        self._unix = False
        for address in addresses:
            if address == UNIX:
                self._unix = True
                continue
            try:
                self._networks.append(ip_network(address))
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

    def _trust(self, address: str) -> bool:
        if address == UNIX:
            return self._unix
        if not self._networks:
            return False
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        mapped = getattr(parsed, "ipv4_mapped", None)
        return any((mapped or parsed) in network for network in self._networks)


def _address(hop: str) -> str | None:
    """The IP address in one entry, which may have a port."""
    text = hop.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return None
