"""The contract of a bus, kept by `Bus`, by `BlockingBus` in threads and by `MemoryBus`."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.trial.unittest import TestCase

from opentera_twisted import SessionKeys
from opentera_twisted.blocking import BlockingBus, BlockingPresence, BlockingVariables, Handle
from opentera_twisted.testing import MemoryBus, MemoryRedis
from tests.helpers.contract import BusContract
from tests.helpers.support import GUARD, RedisTestCase


class BusContractTests(BusContract, RedisTestCase):
    async def make(self) -> Any:
        return await self.bus()

    async def keys(self, bus: Any) -> Any:
        return SessionKeys(bus)

    async def push(self, name: str, value: bytes) -> None:
        self.redis.rpush(name, value)

    async def break_links(self) -> None:
        self.redis.client_kill_filter(_type="pubsub")
        self.redis.client_kill_filter(_type="normal", skipme=True)


class InThreads:
    """A blocking object whose methods run in a thread."""

    def __init__(self, blocking: Any) -> None:
        self._blocking = blocking

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._blocking, name)
        if isinstance(member, (BlockingVariables, BlockingPresence)):
            return InThreads(member)

        def call(*args: Any, **named: Any) -> Deferred[Any]:
            args = tuple(map(_in_reactor, args))
            named = {name: _in_reactor(value) for name, value in named.items()}
            called = deferToThread(partial(member, *args, **named))
            return called.addCallback(lambda one: InThreads(one) if _is_blocking(one) else one)

        return call


def _in_reactor(value: Any) -> Any:
    """Wrap a handler for calls in a thread, and run it in the reactor's thread."""
    if not callable(value):
        return value
    return lambda *args: blockingCallFromThread(reactor, value, *args)  # type: ignore[arg-type]


def _is_blocking(result: object) -> bool:
    return isinstance(result, Handle) or type(result).__name__ == "BlockingProxy"


class BlockingBusContractTests(BusContract, RedisTestCase):
    async def make(self) -> Any:
        # With another login it gets its own bus, as another program does.
        self.made = getattr(self, "made", 0) + 1
        url = self.server.url.replace("//", f"//user{self.made}@")  # no password is required
        bus = BlockingBus(url, name="test")
        self.addCleanup(deferToThread, bus.close)
        await deferToThread(bus.connected, GUARD)
        return InThreads(bus)

    async def keys(self, bus: Any) -> Any:
        class Keys:
            issue = bus.issue_key
            redeem = bus.redeem_key

        return Keys

    async def push(self, name: str, value: bytes) -> None:
        self.redis.rpush(name, value)

    async def break_links(self) -> None:
        self.redis.client_kill_filter(_type="pubsub")
        self.redis.client_kill_filter(_type="normal", skipme=True)


class MemoryBusContractTests(BusContract, TestCase):
    def setUp(self) -> None:
        self.redis = MemoryRedis(reactor)

    async def make(self) -> Any:
        bus = MemoryBus(self.redis, reactor=reactor)
        self.addCleanup(bus.stopService)
        self.addCleanup(self.redis.flush)
        await bus.connected()
        return bus

    async def keys(self, bus: Any) -> Any:
        return SessionKeys(bus)

    async def push(self, name: str, value: bytes) -> None:
        self.redis.append(name.encode(), [value])

    async def break_links(self) -> None:
        self.redis.go_away()
        self.redis.come_back()
