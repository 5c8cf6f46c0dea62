"""A gateway as a process with a short lease: ``gateway_program.py URL LEASE``."""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet import reactor

from opentera_twisted import Bus
from opentera_twisted.gateway import Gateway


def main(url: str, lease: str) -> None:
    """Serve until stopped; print the port when ready."""
    services: Any = reactor
    bus = Bus(url, reactor=reactor, name="gateway-program")
    gateway = Gateway(bus, presence_lease=float(lease))
    bus.startService()
    gateway.startService()
    port = services.listenTCP(0, gateway.factory, interface="127.0.0.1")
    number = port.getHost().port
    bus.connected().addCallback(lambda _: print(f"port {number}.", flush=True))  # noqa: T201
    services.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
