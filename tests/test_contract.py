"""The contract of a bus, kept by `Bus`, `BlockingBus`, `AsyncioBus` and `MemoryBus`."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.trial.unittest import TestCase

from opentera_twisted import NotOnCluster, Procedures, SessionKeys
from opentera_twisted.aio import (
    AsyncioBus,
    AsyncioPresence,
    AsyncioRedis,
    AsyncioVariables,
)
from opentera_twisted.blocking import (
    BlockingBus,
    BlockingPresence,
    BlockingRedis,
    BlockingVariables,
    Handle,
)
from opentera_twisted.link.slots import key_slot
from opentera_twisted.reactor_thread import run_in_loop
from opentera_twisted.rpc.procedures import Procedure
from opentera_twisted.testing import MemoryBus, MemoryRedis
from tests.helpers.cluster import ClusterTestCase
from tests.helpers.contract import BusContract
from tests.helpers.loops import LoopThread
from tests.helpers.support import GUARD, RedisTestCase, Server


class OnSharedServer:
    """The test's own access to the server that all tests share."""

    redis: Any

    async def push(self, name: str, value: bytes) -> None:
        self.redis.rpush(name, value)

    async def break_links(self) -> None:
        self.redis.client_kill_filter(_type="pubsub")
        self.redis.client_kill_filter(_type="normal", skipme=True)


class OnOtherLogins(OnSharedServer):
    """A bus that other buses of this process do not share."""

    server: Server
    made = 0

    def other_login(self) -> str:
        """Return a URL with another login; it gets its own bus, as another program does."""
        self.made += 1
        return self.server.url.replace("//", f"//user{self.made}@")  # no password is required

    async def keys(self, bus: Any) -> Any:
        class Keys:
            issue = bus.issue_key
            redeem = bus.redeem_key

        return Keys


class BusContractTests(OnSharedServer, BusContract, RedisTestCase):
    async def make(self) -> Any:
        return await self.bus()

    async def make_with_all_rights(self) -> Any:
        return await self.bus(self.server.url)

    async def keys(self, bus: Any) -> Any:
        return SessionKeys(bus)


@pytest.mark.xdist_group("cluster")
class ClusterBusContractTests(BusContract, ClusterTestCase):
    async def make(self) -> Any:
        return await self.bus()

    async def keys(self, bus: Any) -> Any:
        return SessionKeys(bus)

    async def push(self, name: str, value: bytes) -> None:
        self.cluster.owner(key_slot(name.encode())).execute("RPUSH", name, value)

    async def break_links(self) -> None:
        self.break_connections()

    async def test_a_pattern_fits_as_in_redis(self) -> None:
        bus = await self.make()
        await self.refused(NotOnCluster, lambda: bus.subscribe_pattern("a.*", print))


class ClassicClusterBusContractTests(ClusterBusContractTests):
    is_classic = True
    counts_patterns = False

    async def test_a_pattern_fits_as_in_redis(self) -> None:
        await BusContract.test_a_pattern_fits_as_in_redis(self)


class InThreads:
    """A blocking object whose methods run in a thread."""

    def __init__(self, blocking: Any) -> None:
        self._blocking = blocking

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._blocking, name)
        if isinstance(member, (BlockingVariables, BlockingPresence, BlockingRedis)):
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


class BlockingBusContractTests(OnOtherLogins, BusContract, RedisTestCase):
    async def make(self) -> Any:
        bus = BlockingBus(self.other_login(), name="test")
        self.addCleanup(deferToThread, bus.close)
        await deferToThread(bus.connected, GUARD)
        return InThreads(bus)


class InLoop:
    """An object of `AsyncioBus` whose methods run in an event loop of another thread."""

    def __init__(self, of_asyncio: Any, loop: LoopThread) -> None:
        self._of_asyncio = of_asyncio
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._of_asyncio, name)
        if isinstance(member, (AsyncioVariables, AsyncioPresence, AsyncioRedis)):
            return InLoop(member, self._loop)

        def call(*args: Any, **named: Any) -> Deferred[Any]:
            args = tuple(map(_from_loop, args))
            named = {name: _from_loop(value) for name, value in named.items()}
            called = self._loop.run(lambda: member(*args, **named))
            return called.addCallback(self._wrapped)

        return call

    def _wrapped(self, result: Any) -> Any:
        is_wrapped = type(result).__name__ in {"AsyncioProxy", "Handle"}
        return InLoop(result, self._loop) if is_wrapped else result


def _from_loop(value: Any) -> Any:
    """Wrap handlers and procedures for calls in an event loop; run them in the reactor's thread."""
    if isinstance(value, Procedures):
        return value.adapted(_procedure_from_loop)
    return partial(run_in_loop, value) if callable(value) else value


def _procedure_from_loop(procedure: Procedure) -> Procedure:
    if procedure.thread:
        return procedure
    return evolve(procedure, function=partial(run_in_loop, procedure.function))


class AsyncioBusContractTests(OnOtherLogins, BusContract, RedisTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.loop = LoopThread()
        self.addCleanup(self.loop.stop)

    async def make(self) -> Any:
        bus = InLoop(AsyncioBus(self.other_login(), name="test"), self.loop)
        self.addCleanup(bus.close)
        await bus.connected(GUARD)
        return bus


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
