"""Reserves TCP ports for programs that cannot choose a free one themselves."""

from __future__ import annotations

import secrets
import socket
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

FIRST: Final = 10_100
"""Lowest port to reserve: above common servers, and above the ports that browsers refuse."""

_EPHEMERAL: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_EPHEMERAL_FROM: Final = 32_768
"""Linux's default; other systems begin higher."""


def free_port() -> int:
    """Reserve a TCP port on which nothing listens, at any address of this machine.

    It lies below the ports of outgoing connections, if there is room. On Linux, this process
    holds it until its end. No other process can reserve it; servers can listen there because all
    set ``SO_REUSEADDR``. On macOS, where that is not enough, the port is released at once.
    """
    return reserve(candidates())


def candidates(ephemeral_from: int | None = None) -> Iterator[int]:
    """Yield ports to try, from a random one on; last 0, for one that the system chooses.

    Args:
        ephemeral_from: lowest port of outgoing connections; None: as this system has it.
    """
    if ephemeral_from is None:
        ephemeral_from = _ephemeral_from()
    ports = range(FIRST, ephemeral_from)
    # Not of `random`: tests seed that, and all their processes would try the same ports.
    begin = secrets.randbelow(len(ports)) if ports else 0
    yield from ports[begin:]
    yield from ports[:begin]
    yield 0


def reserve(ports: Iterable[int]) -> int:
    """Reserve the first of these ports that is free.

    Raises:
        OSError: none is free.
    """
    for port in ports:
        family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
        holder = socket.socket(family)
        if family == socket.AF_INET6:
            holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            holder.bind(("", port))
        except OSError:
            holder.close()
            continue
        number: int = holder.getsockname()[1]
        if sys.platform == "linux":
            # Only from now on can a server bind it too. A second holder cannot: it does not set
            # this option until it is bound.
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.detach()  # stays open until this process ends
        else:
            holder.close()
        return number
    raise OSError("no TCP port is free")


def _ephemeral_from() -> int:
    """Return the lowest port of outgoing connections.

    Source: ip(7), ip_local_port_range.
    """
    try:
        return int(_EPHEMERAL.read_text().split()[0])
    except FileNotFoundError:
        return _EPHEMERAL_FROM
