"""A Twisted Site with the gateway below one of its paths.

    python examples/site.py [REDIS_URL [PORT]]

``http://127.0.0.1:8080/key`` answers with a session key, and ``ws://127.0.0.1:8080/live/user?id=…``
lets a websocket in with it. A real program asks who it is before it gives a key away.
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
    """Issues a session key for somebody new."""

    isLeaf = True

    def __init__(self, keys: SessionKeys) -> None:
        super().__init__()
        self._keys = keys

    def render_GET(self, request: Any) -> int:
        """A JSON object."""
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
    """Run until the process is told to end."""
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
