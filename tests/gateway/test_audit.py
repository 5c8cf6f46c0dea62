"""The audit log of a gateway: a structured line for each login, refusal, disconnect and kick."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from opentera_twisted.gateway import GatewayLimits
from opentera_twisted.gateway.audit import NAMESPACE, GatewayAudit
from opentera_twisted.gateway.login import Refusal
from opentera_twisted.gateway.summed_log import INTERVAL
from opentera_twisted.gateway.trusted_proxies import Peer
from opentera_twisted.program.log import fields_of
from tests.gateway.test_gateway import GatewayTestCase
from tests.helpers.support import UUID, Collector, until
from tests.helpers.websockets import HandshakeFailed, connect


class AuditTests(GatewayTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.lines = Collector()
        observe: Any = self.observe
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def observe(self, event: LogEvent) -> None:
        if event.get("log_namespace") == NAMESPACE:
            self.lines((formatEvent(event).partition(" ")[0], dict(fields_of(event))))

    async def next_line(self) -> tuple[str, dict[str, Any]]:
        """Return the next line's name and fields."""
        await self.lines.wait(1)
        line: tuple[str, dict[str, Any]] = self.lines.items.pop(0)
        return line

    async def test_a_login_and_its_end_are_written(self) -> None:
        port = await self.gateway(audit=True)
        client = await self.log_in(port)
        who = {"kind": "user", "uuid": UUID, "address": "127.0.0.1"}
        assert await self.next_line() == ("login", {**who, "scheme": "ws", "method": "key"})
        client.sendClose(1000, "a reason that may be a secret")
        await client.closed
        name, fields = await self.next_line()
        assert fields.pop("seconds") >= 0
        assert (name, fields) == (
            "disconnect",
            {**who, "cause": "closed by the client with 1000"},
        )

    async def test_a_refusal_has_kind_address_and_reason(self) -> None:
        port = await self.gateway(audit=True)
        for _ in range(2):
            with pytest.raises(HandshakeFailed, match="403"):
                await connect(port, f"/wss/device?id=device.{'k' * 43}")
        expected = {
            "kind": "device",
            "address": "127.0.0.1",
            "scheme": "ws",
            "status": 403,
            "cause": "the session key is not valid",
        }
        assert self.lines.items == [("refusal", expected)], "the second is only counted"
        await self.gate.stopService()
        assert self.lines.items[1:] == [("1", {**expected, "count": 1})]

    async def test_a_kick_names_its_sender(self) -> None:
        port = await self.gateway(audit=True)
        client = await self.log_in(port)
        bus = await self.bus()
        await bus.presence.disconnect("user", UUID, "somebody\nelse")
        await client.closed
        await self.lines.wait(3)
        (_, kick), (_, end) = self.lines.items[1:]
        assert kick == {"kind": "any", "uuid": UUID, "by": "somebody\\nelse", "websockets": 1}
        assert end["cause"] == "closed by the gateway with 4000: CMD_CLIENT_DISCONNECT"

    async def test_a_uuid_in_capitals_is_kicked_once(self) -> None:
        port = await self.gateway(audit=True)
        capitals = "ABCDEFAB-2222-3333-4444-555555555555"
        client = await self.log_in(port, uuid=capitals)
        await (await self.bus()).presence.disconnect("user", capitals)
        await client.closed
        await self.lines.wait(3)
        assert [name for name, _ in self.lines.items] == ["login", "kick", "disconnect"]

    async def test_a_limit_and_a_stop_are_written(self) -> None:
        port = await self.gateway(audit=True, limits=GatewayLimits(max_clients=1))
        await self.log_in(port)
        with pytest.raises(HandshakeFailed, match="503"):
            await self.log_in(port)
        await self.gate.stopService()
        causes = [fields.get("cause") for _, fields in self.lines.items]
        assert causes == [
            None,
            "too many clients",
            "closed by the gateway with 1001: the server is going away",
        ]

    async def test_a_lost_connection_is_written(self) -> None:
        port = await self.gateway(audit=True)
        client = await self.log_in(port)
        await self.next_line()
        client.transport.abortConnection()
        _, fields = await self.next_line()
        assert fields["cause"] == "connection lost"

    async def test_nothing_is_written_by_default(self) -> None:
        port = await self.gateway()
        client = await self.log_in(port)
        client.sendClose()
        await client.closed

        async def is_empty() -> bool:
            return not self.gate.factory.connections

        await until(is_empty, bool)
        assert not self.lines.items


def test_refusals_of_many_addresses_are_bounded() -> None:
    written: list[LogEvent] = []
    clock = MemoryReactorClock()
    audit = GatewayAudit(clock, is_on=True)
    append: Any = written.append
    globalLogPublisher.addObserver(append)
    try:
        for number in range(3000):
            peer = Peer(f"192.0.{number // 250}.{number % 250}", secure=False)
            audit.refusal("user", peer, Refusal.for_now("no link to Redis"))
        first = len(written)
        audit.start()
        clock.advance(INTERVAL)
        audit.stop()
    finally:
        globalLogPublisher.removeObserver(append)
    assert first == 1000
    (line,) = written[first:]
    assert fields_of(line)["count"] == 2000
