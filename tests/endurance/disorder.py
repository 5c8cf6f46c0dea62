"""Breaks of websockets, of links and of Redis, at random."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from random import Random
from time import monotonic
from typing import Final

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.faults.proxy import Proxy
from tests.helpers.support import Server

CALM: Final = 20.0
"""Seconds after a break in which a call may still fail."""


class Disorder:
    """Breaks something now and then.

    Args:
        server: the Redis.
        proxy: all connections to the gateway go through it.
        random: source of choices.

    Attributes:
        breaks: name of each break, with the time of `time.monotonic` at which it began.
    """

    def __init__(self, server: Server, proxy: Proxy, random: Random) -> None:
        self.breaks: list[tuple[float, str]] = []
        self._server = server
        self._proxy = proxy
        self._random = random
        self._ended = monotonic()
        self._is_under_way = False

    def was_calm(self, since: float) -> bool:
        """True if nothing has been broken since a time of `time.monotonic`, nor shortly before."""
        return not self._is_under_way and self._ended + CALM < since

    async def strike(self) -> None:
        """Break one thing."""
        kind: Callable[[], Awaitable[None]] = self._random.choice(
            [
                self.restart_of_redis,
                self.frozen_redis,
                self.broken_links,
                self.broken_websockets,
                self.broken_websockets,
            ]
        )
        self._is_under_way = True
        self.breaks.append((monotonic(), kind.__name__.replace("_", " ")))
        try:
            await kind()
        finally:
            self._is_under_way = False
            self._ended = monotonic()

    async def restart_of_redis(self) -> None:
        """Kill Redis; start an empty one after a while."""
        await deferToThread(self._server.stop)
        await deferLater(reactor, self._random.uniform(0, 5))
        await deferToThread(self._server.start)

    async def frozen_redis(self) -> None:
        """Stop the process of Redis for a while."""
        self._server.process.send_signal(signal.SIGSTOP)
        try:
            await deferLater(reactor, self._random.uniform(0, 8))
        finally:
            self._server.process.send_signal(signal.SIGCONT)

    async def broken_links(self) -> None:
        """Have Redis close the subscriber connections, or the others."""
        kind = self._random.choice(["pubsub", "normal"])

        def kill() -> None:
            with self._server.client() as redis:
                redis.client_kill_filter(_type=kind, skipme=True)

        await deferToThread(kill)

    async def broken_websockets(self) -> None:
        """Break the connections of half of the clients, without a close frame."""
        sides = sorted(self._proxy.sides, key=id)
        for side in self._random.sample(sides, len(sides) // 2):
            side.transport.abortConnection()
