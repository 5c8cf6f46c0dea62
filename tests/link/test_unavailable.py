"""Errors of a bus without a link: they name the cause, and are immediate after a stop."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock

from opentera_twisted import (
    AuthenticationFailed,
    Bus,
    BusUnavailable,
    CallNotSent,
    InvalidArgument,
    Procedures,
)
from opentera_twisted.blocking import BlockingBus
from opentera_twisted.testing import MemoryBus
from tests.helpers.support import Collector, RedisTestCase, free_port, start_bus, start_server


class UnavailableTests(RedisTestCase):
    async def refused(self, url: str) -> Bus:
        """Return a bus whose first attempt to connect has failed."""
        bus = start_bus(self, url)
        causes = Collector()
        bus.link.on_refused.append(causes)
        await causes.wait(1)
        return bus

    async def errors(self, bus: Bus) -> list[BaseException]:
        """Return the error of each kind of use after a short timeout."""
        found: list[BaseException] = []
        for use in (
            bus.connected(0.01),
            bus.link.execute("PING", timeout=0.01),
            bus.call_service("Sum", "add", timeout=0.01),
            bus.call_all("service.Sum", "add", timeout=0.01),
        ):
            with pytest.raises(BusUnavailable) as caught:
                await use
            found.append(caught.value)
        assert isinstance(found[2], CallNotSent)
        return found

    async def test_a_forgotten_start_is_named(self) -> None:
        for error in await self.errors(Bus(self.server.url, reactor=reactor)):
            assert "was not started; call its startService()" in str(error)

    async def test_an_unreachable_redis_is_the_named_cause(self) -> None:
        port = free_port()
        bus = await self.refused(f"redis://127.0.0.1:{port}")
        for error in await self.errors(bus):
            assert f"127.0.0.1:{port}" in str(error)
            assert "refused" in str(error)
            assert isinstance(error.__cause__, Refused)

    async def test_a_wrong_password_is_the_named_cause(self) -> None:
        server = start_server(self, "--requirepass", "right")
        bus = await self.refused(f"redis://:wrong@127.0.0.1:{server.port}")
        for error in await self.errors(bus):
            assert "refuses the user or the password (WRONGPASS)" in str(error)
            assert isinstance(error.__cause__, AuthenticationFailed)

    async def test_everything_fails_at_once_after_a_stop(self) -> None:
        bus = await self.bus()
        await bus.stopService()
        for use in (
            bus.connected(),
            bus.variables.get("a"),
            bus.variables.watch("a", print),
            bus.subscribe("t", print),
            bus.subscribe_pattern("t*", print),
            bus.serve_service("Sum", Procedures()),
            bus.call_service("Sum", "add"),
        ):
            assert use.called, use
            with pytest.raises(BusUnavailable, match="the bus is stopped"):
                await use
        bus.startService()
        await bus.subscribe("t", print)

    async def test_a_connection_in_time_leaves_no_timer(self) -> None:
        bus = start_bus(self, self.server.url)
        await bus.connected(timeout=600)
        await bus.connected(timeout=600)

    def test_a_bus_in_memory_has_the_same_timeout(self) -> None:
        bus = MemoryBus()
        assert self.successResultOf(bus.connected(timeout=1)) is None
        bus.disconnect()
        assert isinstance(bus.clock, Clock)
        bus.clock.advance(0)
        waiting = bus.connected(timeout=1)
        bus.clock.advance(1)
        assert "no link for 1 seconds" in str(self.failureResultOf(waiting, BusUnavailable).value)

    def test_an_invalid_timeout_is_refused(self) -> None:
        wrong: Any
        for wrong in (0, -1, "1", True, float("nan")):
            with pytest.raises(InvalidArgument, match="number of seconds above 0"):
                MemoryBus().connected(wrong)


@pytest.mark.parametrize("kind", [Bus, BlockingBus])
@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (None, "expected a URL as a string, such as redis://127.0.0.1:6379/0, not NoneType"),
        (b"redis://:hush@h", "not bytes"),
        ("redis:/127.0.0.1", "lacks the two slashes"),
        ("redis:127.0.0.1:6379", "lacks the two slashes"),
        ("rediss:/u:hush@h/0", "lacks the two slashes"),
    ],
    ids=["none", "bytes", "one slash", "no slash", "a password"],
)
def test_a_mistaken_url_is_explained(kind: Any, url: Any, problem: str) -> None:
    with pytest.raises(InvalidArgument, match=problem) as caught:
        kind(url)
    assert "hush" not in str(caught.value)
