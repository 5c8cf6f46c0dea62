"""Spans of a gateway: logins, returns and deliveries, without keys."""

from __future__ import annotations

from typing import Any

import pytest

from opentera_twisted.messages import UserEvent
from opentera_twisted.messages.envelopes import tera_event
from opentera_twisted.topics import websocket_events
from tests.gateway.test_gateway import GatewayTestCase
from tests.helpers.support import UUID
from tests.helpers.traces import recorder, spans, tree
from tests.helpers.websockets import HandshakeFailed, connect


class GatewayTests(GatewayTestCase):
    async def test_a_login_has_a_span_with_its_commands(self) -> None:
        port = await self.gateway(await self.bus(tracing=True))
        key = await self.keys.issue("user", UUID)
        recorder().clear()
        await connect(port, f"/wss/user?id={key}")
        (login,) = spans("login user")
        assert dict(login.attributes) == {
            "http.request.method": "GET",
            "http.route": "/wss/user",
            "http.response.status_code": 101,
        }
        (found,) = (branch for branch in tree() if branch[0] == "SERVER login user")
        assert any("EVAL" in str(command) for command in found[1:])
        assert key.partition(".")[2] not in "".join(span.to_json() for span in spans())

    async def test_a_refusal_has_its_status_and_no_key(self) -> None:
        port = await self.gateway(await self.bus(tracing=True))
        recorder().clear()
        with pytest.raises(HandshakeFailed, match="403"):
            await connect(port, f"/wss/device?id=device.{'k' * 43}")
        (login,) = spans("login device")
        assert login.attributes["http.response.status_code"] == 403
        assert login.status.is_unset, "the gateway works"
        assert "k" * 43 not in "".join(span.to_json() for span in spans())

    async def test_an_event_has_a_span_for_all_its_clients(self) -> None:
        bus = await self.bus(tracing=True)
        port = await self.gateway(bus)
        clients = [await self.log_in(port) for _ in range(2)]
        recorder().clear()
        topic = websocket_events("user", UUID)
        payload = tera_event(topic, [UserEvent()]).SerializeToString()
        assert self.redis.publish(topic, payload) == 1
        for client in clients:
            await client.event(0)
        (delivery,) = spans("process websocket.user.{uuid}.events")
        assert delivery.attributes["messaging.destination.name"] == topic

    async def test_failed_logins_have_the_class_of_the_error(self) -> None:
        class Resolver:
            def resolve(self, kind: str, uuid: str) -> Any:
                raise RuntimeError(UUID)

        identities: Any = Resolver()
        port = await self.gateway(await self.bus(tracing=True), identities=identities)
        key = await self.keys.issue("user", UUID)
        recorder().clear()
        with pytest.raises(HandshakeFailed, match="503"):
            await connect(port, f"/wss/user?id={key}")
        self.flushLoggedErrors(RuntimeError)
        (login,) = spans("login user")
        assert login.attributes["error.type"] == "503"
        assert UUID not in login.to_json()
