"""The link against real servers: two connections, their names, and reconnects."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from opentera_twisted import (
    AuthenticationFailed,
    Bus,
    BusUnavailable,
    CallNotSent,
    CommandFailed,
    Procedures,
)
from opentera_twisted.link import server_link
from opentera_twisted.link.factory import Probe
from opentera_twisted.link.server_link import ServerLink
from opentera_twisted.link.waiting import WaitingCommands
from tests.helpers.support import (
    Collector,
    RedisTestCase,
    Server,
    folder_of,
    free_port,
    log_of,
    start_bus,
    start_server,
)


def connections(server: Server) -> list[str]:
    """Return the names of other programs' connections."""
    with server.client() as client:
        return sorted(
            connection["name"] for connection in client.client_list() if connection["name"]
        )


class LinkTests(RedisTestCase):
    async def test_a_bus_has_two_connections_and_they_carry_its_name(self) -> None:
        bus = await self.bus(name="my service")
        await bus.subscribe("a", print)
        await bus.subscribe_pattern("b*", print)
        await gatherResults([bus.variables.get(str(number)) for number in range(100)])
        assert connections(self.server) == ["my_service.client", "my_service.subscriber"]

    async def test_a_topic_is_restored_when_its_right_is(self) -> None:
        self.patch(server_link, "Probe", partial(Probe, interval=0.01))
        rules = ("reset", "on", "nopass", "~*", "+@all")
        change = ("ACL", "SETUSER", "changing")
        self.redis.execute_command(*change, *rules, "allchannels")
        self.addCleanup(self.redis.execute_command, "ACL", "DELUSER", "changing")
        bus = await self.bus(f"redis://changing:x@127.0.0.1:{self.server.port}")
        got, gaps, lost = Collector(), Collector(), Collector()
        await bus.subscribe("t", got, on_gap=gaps)
        log = log_of(self)
        bus.link.on_lost.append(lost)
        # Redis closes the connection of a user that may no longer subscribe to its channels.
        await deferToThread(self.redis.execute_command, *change, "resetchannels")
        await lost.wait(1)
        while not any("refuses SUBSCRIBE of t" in text for text in log.items):
            await log.wait(len(log.items) + 1)
        await deferToThread(self.redis.execute_command, *change, "allchannels")
        while not got.items:  # the first may fall into the gap
            await deferToThread(self.redis.publish, "t", b"back")
        await gaps.wait(1)

    async def test_a_stopped_bus_has_no_connection_and_can_restart(self) -> None:
        bus = await self.bus()
        got = Collector()
        await bus.subscribe("t", got)
        sent = bus.variables.set("a", "1")
        await bus.stopService()
        assert await sent is True
        assert connections(self.server) == []
        with pytest.raises(BusUnavailable):
            await bus.variables.get("a")
        bus.startService()
        await bus.connected()
        assert await bus.variables.get("a") == b"1"
        self.redis.publish("t", b"1")
        await got.wait(1)

    async def test_repeated_starts_leave_one_pair_of_connections(self) -> None:
        bus = await self.bus()
        bus.startService()
        stopped = bus.stopService()
        bus.startService()
        await stopped
        await bus.connected()
        assert len(connections(self.server)) == 2
        await bus.stopService()
        assert connections(self.server) == []
        await bus.stopService()

    async def test_a_failed_stop_ends_and_the_bus_can_restart(self) -> None:
        bus = await self.bus()
        real = bus.link.stop
        failing: Deferred[None] = Deferred()

        async def stop() -> None:
            await failing

        self.patch(bus.link, "stop", stop)
        stopped = [bus.stopService() for _ in range(3)]
        failing.errback(ZeroDivisionError())
        for waiting in stopped:
            self.failureResultOf(waiting, ZeroDivisionError)
        self.patch(bus.link, "stop", real)
        assert not bus.running
        bus.startService()
        await bus.connected()
        assert await bus.variables.get("a") is None
        assert len(connections(self.server)) == 2
        await bus.stopService()
        assert connections(self.server) == []

    async def test_a_stop_that_fails_at_once_fails_for_its_caller(self) -> None:
        bus = await self.bus()

        async def stop() -> None:
            raise ZeroDivisionError

        real = bus.link.stop
        self.patch(bus.link, "stop", stop)
        with pytest.raises(ZeroDivisionError):
            await bus.stopService()
        self.patch(bus.link, "stop", real)
        await bus.stopService()
        assert connections(self.server) == []

    async def test_a_connection_closes_although_another_cannot(self) -> None:
        bus = await self.bus()
        link = bus.link
        assert isinstance(link, ServerLink)
        closing: Deferred[None] = Deferred()
        disconnect = link._client.disconnect
        link._client.disconnect = lambda: closing  # type: ignore[method-assign]
        stopped = bus.stopService()
        closing.errback(ZeroDivisionError())
        with pytest.raises(ZeroDivisionError):
            await stopped
        link._client.disconnect = disconnect  # type: ignore[method-assign]
        assert link.states == {"client": "ready", "subscriber": "idle"}
        bus.startService()
        await bus.connected()
        assert len(connections(self.server)) == 2
        assert await bus.variables.get("a") is None

    async def test_stopping_without_redis_ends_servers(self) -> None:
        server = start_server(self)
        bus = await self.bus(server.url)
        executed = Collector()
        procedures = Procedures()

        @procedures.expose
        def run() -> None:
            executed()

        await bus.serve_service("Once", procedures)
        await deferToThread(server.stop)
        await bus.stopService()
        await deferToThread(server.start)
        bus.startService()
        await bus.serve_service("Once", procedures)
        await bus.call_service("Once", "run")
        assert len(executed.items) == 1

    async def test_a_command_of_redis_that_fails_is_a_named_error(self) -> None:
        bus = await self.bus()
        with pytest.raises(CommandFailed) as caught:
            await bus.link.execute("NOSUCH", "x")
        assert (caught.value.command, caught.value.code) == ("NOSUCH", "ERR")

    async def test_excess_waiting_commands_fail_at_once(self) -> None:
        bus = Bus(f"redis://127.0.0.1:{free_port()}", reactor=reactor, max_waiting=2)
        bus.startService()
        waiting: list[Deferred[Any]] = [bus.variables.get("a") for _ in range(2)]
        waiting += [bus.call("A", "b") for _ in range(2)]
        for excess in (bus.variables.get("a"), bus.call("A", "b")):
            with pytest.raises(BusUnavailable, match="2 commands are already waiting"):
                await excess
        await bus.stopService()
        for waiter in waiting:
            with pytest.raises(BusUnavailable):
                await waiter

    async def test_a_failing_observer_affects_neither_others_nor_link(self) -> None:
        bus = Bus(self.server.url, reactor=reactor)
        ready = Collector()

        def fail() -> None:
            raise ZeroDivisionError

        bus.link.on_ready += [fail, ready]
        bus.startService()
        self.addCleanup(bus.stopService)
        await ready.wait(1)
        assert await bus.variables.get("a") is None
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1

    async def test_stopping_before_the_first_connection_ends_every_wait(self) -> None:
        bus = Bus(f"redis://127.0.0.1:{free_port()}", reactor=reactor)
        bus.startService()
        waits: list[Deferred[Any]] = [
            bus.connected(),
            bus.variables.get("a"),
            bus.call("A", "b"),
            bus.subscribe("a", print),
            bus.serve_service("A", Procedures()),
            bus.variables.watch("a", print),
        ]
        await bus.stopService()
        for wait in waits:
            with pytest.raises(BusUnavailable):
                await wait


