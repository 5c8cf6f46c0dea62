"""Serves ``add`` with `Bus.serve_service`."""

from __future__ import annotations

import argparse
import json

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from opentera_twisted import Bus, Procedures

procedures = Procedures()


@procedures.expose
def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


async def serve(options: argparse.Namespace, reactor: object) -> None:
    """Serve until the process is ended."""
    bus = Bus(options.url, reactor=reactor, name="bench-server")
    bus.startService()
    await bus.serve_service(options.service, procedures, exclusive=bool(options.exclusive))
    print(json.dumps({"ready": True}), flush=True)
    await Deferred()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--service", required=True)
    parser.add_argument("--exclusive", type=int, default=0)
    arguments = parser.parse_args()
    react(lambda reactor: Deferred.fromCoroutine(serve(arguments, reactor)))
