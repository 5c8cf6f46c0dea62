"""``opentera-bus top``: rates per interval, live on a terminal, once in a pipe."""

from __future__ import annotations

import json

from twisted.internet.defer import Deferred

from opentera_twisted.cli import rates, top
from opentera_twisted.cli.rates import OTHERS, Rates
from opentera_twisted.link import COMMAND_TIMEOUT
from opentera_twisted.testing import MemoryBus, result_of
from tests.cli.test_tail import StreamTestCase


def test_rates_cover_the_last_interval_and_totals_all() -> None:
    counted = Rates(100.0)
    for _ in range(10):
        counted.add("a", 5)
    counted.add("b", 1)
    first, second = counted.read(102.0)
    assert (first.topic, first.messages, first.bytes, first.total) == ("a", 5.0, 25.0, 10)
    assert (second.topic, second.messages, second.total) == ("b", 0.5, 1)
    counted.add("b", 1)
    first, second = counted.read(103.0)
    assert (first.topic, first.messages, first.total) == ("b", 1.0, 2)
    assert (second.topic, second.messages, second.total) == ("a", 0.0, 10)
    counted.read(103.0)  # an interval of 0 causes no division by zero


def test_excess_topics_are_counted_together() -> None:
    counted = Rates(0.0)
    for number in range(rates.MOST_TOPICS + 50):
        counted.add(f"t{number}", 1)
    read = counted.read(1.0)
    assert len(read) == rates.MOST_TOPICS + 1
    assert read[0].topic == OTHERS
    assert read[0].total == 50


def test_figures_of_redis_are_left_out_while_it_is_away() -> None:
    bus = MemoryBus()
    bus.disconnect()
    reading = Deferred.fromCoroutine(top._redis(bus))
    bus.clock.advance(COMMAND_TIMEOUT)
    assert result_of(reading) == {}


class TopTests(StreamTestCase):
    async def test_a_pipe_gets_one_json_object(self) -> None:
        command = self.start_command("top", "--interval", "2")
        await self.listening(patterns=1)
        for _ in range(3):
            self.redis.publish("service.a.events", b"12345")
        self.redis.publish("b", b"")
        assert await command.ended() == 0
        measured = json.loads(command.output)
        topics = {topic["topic"]: topic for topic in measured["topics"]}
        assert list(topics) == ["service.a.events", "b"]
        a, b = topics.values()
        assert a["messages_per_second"] > b["messages_per_second"] > 0
        assert a["bytes_per_second"] > 0 == b["bytes_per_second"]
        assert measured["redis"]["clients"] >= 2
        assert command.errors == ""

    async def test_a_terminal_is_updated_until_ctrl_c(self) -> None:
        command = self.start_command("top", "--interval", "0.1", terminal=True)
        await self.listening(patterns=1)
        self.redis.publish("service.a.events\x1b[2J", b"12345")
        await command.says("service.a.events\\u001b[2J")
        self.redis.publish("second", b"12345")
        await command.says("second")
        assert "messages/s" in command.output
        command.interrupt()
        assert await command.ended() == 130
        # The former screen and cursor are restored.
        assert command.output.rstrip().endswith(("\x1b[?1049l\x1b[?25h", "\x1b[?25h\x1b[?1049l"))
        assert command.errors == ""
