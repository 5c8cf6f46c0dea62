"""A bus, a gateway and a Site in one Twisted program, on one reactor.

    python examples/embedded.py [REDIS_URL [HTTP_PORT [WEBSOCKET_PORT]]]

The program serves http://127.0.0.1:8080/, the service ``Greeter``, and websockets on port 8081.
Call it with ``opentera-bus call service.Greeter greet Zoé``.
"""

import json
import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react
from twisted.web.resource import Resource
from twisted.web.server import Site

from opentera_twisted import Bus, Procedures
from opentera_twisted.gateway import Gateway

procedures = Procedures(version="1.0", doc="Greets people.")


@procedures.expose
def greet(name: str, loud: bool = False) -> str:
    """Greet one person."""
    greeting = f"Hello, {name}!"
    return greeting.upper() if loud else greeting


class Online(Resource):
    """The number of open websockets, by kind."""

    isLeaf = True

    def __init__(self, gateway: Gateway) -> None:
        super().__init__()
        self._gateway = gateway

    def render_GET(self, request: Any) -> bytes:
        """Return a JSON object."""
        request.setHeader(b"Content-Type", b"application/json")
        return json.dumps(dict(self._gateway.clients)).encode()


async def main(url: str, http_port: str, websocket_port: str) -> None:
    """Run until the process stops."""
    bus = Bus(url, reactor=reactor, name="greeter")
    gateway = Gateway(bus)
    bus.startService()
    gateway.startService()
    ports = [
        await serverFromString(reactor, description).listen(factory)
        for description, factory in (
            (f"tcp:{http_port}:interface=127.0.0.1", Site(Online(gateway))),
            (f"tcp:{websocket_port}:interface=127.0.0.1", gateway.factory),
        )
    ]

    async def stop() -> None:
        for port in ports:
            await port.stopListening()
        await gateway.stopService()
        await bus.stopService()

    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(stop()))
    await bus.connected()
    await bus.serve_service("Greeter", procedures)
    print("serving; end with Ctrl-C", flush=True)
    await Deferred()


if __name__ == "__main__":
    given = sys.argv[1:]
    arguments = [*given, *["redis://127.0.0.1:6379/0", "8080", "8081"][len(given) :]]
    react(lambda _: Deferred.fromCoroutine(main(*arguments)))
