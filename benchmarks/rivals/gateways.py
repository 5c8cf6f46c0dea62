"""The websocket gateways to compare with ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from benchmarks.gateways import Start
from benchmarks.rivals.channels import channels
from benchmarks.rivals.crossbar import crossbar
from benchmarks.rivals.nats import nats
from benchmarks.rivals.nchan import nchan
from benchmarks.rivals.node import socket_io, ws

RIVALS: Final[Mapping[str, Start]] = {
    "nats-server": nats,
    "ws": ws,
    "Socket.IO": socket_io,
    "nchan": nchan,
    "Crossbar": crossbar,
    "Channels": channels,
}
"""Gateways to compare, by a short name."""

QUICK_RIVALS: Final = ("nats-server", "ws")
"""Gateways of a quick run."""
