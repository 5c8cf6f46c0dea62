"""Watching variables, against a real server with default settings."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from opentera_twisted import BusUnavailable, PermissionDenied, WrongType, watches
from opentera_twisted.link import back_off
from opentera_twisted.link.retry_pause import RETRY_DELAY
from tests.helpers.support import (
    Collector,
    RedisTestCase,
    folder_of,
    log_of,
    quick_retries,
    start_server,
    turn,
    write_slow_data,
)


class Values:
    """A handler of a watch that collects values."""

    def __init__(self) -> None:
        self.collector = Collector()

    def __call__(self, name: str, value: bytes | None) -> None:
        self.collector((name, value))

    @property
    def items(self) -> list[bytes | None]:
        return [value for _, value in self.collector.items]

    async def until(self, value: bytes | None) -> list[bytes | None]:
        """Fire with all values once this one has arrived."""
        count = 1
        while value not in self.items[count - 1 :]:
            count = len(self.items) + 1
            await self.collector.wait(count)
        return self.items


class WatchTests(RedisTestCase):
    async def test_the_present_value_comes_first_and_then_each_newest(self) -> None:
        variables = (await self.bus()).variables
        self.redis.set("a", "1")
        values = Values()
        watch = await variables.watch("a", values)
        assert values.items == [b"1"]
        self.redis.set("a", "2")
        await values.until(b"2")
        await variables.set("a", "3")
        await values.until(b"3")
        self.redis.delete("a")
        await values.until(None)
        self.redis.set("a", "4", px=1)
        assert (await values.until(None))[:1] == [b"1"]
        await watch.cancel()

    async def test_a_missing_variable_is_watched_until_it_exists(self) -> None:
        variables = (await self.bus()).variables
        values = Values()
        await variables.watch("service.A", values)
        assert values.items == [None]
        self.redis.set("service.A", "{}")
        await values.until(b"{}")

    async def test_expiry_is_reported(self) -> None:
        variables = (await self.bus()).variables
        self.redis.set("a", "1", px=50)
        values = Values()
        await variables.watch("a", values)
        await values.until(None)

    async def test_the_last_of_many_changes_is_reported_last(self) -> None:
        variables = (await self.bus()).variables
        values = Values()
        await variables.watch("a", values)
        for number in range(500):
            self.redis.set("a", number)
            await turn()
        await values.until(b"499")
        numbers = [int(value) for value in values.items if value is not None]
        assert numbers == sorted(numbers)

    async def test_several_handlers_and_names(self) -> None:
        variables = (await self.bus()).variables
        first, second, other = Values(), Values(), Values()
        watch = await variables.watch("a", first)
        await variables.watch("a", second)
        await variables.watch("b", other)
        self.redis.mset({"a": "1", "b": "2"})
        await first.until(b"1")
        await second.until(b"1")
        await other.until(b"2")
        await watch.cancel()
        self.redis.set("a", "3")
        await second.until(b"3")
        assert b"3" not in first.items
        self.redis.flushall()
        await second.until(None)
        await other.until(None)

    async def test_a_failing_handler_does_not_affect_others(self) -> None:
        variables = (await self.bus()).variables
        values = Values()

        def raises(_name: str, _value: bytes | None) -> None:
            raise ZeroDivisionError

        async def fails(_name: str, _value: bytes | None) -> None:
            raise ZeroDivisionError

        for handler in (raises, fails, values):
            await variables.watch("a", handler)
        self.redis.set("a", "1")
        await values.until(b"1")
        self.redis.set("a", "2")
        await values.until(b"2")
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 6  # two handlers, three values

    async def test_a_slow_handler_gets_the_newest_value_next(self) -> None:
        variables = (await self.bus()).variables
        taken, values = Collector(), Values()

        def slow(_name: str, value: bytes | None) -> Deferred[None]:
            handling: Deferred[None] = Deferred()
            taken((value, handling))
            return handling

        await variables.watch("a", slow)
        await variables.watch("a", values)
        for number in (b"1", b"2", b"3"):
            self.redis.set("a", number)
            await values.until(number)
        assert [value for value, _ in taken.items] == [None]
        taken.items[0][1].callback(None)
        assert [value for value, _ in taken.items] == [None, b"3"]
        taken.items[1][1].callback(None)
        assert len(taken.items) == 2

    async def test_an_unreadable_name_is_not_watched(self) -> None:
        variables = (await self.bus()).variables
        self.redis.rpush("l", "1")
        with pytest.raises(WrongType):
            await variables.watch("l", Values())

    async def test_redis_does_not_track_unwatched_reads(self) -> None:
        variables = (await self.bus()).variables
        await variables.watch("a", Values())
        self.redis.set("b", "1")
        await variables.get("b")
        assert self.redis.info("stats")["tracking_total_keys"] == 1

    async def test_the_value_is_reported_again_after_a_gap(self) -> None:
        server = start_server(self)
        variables = (await self.bus(server.url)).variables
        values = Values()
        await variables.set("a", "1")
        await variables.watch("a", values)
        for value in ("2", "3"):
            await deferToThread(server.stop)
            await deferToThread(server.start)
            with server.client() as client:
                client.set("a", value)
                await values.until(value.encode())
                client.set("a", "x" + value)
                await values.until(b"x" + value.encode())

    async def test_watches_wait_while_redis_loads_its_data(self) -> None:
        self.patch(back_off, "LONGEST_DELAY", 0.05)
        directory = folder_of(self)
        server = start_server(self, "--dir", str(directory), "--appendonly", "yes")
        bus = await self.bus(server.url)
        values, got = Values(), Collector()
        await bus.variables.watch("a", values)
        await bus.subscribe("t", got)
        await deferToThread(server.stop)
        write_slow_data(directory)
        refused = Collector()
        bus.link.on_refused.append(refused)
        loaded = deferToThread(server.start)
        while not any("loading" in cause.getErrorMessage() for cause in refused.items):
            await refused.wait(len(refused.items) + 1)
        assert not loaded.called
        assert "ready" not in bus.link.states.values()
        assert bus.link.subscriptions.acknowledged == set()
        assert values.items == [None]
        await loaded
        await values.until(b"1")
        with server.client() as client:
            assert client.publish("t", "x") == 1
        await got.wait(1)

    async def test_a_missing_right_is_reported(self) -> None:
        self.redis.execute_command(
            *["ACL", "SETUSER", "watcher", "on", ">pw", "~*", "&*", "+@all", "-client|tracking"]
        )
        self.addCleanup(self.redis.execute_command, "ACL", "DELUSER", "watcher")
        bus = await self.bus(f"redis://watcher:pw@127.0.0.1:{self.server.port}")
        with pytest.raises(PermissionDenied):
            await bus.variables.watch("a", Values())

    async def test_a_refused_read_is_repeated_until_it_succeeds(self) -> None:
        retries = quick_retries(self)

        def change(*rules: str) -> None:
            self.redis.execute_command("ACL", "SETUSER", "reader", *rules)

        change("on", ">pw", "~*", "&*", "+@all")
        self.addCleanup(self.redis.execute_command, "ACL", "DELUSER", "reader")
        bus = await self.bus(f"redis://reader:pw@127.0.0.1:{self.server.port}")
        values = Values()
        watch = await bus.variables.watch("a", values)
        for value, rule in (("1", "get"), ("2", "client|tracking")):
            change(f"-{rule}")
            if rule != "get":
                self.redis.execute_command("CLIENT", "KILL", "USER", "reader", "TYPE", "pubsub")
            self.redis.set("a", value)
            await retries.wait(len(retries.items) + 1)
            self.redis.set("a", value * 2)
            change(f"+{rule}")
            await values.until(value.encode() * 2)
        await watch.cancel()

    async def test_a_watch_waits_for_the_link_no_longer_than_a_command(self) -> None:
        bus = await self.bus()
        await bus.stopService()
        self.patch(watches, "COMMAND_TIMEOUT", 0.01)
        with pytest.raises(BusUnavailable):
            await bus.variables.watch("a", Values())


class ReadTests(SynchronousTestCase):
    """Watches on a link whose replies the test chooses."""

    def setUp(self) -> None:
        self.log = log_of(self)
        self.link: Any = mock.Mock(clock=Clock(), is_ready=True, on_invalidated=[])
        self.link.stopped_error.return_value = None
        self.link.track.return_value = self.link.subscriptions.want.return_value = succeed(None)
        self.reads: list[tuple[bytes, Deferred[bytes | None]]] = []
        self.link.read_tracked = self.read
        self.watches = watches.Watches(self.link)

    def read(self, name: bytes) -> Deferred[bytes | None]:
        self.reads.append((name, Deferred()))
        return self.reads[-1][1]

    def watch(self, name: bytes) -> Values:
        """Watch a variable with the value ``1``."""
        values = Values()
        watching = self.watches.watch(name, values)
        self.reads.pop()[1].callback(b"1")
        self.successResultOf(watching)
        return values

    def change(self, *names: bytes) -> None:
        """Report variables as changed."""
        self.link.on_invalidated[0](names)

    def test_a_change_during_a_read_of_another_type_is_read(self) -> None:
        values = self.watch(b"a")
        self.change(b"a")
        self.change(b"a")  # before the reply to the read
        self.reads.pop()[1].errback(WrongType("GET", "WRONGTYPE not a string"))
        self.reads.pop()[1].callback(b"2")
        assert values.items == [b"1", b"2"]
        assert self.reads == []

    def test_a_lost_right_is_logged_once_for_each_variable(self) -> None:
        names = (b"a", b"b")
        for name in names:
            self.watch(name)

        def fail_reads() -> None:
            reads, self.reads = self.reads, []
            assert [name for name, _ in reads] == list(names)
            for name, reading in reads:
                needs = f"~{name.decode()}"
                reading.errback(PermissionDenied("GET", "NOPERM No permissions", needs))

        self.change(*names)
        for _ in range(3):
            fail_reads()
            self.link.clock.advance(RETRY_DELAY)
        assert len(self.log.items) == len(names)
        for _, reading in self.reads:
            reading.callback(b"2")
