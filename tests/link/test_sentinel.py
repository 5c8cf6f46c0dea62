"""``redis+sentinel://``: three real sentinels, a primary and a replica; the primary is killed."""

from __future__ import annotations

import contextlib
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from twisted.internet import reactor as global_reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from opentera_twisted import BusError, BusUnavailable, Procedures
from opentera_twisted.embedded.process import find_server, guarded
from opentera_twisted.link import RedisAddress, back_off, blocking_connection
from tests.helpers.support import (
    GUARD,
    Collector,
    Server,
    folder_of,
    free_port,
    log_of,
    start_bus,
    start_server,
)

NAME = "tera"

reactor: Any = global_reactor


class Sentinel:
    """A sentinel that watches one primary and fails over quickly."""

    def __init__(self, directory: Path, primary: int, password: str = "") -> None:
        self.port = free_port()
        path = directory / f"sentinel-{self.port}.conf"
        path.write_text(
            f"port {self.port}\n"
            "bind 127.0.0.1\n"
            f"dir {directory}\n"
            + (f"requirepass {password}\n" if password else "")
            + f"sentinel monitor {NAME} 127.0.0.1 {primary} 2\n"
            f"sentinel down-after-milliseconds {NAME} 500\n"
            f"sentinel failover-timeout {NAME} 3000\n"
        )
        command = guarded("prctl", find_server(), str(path), "--sentinel")
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self._password = password

    def wait(self, replicas: int, sentinels: int) -> None:
        """Return when it knows that many replicas and other sentinels."""
        while True:
            try:
                with redis.Redis(port=self.port, password=self._password or None) as client:
                    state = client.sentinel_master(NAME)
            except redis.exceptions.ConnectionError:
                continue
            if (state["num-slaves"], state["num-other-sentinels"]) == (replicas, sentinels):
                return

    def stop(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait(GUARD)


class LostSentinel(Protocol):
    """A sentinel that lost the others, and always names the same primary."""

    def __init__(self, port: int) -> None:
        self._port = b"%d" % port

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n" % len(self._port))
        self.transport.write(self._port + b"\r\n")


class SentinelTests(TestCase):
    def setUp(self) -> None:
        directory = folder_of(self)
        self.primary = start_server(self, "--dir", str(directory))
        self.replica = Server(
            "--dir", str(directory), "--replicaof", "127.0.0.1", str(self.primary.port)
        )
        self.addCleanup(self.replica.stop)
        self.directory = directory

    async def sentinels(self, count: int, password: str = "") -> str:
        """Start sentinels that know each other; return their hosts for a URL."""
        sentinels = [Sentinel(self.directory, self.primary.port, password) for _ in range(count)]
        for sentinel in sentinels:
            self.addCleanup(sentinel.stop)
        for sentinel in sentinels:
            await deferToThread(sentinel.wait, 1, count - 1)
        return ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels)

    async def test_a_failover_is_followed_by_both_connections(self) -> None:
        hosts = await self.sentinels(3)
        bus = start_bus(self, f"redis+sentinel://127.0.0.1:{free_port()},{hosts}/{NAME}/0")
        await bus.connected()
        got, gaps = Collector(), Collector()
        await bus.subscribe("t", got, on_gap=gaps)
        procedures = Procedures()

        @procedures.expose
        def echo(text: str) -> str:
            return text

        await bus.serve_service("Echo", procedures)
        assert await bus.variables.set("a", "1")
        await deferToThread(self.primary.stop)
        await gaps.wait(1)
        await bus.connected()
        assert await bus.variables.set("a", "2")
        assert await bus.call_service("Echo", "echo", "x") == "x"
        with self.replica.client() as client:
            assert client.role()[0] == b"master"
            assert client.get("a") == b"2"
            client.publish("t", b"x")
            await got.wait(1)
            names = {connection["name"] for connection in client.client_list()}
            assert {"test.client", "test.subscriber"} <= names
        await deferToThread(self.primary.start)  # for the clean-up

    async def test_a_sentinel_that_names_no_primary_becomes_the_last(self) -> None:
        self.patch(back_off, "FIRST_DELAY", 0.01)
        hosts = []
        for named in (free_port(), self.replica.port, self.primary.port):
            factory = Factory.forProtocol(partial(LostSentinel, named))
            listener = reactor.listenTCP(0, factory, interface="127.0.0.1")
            self.addCleanup(listener.stopListening)
            hosts.append(f"127.0.0.1:{listener.getHost().port}")
        bus = start_bus(self, f"redis+sentinel://{','.join(hosts)}/{NAME}/0")
        await bus.connected()
        assert await bus.variables.set("a", "1")
        address = RedisAddress.parse(f"redis+sentinel://{','.join(hosts)}/{NAME}/0")
        assert await deferToThread(blocking_connection.execute, address, "SET", "a", "2") == b"OK"
        lost = RedisAddress.parse(f"redis+sentinel://{hosts[1]}/{NAME}")
        with pytest.raises(BusUnavailable, match="is a replica"):
            await deferToThread(blocking_connection.execute, lost, "GET", "a")

    async def test_sentinels_may_require_a_password(self) -> None:
        hosts = await self.sentinels(1, password="hush")
        url = f"redis+sentinel://{hosts}/{NAME}?sentinel_password=hush"
        bus = start_bus(self, url)
        await bus.connected()
        address = RedisAddress.parse(url)
        assert await deferToThread(blocking_connection.execute, address, "PING") == b"PONG"
        unknown = RedisAddress.parse(url.replace(NAME, "unknown"))
        with pytest.raises(BusUnavailable, match="no sentinel knows unknown"):
            await deferToThread(blocking_connection.execute, unknown, "PING")

    async def test_a_primary_unknown_to_all_sentinels_is_logged(self) -> None:
        hosts = await self.sentinels(1)
        closed = f"127.0.0.1:{free_port()}"
        log = log_of(self)
        bus = start_bus(self, f"redis+sentinel://{hosts},{closed}/other")
        causes = Collector()
        bus.link.on_refused.append(lambda cause: causes(cause.getErrorMessage()))
        (cause, *_) = await causes.wait(1)
        expected = f"no sentinel knows where other is ({hosts}: the name is unknown; {closed}: "
        assert expected in cause
        assert not [line for line in log.items if "factory" in line]

    async def test_a_primary_that_becomes_a_replica_is_dropped(self) -> None:
        hosts = await self.sentinels(1)
        bus = start_bus(self, f"redis+sentinel://{hosts}/{NAME}")
        await bus.connected()
        lost = Collector()
        bus.link.on_lost.append(lambda cause: lost(cause.getErrorMessage()))
        with self.primary.client() as client:
            client.replicaof("127.0.0.1", 1)
        while not lost.items:
            with contextlib.suppress(BusError):
                await bus.variables.set("a", "1")
        await lost.wait(1)
        refused = Collector()
        bus.link.on_refused.append(lambda cause: refused(cause.getErrorMessage()))
        (cause, *_) = await refused.wait(1)
        assert "is a replica" in cause