class WaitingTests(SynchronousTestCase):
    def test_a_reply_to_a_cancelled_command_is_dropped(self) -> None:
        waiting = WaitingCommands(Clock(), 10, lambda _: BusUnavailable("away"))
        command = waiting.add(("PING",), 1.0)
        sent: Deferred[Any] = Deferred()
        waiting.send(lambda *_: sent)
        command.cancel()
        self.failureResultOf(command, CancelledError)
        sent.callback(b"PONG")
        self.successResultOf(sent)  # without an unhandled error


class LoginTests(TestCase):
    async def test_user_and_password_log_in(self) -> None:
        server = start_server(
            self, "--requirepass", "p@ss", "--user", *["me", "on", ">se:cret", "~*", "&*", "+@all"]
        )
        for userinfo in (":p%40ss", "me:se%3Acret"):
            bus = start_bus(self, f"redis://{userinfo}@127.0.0.1:{server.port}")
            await bus.connected()
            assert await bus.variables.set("a", "1")

    async def test_a_wrong_password_is_named_and_retried(self) -> None:
        server = start_server(self, "--requirepass", "right")
        bus = start_bus(self, f"redis://:wrong@127.0.0.1:{server.port}")
        lost = Collector()
        bus.link.on_refused.append(lost)
        (cause,) = await lost.wait(1)
        assert cause.check(AuthenticationFailed)
        assert "wrong" not in cause.getErrorMessage()
        with server.client(password="right") as client:
            client.config_set("requirepass", "wrong")
        await bus.connected()
        self.flushLoggedErrors(AuthenticationFailed)

    async def test_a_missing_password_is_named(self) -> None:
        server = start_server(self, "--requirepass", "right")
        bus = start_bus(self, server.url)
        refused = Collector()
        bus.link.on_refused.append(refused)
        (cause,) = await refused.wait(1)
        assert "asks for a password" in cause.getErrorMessage()

    async def test_a_unix_socket(self) -> None:
        directory = folder_of(self)
        start_server(self, "--unixsocket", f"{directory}/s")
        bus = start_bus(self, f"unix://{directory}/s?db=2")
        await bus.connected()
        assert await bus.variables.set("a", "1")


class ReconnectTests(TestCase):
    async def test_subscriptions_and_servers_are_back_after_a_restart(self) -> None:
        server = start_server(self)
        bus = start_bus(self, server.url)
        got, gaps = Collector(), Collector()
        await bus.subscribe("t", got, on_gap=gaps)
        await bus.subscribe_pattern("p*", got)
        procedures = Procedures()

        @procedures.expose
        def echo(text: str) -> str:
            return text

        await bus.serve_service("Echo", procedures)
        await bus.call_service("Echo", "echo", "a")
        await deferToThread(server.stop)
        await deferToThread(server.start)
        await gaps.wait(1)
        await bus.connected()
        assert await bus.call_service("Echo", "echo", "b") == "b"
        with server.client() as client:
            assert client.publish("t", b"1") == 1
            assert client.publish("px", b"2") == 1
        await got.wait(2)

    async def test_commands_wait_for_the_link_up_to_their_timeout(self) -> None:
        server = start_server(self)
        bus = start_bus(self, server.url)
        await bus.connected()
        await deferToThread(server.stop)
        changed = Collector()
        bus.link.on_lost.append(changed)
        bus.link.on_refused.append(changed)
        while bus.link.states["client"] == "ready":
            await changed.wait(len(changed.items) + 1)
        with pytest.raises(BusUnavailable):
            await bus.link.execute("GET", "a", timeout=0.01)
        with pytest.raises(CallNotSent):
            await bus.call("A", "b", timeout=0.01)
        waiting = bus.variables.set("a", "late")
        await deferToThread(server.start)
        assert await waiting is True
