"""Publish and subscribe, against a real server and beside another program."""

from __future__ import annotations

from typing import Any

import pytest

from opentera_twisted import Delivery, InvalidArgument, InvalidTopic
from opentera_twisted.messages import TeraEvent, TeraModuleMessage, UserEvent
from opentera_twisted.messages.envelopes import unpack
from tests.helpers.support import GUARD, Collector, RedisTestCase, message


class PubSubTests(RedisTestCase):
    async def test_payloads_arrive_as_the_bytes_they_are(self) -> None:
        bus = await self.bus()
        got = Collector()
        await bus.subscribe("t", got)
        payloads = [b"123", b"1.5", b"", b"\x00\xff", "Zoé".encode(), b"+OK\r\n", b"x" * 100_000]
        for payload in payloads:
            assert self.redis.publish("t", payload) == 1
        assert await got.wait(len(payloads)) == [
            Delivery("t", None, payload) for payload in payloads
        ]

    async def test_publish_accepts_bytes_text_and_messages(self) -> None:
        bus = await self.bus()
        other = self.subscribed("t")
        event = UserEvent(user_uuid="u")
        for payload, expected in (
            (b"\xff", b"\xff"),
            ("é", "é".encode()),
            (event, event.SerializeToString()),
        ):
            assert await bus.publish("t", payload) == 1
            assert await message(other) == expected
        assert await bus.publish("nobody", b"") == 0

    async def test_patterns_match_and_existing_subscribers_receive(self) -> None:
        bus = await self.bus()
        got = Collector()
        await bus.subscribe_pattern("module.*.events", got)
        self.redis.publish("module.A.events", b"1")
        self.redis.publish("module.A.rpc", b"2")
        self.redis.publish("module.B.events", b"3")
        assert await got.wait(2) == [
            Delivery("module.A.events", "module.*.events", b"1"),
            Delivery("module.B.events", "module.*.events", b"3"),
        ]
        existing = self.redis.pubsub()
        self.addCleanup(existing.close)
        existing.psubscribe("module.A.messages")
        existing.get_message(timeout=GUARD)
        assert await bus.publish("module.A.messages", b"x") == 1
        assert await message(existing) == b"x"

    async def test_handlers_of_a_topic_share_one_subscription(self) -> None:
        bus = await self.bus()
        first, second = Collector(), Collector()
        one = await bus.subscribe("t", first)
        two = await bus.subscribe("t", second)
        assert self.redis.pubsub_numsub("t") == [(b"t", 1)]
        self.redis.publish("t", b"1")
        await first.wait(1)
        await second.wait(1)
        await one.cancel()
        self.redis.publish("t", b"2")
        await second.wait(2)
        assert len(first.items) == 1
        await two.cancel()
        assert self.redis.pubsub_numsub("t") == [(b"t", 0)]
        await two.cancel()

    async def test_a_topic_and_a_pattern_of_one_name_are_distinct(self) -> None:
        bus = await self.bus()
        exact, pattern = Collector(), Collector()
        subscription = await bus.subscribe("t*", exact)
        await bus.subscribe_pattern("t*", pattern)
        self.redis.publish("t*", b"1")
        self.redis.publish("tx", b"2")
        await pattern.wait(2)
        assert exact.items == [Delivery("t*", None, b"1")]
        await subscription.cancel()
        self.redis.publish("t*", b"3")
        await pattern.wait(3)

    async def test_a_failing_handler_does_not_affect_others(self) -> None:
        bus = await self.bus()
        got = Collector()

        def raises(_: Delivery) -> None:
            raise ZeroDivisionError

        async def fails(_: Delivery) -> None:
            raise ZeroDivisionError

        for handler in (raises, fails, got):
            await bus.subscribe("t", handler)
        self.redis.publish("t", b"1")
        self.redis.publish("t", b"2")
        await got.wait(2)
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 4

    async def test_a_handler_may_cancel_itself_and_others(self) -> None:
        bus = await self.bus()
        got, never = Collector(), Collector()
        subscriptions: list[Any] = []

        def cancels(_: Delivery) -> None:
            for subscription in subscriptions:
                subscription.cancel()

        subscriptions.append(await bus.subscribe("t", cancels))
        subscriptions.append(await bus.subscribe("t", never))
        await bus.subscribe("t", got)
        self.redis.publish("t", b"1")
        await got.wait(1)
        assert never.items == []

    async def test_events_use_the_existing_envelope(self) -> None:
        bus = await self.bus()
        other = self.subscribed("module.A.events")
        await bus.publish_event(
            "module.A.events", UserEvent(user_uuid="1"), UserEvent(user_uuid="2")
        )
        event = TeraEvent.FromString(await message(other))
        assert (event.header.version, event.header.topic) == (1, "module.A.events")
        assert event.header.time > 1_700_000_000
        assert [unpack(packed) for packed in event.events] == [
            UserEvent(user_uuid="1"),
            UserEvent(user_uuid="2"),
        ]

    async def test_module_messages_use_the_existing_envelope(self) -> None:
        bus = await self.bus()
        other = self.subscribed("module.A.messages")
        sent = UserEvent(user_uuid="1")
        await bus.send_module_message("module.A.messages", sent, source="service.B")
        received = TeraModuleMessage.FromString(await message(other))
        head = received.head
        assert (head.version, head.seq) == (1, 0)
        assert (head.source, head.dest) == ("service.B", "module.A.messages")
        assert [unpack(packed) for packed in received.data] == [sent]

    async def test_mistakes_are_raised_before_anything_is_sent(self) -> None:
        bus = await self.bus()
        for topic in ("", None, b"t", "\ud800"):
            with pytest.raises(InvalidTopic):
                bus.publish(topic, b"")  # type: ignore[arg-type]
            with pytest.raises(InvalidTopic):
                bus.subscribe(topic, print)  # type: ignore[arg-type]
        for payload in (1, None, ["x"]):
            with pytest.raises(InvalidArgument):
                bus.publish("t", payload)  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument):
            bus.publish_event("t", "no message")  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument):
            bus.subscribe("t", "no function")  # type: ignore[arg-type]
