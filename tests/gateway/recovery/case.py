"""Fixtures of tests of recovery: gateways in this process, one real server, publishers."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from opentera_twisted import Bus, SessionKeys, topics
from opentera_twisted.gateway import Gateway
from opentera_twisted.gateway.recovery import handover
from opentera_twisted.messages import UserEvent
from opentera_twisted.messages.envelopes import tera_event
from tests.helpers.support import GATEWAY, UUID, RedisTestCase, turn, until

from .client import Client


class RecoveryTestCase(RedisTestCase):
    redis_user = GATEWAY

    def setUp(self) -> None:
        super().setUp()
        self.patch(handover, "TIMEOUT", 60.0)  # the machine may be busy

    async def gateway(self, bus: Bus | None = None, **options: Any) -> tuple[Gateway, int]:
        """Start a gateway; return it with its port."""
        bus = bus or await self.bus()
        gate = Gateway(bus, **options)
        gate.startService()
        port: Any = reactor.listenTCP(0, gate.factory, interface="127.0.0.1")
        self.addCleanup(self._stop, gate)
        self.addCleanup(port.stopListening)
        self.keys = SessionKeys(bus)
        number: int = port.getHost().port
        return gate, number

    def _stop(self, gate: Gateway) -> Deferred[None]:
        """Stop a gateway without waiting for clients to return to another one."""
        gate.limits = attrs.evolve(gate.limits, shutdown_timeout=0.1)
        return gate.stopService()

    async def client(self, port: int, kind: topics.Kind = "user", uuid: str = UUID) -> Client:
        """Return a client that has logged in with recovery."""
        client = Client(kind)
        await client.log_in(port, await self.keys.issue(kind, uuid))
        return client

    def publish(self, *names: str, kind: topics.Kind = "user", uuid: str = UUID) -> None:
        """Publish an event of each name to a client."""
        topic = topics.websocket_events(kind, uuid)
        for name in names:
            event = tera_event(topic, [UserEvent(user_fullname=name)])
            self.redis.publish(topic, event.SerializeToString())

    async def is_held(self, gate: Gateway, count: int = 1) -> None:
        """Wait until that many clients are away."""

        async def held() -> int:
            await turn()
            return gate.recovery.held

        await until(held, lambda found: found == count)

    async def is_missed(self, gate: Gateway, count: int) -> None:
        """Wait until a gateway has so many events for its only session."""
        (session,) = gate.recovery._sessions.values()

        async def sent() -> int:
            await turn()
            return session.window.sent

        await until(sent, lambda found: found == count)

    async def keys_of_recovery(self) -> list[Any]:
        return await deferToThread(lambda: list(self.redis.keys("opentera.recovery.token.*")))

    async def has_tokens(self, count: int) -> None:
        """Wait until Redis has that many tokens."""
        await until(self.keys_of_recovery, lambda keys: len(keys) == count)
