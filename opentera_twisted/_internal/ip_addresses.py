"""Parsing and comparison of IP addresses, in this module only.

An IPv6 socket names IPv4 peers ``::ffff:1.2.3.4``, and link-local peers with their scope,
``fe80::1%eth0``. Clients and operators write the plain forms.

Source: RFC 4291 section 2.5.5.2 (IPv4 in IPv6), RFC 4007 section 11 (scopes).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final, TypeVar

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

CACHED: Final = 1_024
"""Number of texts whose results are cached: each login parses its address several times."""

LONGEST_CACHED: Final = 64
"""Characters of such a text; clients may send longer ones."""

_MAPPED: Final = IPv6Network("::ffff:0:0/96")

Result = TypeVar("Result")


def _cached(parse: Callable[[str], Result]) -> Callable[[str], Result]:
    """Cache the results of a function for the texts used last."""
    cached = lru_cache(CACHED)(parse)

    @wraps(parse)
    def call(text: str) -> Result:
        return cached(text) if len(text) <= LONGEST_CACHED else parse(text)

    return call


@_cached
def parse_ip(text: str) -> Address | None:
    """Parse an address; IPv4 in IPv6 becomes IPv4, and a scope is kept.

    Returns:
        The address, or None for any other text.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


@_cached
def canonical_ip(text: str) -> str | None:
    """Return the usual text of an address, as `parse_ip` reads it; None for any other text."""
    address = parse_ip(text)
    return None if address is None else str(address)


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
    """Return the scope of an address, the interface after ``%``; empty without one."""
    return (isinstance(address, IPv6Address) and address.scope_id) or ""


def without_scope(address: Address) -> Address:
    """Remove the scope of an address."""
    return IPv6Address(int(address)) if scope_of(address) else address


def same_host(one: str, other: str) -> bool:
    """Compare addresses; a missing scope equals any, since clients do not send theirs."""
    first, second = parse_ip(one), parse_ip(other)
    if first is None or second is None or without_scope(first) != without_scope(second):
        return False
    return not (scope_of(first) and scope_of(second)) or scope_of(first) == scope_of(second)


def is_loopback(text: str) -> bool:
    """Return True for an address that only this machine can reach."""
    address = parse_ip(text)
    return address is not None and address.is_loopback


@_cached
def network_of(text: str) -> str:
    """Return the network by which limits count an address.

    For IPv6 it is the /64 network, because a client may use any address in it. For IPv4 it is the
    address itself, as for any other text.
    """
    address = parse_ip(text)
    if address is None:
        return text
    if isinstance(address, IPv4Address):
        return str(address)
    network = IPv6Address(int(address) >> 64 << 64)
    scope = scope_of(address)
    return f"{network}%{scope}" if scope else str(network)
