"""A Twisted Site that serves the gateway below one of its paths.

    python examples/site.py [REDIS_URL [PORT]]

``http://127.0.0.1:8080/key`` returns a session key, and ``ws://127.0.0.1:8080/live/user?id=…``
opens a websocket with it. A real program authenticates the user before it issues a key.
"""

import json
import sys
from typing import Any
from uuid import uuid4

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from opentera_twisted import Bus, BusError, SessionKeys
from opentera_twisted.gateway import Gateway


class Key(Resource):
    """A resource that issues a session key for a new UUID."""

    isLeaf = True

    def __init__(self, keys: SessionKeys) -> None:
        super().__init__()
        self._keys = keys

    def render_GET(self, request: Any) -> int:
        """Return a JSON object."""
        Deferred.fromCoroutine(self._answer(request))
        return NOT_DONE_YET

    async def _answer(self, request: Any) -> None:
        uuid = str(uuid4())
        request.setHeader(b"Content-Type", b"application/json")
        request.setHeader(b"Cache-Control", b"no-store")
        try:
            answer = {"uuid": uuid, "key": await self._keys.issue("user", uuid)}
        except BusError:
            request.setResponseCode(503)
            answer = {"error": "try again later"}
        request.write(json.dumps(answer).encode())
        request.finish()


async def main(url: str, port: str) -> None:
    """Run until the process stops."""
    bus = Bus(url, reactor=reactor, name="site")
    gateway = Gateway(bus)
    bus.startService()
    gateway.startService()
    root = Resource()
    root.putChild(b"key", Key(SessionKeys(bus)))
    root.putChild(b"live", gateway.resource())
    listening = await serverFromString(reactor, f"tcp:{port}:interface=127.0.0.1").listen(
        Site(root)
    )

    async def stop() -> None:
        await listening.stopListening()
        await gateway.stopService()
        await bus.stopService()

    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(stop()))
    await bus.connected()
    print("serving; end with Ctrl-C", flush=True)
    await Deferred()


if __name__ == "__main__":
    given = sys.argv[1:]
    arguments = [*given, *["redis://127.0.0.1:6379/0", "8080"][len(given) :]]
    react(lambda _: Deferred.fromCoroutine(main(*arguments)))
