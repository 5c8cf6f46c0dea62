"""Connecting while every thread of the reactor's pool is busy, and name lookups."""

from __future__ import annotations

import socket
import threading
from typing import Any
from unittest import mock

import pytest
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IHostnameResolver, IResolutionReceiver
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.internet.threads import deferToThread
from zope.interface import implementer
from zope.interface.verify import verifyObject

from opentera_twisted.link import RedisAddress
from opentera_twisted.link.endpoints import Resolver, tcp_endpoint
from tests.helpers.support import GUARD, Collector, RedisTestCase, start_bus, start_server

reactor: Any = installed


class BusyThreadsTests(RedisTestCase):
    def occupy(self) -> None:
        """Block each thread of the reactor's pool until the end of the test."""
        gate = threading.Event()
        count = reactor.getThreadPool().max
        busy = DeferredList([deferToThread(gate.wait) for _ in range(count)])

        def release() -> Deferred[Any]:
            gate.set()
            return busy

        self.addCleanup(release)

    async def test_a_bus_connects_to_an_address_and_to_a_name(self) -> None:
        self.occupy()
        for host in ("127.0.0.1", "localhost"):
            await start_bus(self, self.server.url.replace("127.0.0.1", host)).connected()

    async def test_a_bus_comes_back_after_a_restart_of_redis(self) -> None:
        server = start_server(self)
        bus = start_bus(self, server.url)
        await bus.connected()
        self.occupy()
        lost = Collector()
        bus.link.on_lost.append(lost)
        server.stop()
        await lost.wait(1)
        server.start()
        await bus.connected()


@implementer(IResolutionReceiver)
class Receiver:
    def __init__(self) -> None:
        self.addresses: list[Any] = []
        self.completed: Deferred[list[Any]] = Deferred()

    def resolutionBegan(self, resolutionInProgress: Any) -> None:
        """Do nothing."""

    def addressResolved(self, address: Any) -> None:
        self.addresses.append(address)

    def resolutionComplete(self) -> None:
        self.completed.callback(self.addresses)


class ResolverTests(RedisTestCase):
    async def test_attempts_share_a_running_lookup(self) -> None:
        gate, lookups = threading.Event(), []

        def look_up(*arguments: Any, **_: Any) -> Any:
            lookups.append(arguments)
            gate.wait(GUARD)
            return [
                (socket.AF_INET6, 0, 0, "", ("fe80::1", 7, 0, 3)),
                (socket.AF_INET, 0, 0, "", ("10.0.0.1", 7)),
            ]

        resolver = Resolver(reactor)
        verifyObject(IHostnameResolver, resolver)
        receivers = [Receiver(), Receiver()]
        with mock.patch.object(socket, "getaddrinfo", look_up):
            for receiver in receivers:
                resolver.resolveHostName(receiver, "redis.example", 7).cancel()
            gate.set()
            for receiver in receivers:
                found = await receiver.completed
                assert [(entry.host, entry.port) for entry in found] == [
                    ("fe80::1", 7),
                    ("10.0.0.1", 7),
                ]
        assert lookups == [("redis.example", 7)]

    async def test_an_unknown_name_fails_the_attempt_and_names_it(self) -> None:
        with mock.patch.object(socket, "getaddrinfo", side_effect=socket.gaierror("unknown")):
            attempt = tcp_endpoint(reactor, "redis.example", 7, 60).connect(Factory())
            with pytest.raises(Exception, match=r"redis\.example"):
                await attempt

    async def test_each_attempt_after_a_failed_lookup_starts_its_own(self) -> None:
        for target, error in (
            ("socket.getaddrinfo", ValueError("embedded null character")),
            ("threading.Thread.start", RuntimeError("can't start new thread")),
        ):
            endpoint = tcp_endpoint(reactor, "localhost", self.server.port, 60)
            with (
                mock.patch(target, side_effect=error),
                pytest.raises(Exception, match="localhost"),
            ):
                await endpoint.connect(Factory())
            connected: Any = await endpoint.connect(Factory.forProtocol(Protocol))
            connected.transport.abortConnection()

    def test_a_lookup_times_out(self) -> None:
        clock = MemoryReactorClock()
        with mock.patch.object(Resolver, "resolveHostName"):
            attempt = tcp_endpoint(clock, "redis.example", 7, 5).connect(Factory())
        clock.advance(5)
        error = self.failureResultOf(attempt, ConnectError)
        assert "redis.example port 7 within 5 seconds" in error.getErrorMessage()


class AttemptTests(RedisTestCase):
    def test_an_unresponsive_address_times_out(self) -> None:
        clock = MemoryReactorClock()
        attempt = tcp_endpoint(clock, "10.0.0.1", 7, 5).connect(Factory.forProtocol(Protocol))
        clock.advance(5)
        error = self.failureResultOf(attempt, ConnectError)
        assert "10.0.0.1 port 7 within 5 seconds" in error.getErrorMessage()


def test_sentinels_and_their_primary_need_no_thread() -> None:
    address = RedisAddress.parse("redis+sentinel://10.0.0.1,redis.example/primary")
    sentinels: Any = address.endpoint(MemoryReactorClock(), 1)
    kinds = [type(sentinel.endpoint) for _, sentinel in sentinels._sentinels]
    assert kinds == [TCP4ClientEndpoint, HostnameEndpoint]
    named = sentinels._endpoint_of("10.0.0.2", 6379)
    assert isinstance(named.endpoint, TCP4ClientEndpoint)
