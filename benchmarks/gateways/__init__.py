"""Websocket gateways that are compared: ours, rivals, and one that does nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from benchmarks.gateways.channels import channels
from benchmarks.gateways.crossbar import crossbar
from benchmarks.gateways.nats import nats
from benchmarks.gateways.nchan import nchan
from benchmarks.gateways.node import socket_io, ws
from benchmarks.gateways.null import null
from benchmarks.gateways.ours import ours, ours_in_a_site, with_recovery, with_two_workers
from benchmarks.gateways.side import Audience, Side, Start

__all__ = [
    "QUICK_RIVALS",
    "RIVALS",
    "Audience",
    "Side",
    "Start",
    "null",
    "ours",
    "ours_in_a_site",
    "with_recovery",
    "with_two_workers",
]

RIVALS: Final[Mapping[str, Start]] = {
    "nats-server": nats,
    "ws": ws,
    "Socket.IO": socket_io,
    "nchan": nchan,
    "Crossbar": crossbar,
    "Channels": channels,
}
"""By a short name."""

QUICK_RIVALS: Final = ("nats-server", "ws")
"""Those that are measured when there is only a minute."""
