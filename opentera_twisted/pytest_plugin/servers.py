"""The Redis server and the gateway of the fixtures."""

from __future__ import annotations

import subprocess
from time import monotonic, sleep
from typing import Any, Final

from opentera_twisted.blocking import BlockingBus
from opentera_twisted.bus import Bus
from opentera_twisted.embedded.process import EmbeddedServerError, find_server, free_port, guarded
from opentera_twisted.embedded.server import GUARD_MODE
from opentera_twisted.errors import BusError
from opentera_twisted.gateway import Gateway
from opentera_twisted.link import RedisAddress
from opentera_twisted.link.blocking_connection import execute
from opentera_twisted.reactor_thread import run

START_WITHIN: Final = 60.0
STOP_WITHIN: Final = 30.0
"""Seconds until a starting server or gateway must be ready, and a stopping one must have ended."""

RETRY: Final = 0.02
"""Seconds between attempts to reach the starting server."""


class RedisServer:
    """A Redis server on a free port of 127.0.0.1, which ends with this process.

    Attributes:
        port: its port.
        url: its URL, such as ``redis://127.0.0.1:40123/0``.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._address = RedisAddress.parse(self.url)
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self._process = subprocess.Popen(  # noqa: S603 (the server of the wheel, or of PATH)
            guarded(GUARD_MODE, find_server(), *options),
            stdin=subprocess.PIPE,  # its end ends the server where prctl is missing
            stdout=subprocess.DEVNULL,
        )
        self._wait()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self.url}>"

    def _wait(self) -> None:
        end = monotonic() + START_WITHIN
        while self._process.poll() is None:
            try:
                execute(self._address, "PING")
            except BusError:
                if monotonic() > end:
                    self.stop()
                    raise
                sleep(RETRY)
            else:
                return
        raise EmbeddedServerError(
            f"the Redis server for tests ended with status {self._process.returncode}"
        )

    def flush(self) -> None:
        """Delete all data."""
        execute(self._address, "FLUSHALL")

    def stop(self) -> None:
        """End the server."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_WITHIN)


class RunningGateway:
    """A gateway on a free port of 127.0.0.1, in the reactor's thread.

    Args:
        redis_url: URL of its Redis.

    Attributes:
        port: its port.
        url: its URL, such as ``ws://127.0.0.1:40085``.
        bus: a `BlockingBus`, to issue session keys and to publish events.
    """

    def __init__(self, redis_url: str) -> None:
        self.bus = BlockingBus(redis_url, name="test")
        self._bus: Any
        self._gateway: Any
        self._listening: Any
        run(self._start, redis_url)
        self.port: int = self._listening.getHost().port
        self.url = f"ws://127.0.0.1:{self.port}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self.url}>"

    async def _start(self, redis_url: str) -> None:
        from twisted.internet import reactor  # noqa: PLC0415 (it is running)
        from twisted.internet.endpoints import TCP4ServerEndpoint  # noqa: PLC0415

        self._bus = Bus(redis_url, reactor=reactor, name="test-gateway")
        self._bus.startService()
        await self._bus.connected(START_WITHIN)
        self._gateway = Gateway(self._bus)
        self._gateway.startService()
        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        self._listening = await endpoint.listen(self._gateway.factory)

    def stop(self) -> None:
        """Close its clients, and end it."""
        run(self._stop)
        self.bus.close()

    async def _stop(self) -> None:
        await self._listening.stopListening()
        for service in (self._gateway, self._bus):
            stopping = service.stopService()
            if stopping is not None:
                await stopping.addTimeout(STOP_WITHIN, self._bus.link.clock)
