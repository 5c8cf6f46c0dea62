"""A program that serves the calls: ``python -m tests.endurance.service URL FILE``."""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from opentera_twisted import Bus, Procedures

from .footprint import report

SERVICE = "Endurance"

procedures = Procedures()


@procedures.expose
def echo(number: int, text: str) -> list[int | str]:
    """Return the arguments."""
    return [number, text]


async def serve(bus: Bus) -> None:
    """Serve until the process ends."""
    await bus.connected()
    await bus.serve_service(SERVICE, procedures)
    print("is ready", flush=True)  # noqa: T201


def main(url: str, path: str) -> None:
    """Serve until stopped; write the number of objects to a file."""
    report(path)
    services: Any = reactor
    bus = Bus(url, reactor=reactor, name="endurance-service")
    bus.startService()
    Deferred.fromCoroutine(serve(bus)).addErrback(lambda failure: print(failure, flush=True))  # noqa: T201
    services.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
