"""IP addresses in one form: the only place that parses and compares them.

A socket for IPv6 names IPv4 peers ``::ffff:1.2.3.4``, and link-local ones with the scope on which
they are, ``fe80::1%eth0``. Clients and operators write the plain forms.

Source: RFC 4291 section 2.5.5.2 (IPv4 in IPv6), RFC 4007 section 11 (scopes).
"""

from __future__ import annotations

from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_MAPPED: Final = IPv6Network("::ffff:0:0/96")


def parse_ip(text: str) -> Address | None:
    """Parse an address; IPv4 in IPv6 becomes IPv4, and a scope stays.

    Returns:
        None when the text is no address.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def parse_network(text: str) -> Network:
    """Parse a network, or an address without a scope; IPv4 in IPv6 becomes IPv4.

    Raises:
        ValueError: the text is neither.
    """
    network = ip_network(text)
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        address = IPv4Address(int(network.network_address) & 0xFFFFFFFF)
        return IPv4Network((address, network.prefixlen - 96))
    return network


def scope_of(address: Address) -> str:
    """The scope of an address: the interface behind ``%``; empty when there is none."""
    return (isinstance(address, IPv6Address) and address.scope_id) or ""


def without_scope(address: Address) -> Address:
    """The same address with no scope."""
    return IPv6Address(int(address)) if scope_of(address) else address


def same_host(one: str, other: str) -> bool:
    """Compare addresses; a missing scope equals any, since clients do not send theirs."""
    first, second = parse_ip(one), parse_ip(other)
    if first is None or second is None or without_scope(first) != without_scope(second):
        return False
    return not (scope_of(first) and scope_of(second)) or scope_of(first) == scope_of(second)


def is_loopback(text: str) -> bool:
    """Tell whether the text is an address that only this machine can reach."""
    address = parse_ip(text)
    return address is not None and address.is_loopback


def network_of(text: str) -> str:
    """Name the network that limits count an address for.

    Of IPv6 it is the /64, within which anyone has any address; of IPv4 the address itself. Text
    that is no address stands for itself.
    """
    address = parse_ip(text)
    if address is None:
        return text
    if isinstance(address, IPv4Address):
        return str(address)
    network = IPv6Address(int(address) >> 64 << 64)
    scope = scope_of(address)
    return f"{network}%{scope}" if scope else str(network)
