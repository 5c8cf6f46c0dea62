"""The log of an outage: its beginning, a line each minute, its end with length and gap."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, LogLevel, formatEvent

from opentera_twisted.link.address import RedisAddress
from opentera_twisted.link.outage import INTERVAL, Outage


class TestOutage:
    def setup_method(self) -> None:
        self.clock = Clock()
        self.events: list[LogEvent] = []
        append: Any = self.events.append
        log = Logger("link", observer=append)
        self.outage = Outage(log, RedisAddress.parse("redis://:hush@h"), self.clock)

    def texts(self) -> list[str]:
        found = [f"{event['log_level'].name}: {formatEvent(event)}" for event in self.events]
        self.events.clear()
        return found

    def test_an_outage_has_begin_minutes_and_end(self) -> None:
        self.outage.gap_began()
        self.outage.failed("subscriber", "refused", LogLevel.warn)
        self.outage.failed("client", "refused", LogLevel.warn)
        begin = "no subscriber connection to Redis at redis://h:6379/0, trying again: refused"
        assert self.texts() == [f"warn: {begin}"]
        self.clock.advance(INTERVAL)
        assert self.texts() == ["warn: no link to Redis at redis://h:6379/0 for 60 s: refused"]
        self.clock.advance(2.5)
        self.outage.gap_ended()
        self.clock.advance(1)
        self.outage.ended()
        assert self.texts() == [
            (
                "info: link to Redis at redis://h:6379/0 is ready after 63.5 s without it; "
                "messages of 62.5 s may have been missed"
            )
        ]
        self.clock.advance(2 * INTERVAL)
        assert not self.texts()
        assert not self.clock.getDelayedCalls()

    def test_an_outage_without_a_gap_is_named(self) -> None:
        self.outage.failed("client", "broken", LogLevel.warn)
        self.outage.ended()
        assert self.texts()[1].endswith("is ready after 0.0 s without it; no gap")

    def test_a_start_is_no_outage(self) -> None:
        self.outage.ended()
        assert self.texts() == ["info: link to Redis at redis://h:6379/0 is ready"]

    def test_a_stop_ends_the_reminders(self) -> None:
        self.outage.failed("client", "broken", LogLevel.warn)
        self.outage.stop()
        assert not self.clock.getDelayedCalls()
