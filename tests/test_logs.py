"""Log messages on the lists of existing programs: complete, ordered and bounded."""

from __future__ import annotations

import logging
import threading
from collections import deque
from threading import Thread
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from opentera_twisted.link import RedisAddress
from opentera_twisted.logs import LONGEST_MESSAGE, LogPublisher
from opentera_twisted.messages import LogEvent, LoginEvent, TeraEvent
from opentera_twisted.messages.envelopes import unpack
from opentera_twisted.reactor_thread import BusLease, ThreadLogPublisher
from opentera_twisted.testing import MemoryBus
from opentera_twisted.variables import LogList
from tests.helpers.support import GUARD, UUID, RedisTestCase


def logged(payloads: Any) -> list[Any]:
    """Return the messages of a list."""
    return [unpack(TeraEvent.FromString(payload).events[0]) for payload in payloads]


class LogPublisherTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.bus = MemoryBus()
        self.publisher = LogPublisher(self.bus, "me")

    def items(self, level: LogList) -> list[Any]:
        return logged(self.bus.server.items(level.encode()))

    def test_levels_of_twisted_have_their_lists(self) -> None:
        log = Logger(namespace="part", observer=self.publisher)
        log.debug("a {x}", x=1)
        log.info("b")
        log.warn("c")  # noqa: G010 (of Twisted)
        log.error("d")
        log.critical("e")
        for level, message in zip(
            (LogList.DEBUG, LogList.INFO, LogList.WARNING, LogList.ERROR, LogList.CRITICAL),
            ("a 1", "b", "c", "d", "e"),
            strict=True,
        ):
            (event,) = self.items(level)
            assert (event.sender, event.message) == ("me.part", message)
            assert LogEvent.LogLevel.Name(event.level) == f"LOGLEVEL_{level.name}"
            assert event.timestamp > 1_700_000_000

    def test_a_failure_is_there_with_its_traceback(self) -> None:
        try:
            raise ZeroDivisionError("secret of nobody")
        except ZeroDivisionError:
            Logger(observer=self.publisher).failure("broken", Failure())
        (event,) = self.items(LogList.CRITICAL)
        assert event.message.startswith("broken\n")
        assert "ZeroDivisionError" in event.message

    def test_levels_of_logging_go_to_their_lists(self) -> None:
        logger = logging.Logger("app", level=1)  # noqa: LOG001 (of this test alone)
        logger.addHandler(self.publisher.handler())
        for number, level in (
            (5, LogList.TRACE),
            (10, LogList.DEBUG),
            (20, LogList.INFO),
            (35, LogList.WARNING),
            (40, LogList.ERROR),
            (50, LogList.CRITICAL),
        ):
            logger.log(number, "text %d", number)
            (event,) = self.items(level)
            assert (event.sender, event.message) == ("app", f"text {number}")

    def test_a_handler_keeps_to_its_level(self) -> None:
        logger = logging.Logger("app")  # noqa: LOG001 (of this test alone)
        logger.addHandler(self.publisher.handler(logging.ERROR))
        logger.warning("no")
        assert self.items(LogList.WARNING) == []

    def test_login_events_are_wrapped_with_their_header(self) -> None:
        event = LoginEvent(user_uuid=UUID, login_status=LoginEvent.LOGIN_STATUS_SUCCESS)
        self.publisher.login(event, "welcome")
        (payload,) = self.bus.server.items(b"log.info")
        assert TeraEvent.FromString(payload).header.topic == "log.info"
        (found,) = logged([payload])
        assert (found.user_uuid, found.log_header.message) == (UUID, "welcome")
        assert found.log_header.sender == "me"
        assert not event.HasField("log_header")

    def test_without_a_link_the_oldest_are_dropped_and_counted(self) -> None:
        publisher = LogPublisher(self.bus, "me", most_waiting=10)
        self.bus.disconnect()
        for number in range(30):
            publisher.log(LogList.INFO, str(number))
        self.bus.reconnect()
        self.bus.clock.advance(1)
        messages = [event.message for event in self.items(LogList.INFO)]
        assert messages[-10:] == [str(number) for number in range(20, 30)]
        assert len(messages) + publisher.dropped == 30
        assert publisher.dropped >= 19

    def test_refused_messages_are_counted_and_later_ones_sent(self) -> None:
        self.bus.server.write(b"log.info", b"no list")
        self.publisher.log(LogList.INFO, "x")
        assert self.publisher.dropped == 1
        self.publisher.log(LogList.ERROR, "y")
        assert len(self.items(LogList.ERROR)) == 1

    def test_any_text_is_written_and_long_texts_are_cut(self) -> None:
        self.publisher.log(LogList.INFO, "\ud800" + "x" * LONGEST_MESSAGE)
        (event,) = self.items(LogList.INFO)
        assert event.message.startswith("\\ud800x")
        assert len(event.message) == LONGEST_MESSAGE + 1

    def test_a_finalizer_may_log_while_a_message_is_kept(self) -> None:
        publisher = self.publisher

        class Waiting(deque[tuple[LogList, bytes]]):
            def append(self, item: tuple[LogList, bytes]) -> None:
                super().append(item)
                if len(self) == 1:
                    publisher.log(LogList.INFO, "finalizer")

        self.bus.disconnect()
        publisher._waiting = Waiting()
        thread = Thread(target=publisher.log, args=(LogList.INFO, "first"), daemon=True)
        thread.start()
        thread.join(GUARD)
        assert not thread.is_alive(), "deadlock"
        self.bus.reconnect()
        self.bus.clock.advance(1)
        messages = [event.message for event in self.items(LogList.INFO)]
        assert messages == ["first", "finalizer"]

    def test_after_the_bus_has_stopped_messages_are_counted(self) -> None:
        self.successResultOf(self.bus.stopService())
        self.publisher.log(LogList.INFO, "x")
        assert self.publisher.dropped == 1
        self.successResultOf(self.publisher.flush())


