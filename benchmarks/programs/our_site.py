"""Our gateway as a resource of a ``twisted.web`` site."""

from __future__ import annotations

import json
from argparse import Namespace

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.web.resource import Resource
from twisted.web.server import Site

from benchmarks.programs.options import parse_options
from opentera_twisted import Bus
from opentera_twisted._internal import garbage
from opentera_twisted.gateway import Gateway, GatewayLimits


async def serve(options: Namespace, reactor: object) -> None:
    """Serve until the process is ended."""
    bus = Bus(options.url, reactor=reactor, name="bench-site")
    gateway = Gateway(bus, limits=GatewayLimits(max_connections_per_address=0))
    root = Resource()
    root.putChild(b"wss", gateway.resource())
    bus.startService()
    gateway.startService()
    await bus.connected()
    garbage.collect_briefly()
    port = reactor.listenTCP(0, Site(root), interface="127.0.0.1")  # type: ignore[attr-defined]
    print(json.dumps({"port": port.getHost().port}), flush=True)
    await Deferred()


if __name__ == "__main__":
    arguments = parse_options(url=str)
    react(lambda reactor: Deferred.fromCoroutine(serve(arguments, reactor)))
