"""Which services listen, and what they say of themselves."""

from __future__ import annotations

import pytest

from opentera_twisted import (
    CallTimeout,
    InvalidArgument,
    InvalidTopic,
    Listening,
    NoResponder,
    Procedures,
)

from .deployed import DeployedServer
from .support import RedisTestCase


class DiscoveryTests(RedisTestCase):
    def procedures(self) -> Procedures:
        made = Procedures(version="1.2", doc="Adds.")

        @made.expose
        def add(a: int, b: int = 0) -> int:
            """Adds two."""
            return a + b

        return made

    def deployed(self, topic: str) -> None:
        server = DeployedServer(self.redis, topic)
        self.addCleanup(server.close)

    async def test_a_server_describes_itself(self) -> None:
        bus = await self.bus()
        await bus.serve_service("Sum", self.procedures())
        for server in ("service.Sum", "service.Sum.rpc"):
            description = await bus.describe(server)
            assert description == self.procedures().describe("Sum")
        assert description.procedures[0].doc == "Adds two."

    async def test_who_does_not_listen_or_cannot_say(self) -> None:
        bus = await self.bus()
        with pytest.raises(NoResponder):
            await bus.describe("service.Nobody")
        self.deployed("module.Old.rpc")
        with pytest.raises(CallTimeout):
            await bus.describe("module.Old", timeout=0.05)
        with pytest.raises(InvalidTopic):
            bus.describe("Old")

    async def test_all_that_listen_are_found_the_deployed_too(self) -> None:
        bus, other = await self.bus(self.server.url), await self.bus()
        await other.serve_service("Sum", self.procedures())
        await other.serve_module("Our.Module", self.procedures())
        await bus.subscribe("junk.rpc", print)
        self.deployed("module.TeraServer.UserManagerModule.rpc")
        self.deployed("service.VideoRehabService.rpc")
        self.redis.set("service.VideoRehabService", "{}")
        self.redis.set("service.NotRunning", "{}")
        found = await bus.services()
        assert found == [
            Listening("module.Our.Module", self.procedures().describe("Our.Module")),
            Listening("module.TeraServer.UserManagerModule", None),
            Listening("service.Sum", self.procedures().describe("Sum")),
            Listening("service.VideoRehabService", None),
        ]

    async def test_a_proxy_calls_with_names_and_types(self) -> None:
        bus = await self.bus()
        await bus.serve_service("Sum", self.procedures())
        sum_ = await bus.proxy("service.Sum")
        assert await sum_.add(1, b=2) == 3
        assert await sum_.add(a=5) == 5
        with pytest.raises(InvalidArgument, match="a must be int"):
            sum_.add("1")

    async def test_without_the_right_to_scan_only_what_redis_lists_is_found(self) -> None:
        bus, other = await self.bus(), await self.bus()
        await other.serve_service("Sum", self.procedures())
        self.deployed("service.VideoRehabService.rpc")
        self.redis.set("service.VideoRehabService", "{}")
        found = await bus.services()
        assert found == [Listening("service.Sum", self.procedures().describe("Sum"))]