class RealLogTests(RedisTestCase):
    async def test_messages_for_a_closed_bus_are_counted(self) -> None:
        lease = BusLease(RedisAddress.parse(self.server.url), "test")
        await lease.close()
        publisher = ThreadLogPublisher(lease, "me")
        publisher.log(LogList.INFO, "x")  # by a thread: the reactor does not run yet
        await publisher.flush()
        assert publisher.dropped == 0
        await deferLater(reactor, 0)  # the reactor runs from here on, even if the thread was faster
        for count in (1, 2):
            publisher.log(LogList.INFO, "x")
            await publisher.flush()
            assert publisher.dropped == count

    async def test_a_flush_before_the_reactor_runs_ends(self) -> None:
        lease = BusLease(RedisAddress.parse(self.server.url), "test")
        publisher = ThreadLogPublisher(lease, "me")
        self.patch(publisher, "_begin", lambda: None)
        publisher.log(LogList.INFO, "x")
        flushed = publisher.flush()
        assert publisher.reactor is None
        thread = Thread(target=publisher._send_plainly)
        thread.start()
        thread.join(GUARD)
        assert not thread.is_alive()
        await flushed  # the reactor runs from here on
        assert len(logged(self.redis.lrange("log.info", 0, -1))) == 1

    async def test_a_flush_waits_for_messages_after_a_thread(self) -> None:
        bus = await self.bus()
        publisher = LogPublisher(bus, "me")
        publisher._is_sending = True  # by a thread
        publisher._sent_plainly()
        flushed = publisher.flush()
        publisher._sent_plainly()  # of an earlier thread
        self.assertNoResult(flushed)
        publisher._is_sending = False
        publisher._sent_plainly()
        self.successResultOf(flushed)

    async def test_many_threads_log_at_once(self) -> None:
        bus = await self.bus()
        publisher = LogPublisher(bus, "me")
        logger = logging.Logger("app")  # noqa: LOG001 (of this test alone)
        logger.addHandler(publisher.handler())

        def work(thread: int) -> None:
            for number in range(200):
                logger.info("%d %d", thread, number)

        def work_all() -> None:
            threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(GUARD)

        await deferToThread(work_all)
        await publisher.flush()
        messages = [event.message for event in logged(self.redis.lrange("log.info", 0, -1))]
        assert publisher.dropped == 0
        assert len(set(messages)) == 1600
        for thread in range(8):
            numbers = [
                int(message.split()[1]) for message in messages if message.startswith(f"{thread} ")
            ]
            assert numbers == list(range(200))
