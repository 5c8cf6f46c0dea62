"""`GatewayClient` and real gateways: breaks, restarts, and a killed gateway."""

from __future__ import annotations

import signal
from typing import Any

from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from opentera_twisted.client import GatewayClient
from opentera_twisted.gateway.recovery.peers import GATEWAYS
from opentera_twisted.link import back_off
from tests.faults.proxy import Proxy
from tests.gateway.recovery.case import RecoveryTestCase
from tests.helpers.processes import Process, twistd
from tests.helpers.support import UUID, Collector, free_port, log_of, message, until

USER_MANAGER = "module.TeraServer.UserManagerModule.messages"


async def announced(redis: Any, count: int) -> None:
    """Wait until that many gateways are listed for returns."""

    async def known() -> int:
        number: int = await deferToThread(redis.zcard, GATEWAYS)
        return number

    await until(known, lambda number: number >= count)


class ReturnTests(RecoveryTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(back_off, "FIRST_DELAY", 0.01)
        self.events = Collector()
        self.gaps = Collector()
        self.asked = Collector()
        self.logged = log_of(self)
        self.secrets: list[str] = []

    async def start_client(self, port: int) -> GatewayClient:
        """Return a client connected to a gateway through a proxy."""
        self.proxy = Proxy(port)
        self.addCleanup(self.proxy.stop)
        url = f"ws://127.0.0.1:{self.proxy.port}/wss/user"
        client = GatewayClient(url, self.supply, self.events, self.gaps, reactor)
        self.addCleanup(client.stopService)
        client.startService()
        await client.connected()
        return client

    async def supply(self) -> str:
        self.asked()
        self.secrets.append(await self.keys.issue("user", UUID))
        return self.secrets[-1]

    async def program(self, redis: str) -> tuple[Process, int]:
        """Start a gateway as a process; return it with its port."""
        port = free_port()
        program = twistd(
            *("--redis", redis, "--websocket", f"tcp:{port}:interface=127.0.0.1"),
            *("--admin", "none"),
        )
        self.addCleanup(program.kill)
        await program.says("is ready")
        return program, port

    @property
    def names(self) -> list[str]:
        return [event.data["userFullname"] for event in self.events.items]

    async def test_breaks_lose_no_event_and_need_no_key(self) -> None:
        gate, port = await self.gateway()
        await self.start_client(port)
        expected = []
        for number in range(5):
            self.publish(f"a{number}")
            await self.events.wait(3 * number + 1)
            self.proxy.frozen = True  # the client cannot return before both are published
            self.proxy.cut()
            await self.is_held(gate)
            self.publish(f"b{number}", f"c{number}")
            self.proxy.frozen = False
            self.proxy.cut()
            await self.events.wait(3 * number + 3)
            expected += [f"a{number}", f"b{number}", f"c{number}"]
        assert self.names == expected
        assert (len(self.asked.items), self.gaps.items) == (1, [])
        assert self.secrets[0] not in "".join(self.logged.items)

    async def test_a_stopped_gateway_hands_over_to_another(self) -> None:
        first, port = await self.program(self.gateway_url)
        _, other = await self.gateway()
        await announced(self.redis, 2)
        await self.start_client(port)
        self.publish("1")
        await self.events.wait(1)
        self.proxy.target = other
        first.send(signal.SIGTERM)
        for number in range(2, 40):
            self.publish(str(number))
        await self.events.wait(39)
        assert self.names == [str(number) for number in range(1, 40)]
        assert (len(self.asked.items), self.gaps.items) == (1, [])
        await first.ended()

    async def test_a_killed_gateway_is_a_gap(self) -> None:
        first, port = await self.program(self.gateway_url)
        _, other = await self.gateway()
        client = await self.start_client(port)
        self.publish("1")
        await self.events.wait(1)
        self.proxy.target = other
        first.send(signal.SIGKILL)
        await self.gaps.wait(1)
        await client.connected()
        self.publish("2")
        await self.events.wait(2)
        assert self.names == ["1", "2"]

    async def test_a_break_beyond_the_window_needs_a_key_and_is_a_gap(self) -> None:
        gate, port = await self.gateway(recovery_window=0.05)
        reports = self.subscribed(USER_MANAGER)
        await self.start_client(port)
        await message(reports)  # the report of its login
        self.proxy.frozen = True
        self.proxy.cut()
        await message(reports)  # the report of its end
        await self.is_held(gate, 0)
        self.proxy.frozen = False
        self.proxy.cut()
        await self.gaps.wait(1)
        assert len(self.asked.items) >= 2  # an attempt while frozen may use one up

    async def test_without_a_window_each_reconnect_is_a_gap(self) -> None:
        _, port = await self.gateway(recovery_window=0)
        await self.start_client(port)
        self.proxy.cut()
        await self.gaps.wait(1)
        self.publish("1")
        await self.events.wait(1)
        assert len(self.asked.items) == 2
