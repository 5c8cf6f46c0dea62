"""Discovery of servers and their descriptions."""

from __future__ import annotations

from typing import Any

import pytest

from opentera_twisted import (
    CallTimeout,
    InvalidArgument,
    InvalidTopic,
    Listening,
    NoResponder,
    Procedures,
)
from opentera_twisted.rpc.wire import decode_request, encode_reply
from tests.helpers.existing import ExistingServer
from tests.helpers.support import GUARD, Collector, RedisTestCase, until


class DiscoveryTests(RedisTestCase):
    def procedures(self) -> Procedures:
        made = Procedures(version="1.2", doc="Adds.")

        @made.expose
        def add(a: int, b: int = 0) -> int:
            """Adds two numbers."""
            return a + b

        return made

    def existing(self, topic: str) -> None:
        server = ExistingServer(self.redis, topic)
        self.addCleanup(server.close)

    async def test_a_server_describes_itself(self) -> None:
        bus = await self.bus()
        await bus.serve_service("Sum", self.procedures())
        for server in ("service.Sum", "service.Sum.rpc"):
            description = await bus.describe(server)
            assert description == self.procedures().describe("Sum")
        assert description.procedures[0].doc == "Adds two numbers."

    async def test_missing_and_undescribed_servers_are_errors(self) -> None:
        bus = await self.bus()
        with pytest.raises(NoResponder):
            await bus.describe("service.Nobody")
        self.existing("module.Old.rpc")
        with pytest.raises(CallTimeout):
            await bus.describe("module.Old", timeout=0.05)
        with pytest.raises(InvalidTopic):
            bus.describe("Old")

    async def test_existing_servers_are_found_too(self) -> None:
        bus, other = await self.bus(self.server.url), await self.bus()
        await other.serve_service("Sum", self.procedures())
        await other.serve_module("Our.Module", self.procedures())
        await bus.subscribe("junk.rpc", print)
        self.existing("module.TeraServer.UserManagerModule.rpc")
        self.existing("service.VideoRehabService.rpc")
        self.redis.set("service.VideoRehabService", "{}")
        self.redis.set("service.NotRunning", "{}")
        finding = bus.services(timeout=GUARD)
        calls = bus.caller._calls.values()

        async def unanswered() -> list[str]:
            return sorted(call.topic for call in calls)

        existing = ["module.TeraServer.UserManagerModule.rpc", "service.VideoRehabService.rpc"]
        await until(unanswered, lambda found: found == existing)
        for call in calls:
            call.expiry.reset(0)
        found = await finding
        assert found == [
            Listening("module.Our.Module", self.procedures().describe("Our.Module")),
            Listening("module.TeraServer.UserManagerModule", None),
            Listening("service.Sum", self.procedures().describe("Sum")),
            Listening("service.VideoRehabService", None),
        ]

    async def test_the_logging_service_is_not_listed_as_a_server(self) -> None:
        bus = await self.bus(self.server.url)
        logging = self.redis.pubsub()
        self.addCleanup(logging.close)
        logging.psubscribe("log.*")
        logging.get_message(timeout=GUARD)
        assert await bus.services() == []

    async def test_an_unreadable_description_is_listed_as_such(self) -> None:
        bus, other = await self.bus(self.server.url), await self.bus()
        await other.serve_service("Sum", self.procedures())
        nested: Any = "deep"
        for _ in range(900):
            nested = [nested]
        good = {"service": "Bad", "version": "", "doc": "", "procedures": []}
        argument = {"name": "a", "type": "int", "default": nested}
        procedure = {"name": "p", "doc": "", "arguments": [argument], "returns": ""}
        requests = Collector()
        await other.subscribe("service.Bad.rpc", requests)
        for number, bad in enumerate(
            ({**good, "doc": nested}, {**good, "procedures": [procedure]}, {**good, "version": 1})
        ):
            finding, answering = (
                bus.services(timeout=60),
                bus.call_all("service.Bad", "x", timeout=60),
            )
            for delivery in (await requests.wait(2 * number + 2))[2 * number :]:
                request = decode_request(delivery.payload)
                assert request is not None
                reply = encode_reply(request, "service.Bad.rpc", bad)
                self.redis.publish(request.reply_to, reply)
            listed, sum_ = await finding
            assert (listed.server, listed.description) == ("service.Bad", None)
            assert listed.problem
            assert sum_ == Listening("service.Sum", self.procedures().describe("Sum"))
            (answer,) = await answering
            assert (answer.error is None) == (bad["version"] == 1)

    async def test_a_proxy_calls_with_names_and_types(self) -> None:
        bus = await self.bus()
        await bus.serve_service("Sum", self.procedures())
        sum_ = await bus.proxy("service.Sum")
        assert await sum_.add(1, b=2) == 3
        assert await sum_.add(a=5) == 5
        with pytest.raises(InvalidArgument, match="a must be int"):
            sum_.add("1")

    async def test_without_scan_rights_only_listed_servers_are_found(self) -> None:
        bus, other = await self.bus(), await self.bus()
        await other.serve_service("Sum", self.procedures())
        self.existing("service.VideoRehabService.rpc")
        self.redis.set("service.VideoRehabService", "{}")
        found = await bus.services(timeout=60)
        assert found == [Listening("service.Sum", self.procedures().describe("Sum"))]
