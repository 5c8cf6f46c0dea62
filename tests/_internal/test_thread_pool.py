"""Threads for blocking calls: one pool per purpose; a call without a thread is refused."""

from __future__ import annotations

import queue
import threading
from unittest import mock

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, gatherResults
from twisted.internet.threads import deferToThread

from opentera_twisted import Bus, InvalidArgument, Limits, Overloaded, Procedures
from opentera_twisted._internal import thread_pool
from opentera_twisted._internal.thread_pool import NoThread, ThreadPool
from opentera_twisted.blocking import BlockingBus
from opentera_twisted.testing import result_of
from tests.helpers.support import GUARD, RedisTestCase, log_of


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "4"])
def test_a_number_of_threads_is_an_integer_from_1_on(size: int) -> None:
    with pytest.raises(InvalidArgument, match="number of threads"):
        BlockingBus(handler_threads=size)


def test_a_stopped_pool_starts_no_threads() -> None:
    pool = ThreadPool("tests")
    pool.stop()
    ran: list[int] = []
    with pytest.raises(NoThread, match="the pool was stopped"):
        result_of(pool.run(reactor, "late", ran.append, 1))
    assert pool._executor is None
    assert not ran


class ThreadPoolTests(RedisTestCase):
    async def blocking(self, handler_threads: int = 32) -> BlockingBus:
        await self.bus()  # the reactor runs
        bus = BlockingBus(self.server.url, handler_threads=handler_threads)
        self.addCleanup(deferToThread, bus.close)
        return bus

    async def hanging(self, bus: Bus, service: str, threads: int) -> threading.Event:
        """Serve a procedure that waits for an event and occupies all threads."""
        release = threading.Event()
        self.addCleanup(release.set)
        started = threading.Semaphore(0)
        procedures = Procedures()

        @procedures.expose(thread=True)
        def hang() -> bool:
            started.release()
            return release.wait(GUARD)

        await bus.serve_service(service, procedures, limits=Limits(threads=threads))
        for _ in range(threads):
            bus.call_service(service, "hang", timeout=120).addErrback(lambda _: None)
        for _ in range(threads):
            await deferToThread(started.acquire)
        return release

    async def test_40_nested_calls_at_once_all_return(self) -> None:
        bus, blocking = await self.bus(name="caller"), await self.blocking()
        inner, outer = Procedures(), Procedures()

        @inner.expose
        def get(number: int) -> int:
            return number

        @outer.expose
        def ask(number: int) -> object:
            return blocking.call_service("Inner", "get", number, timeout=100)

        await deferToThread(blocking.serve_service, "Inner", inner)
        await deferToThread(blocking.serve_service, "Outer", outer)
        calls = [bus.call_service("Outer", "ask", number, timeout=120) for number in range(40)]
        assert await gatherResults(calls) == list(range(40))

    async def test_a_call_that_gets_no_thread_is_refused(self) -> None:
        self.patch(thread_pool, "PATIENCE", 0.05)
        log = log_of(self)
        bus = await self.bus()
        await self.hanging(bus, "Slow", 2)
        with pytest.raises(Overloaded, match="all 2 threads are busy: 2 by hang"):
            await bus.call_service("Slow", "hang", timeout=120)
        assert [line for line in log.items if "all 2 threads for procedures of Slow" in line]

    async def test_a_call_of_its_own_service_ends_without_a_free_thread(self) -> None:
        self.patch(thread_pool, "PATIENCE", 0.05)
        bus, blocking = await self.bus(name="caller"), await self.blocking()
        procedures = Procedures()

        @procedures.expose
        def ask(deeper: bool) -> str:
            if not deeper:
                return "answered"
            try:
                return str(blocking.call_service("S", "ask", False, timeout=100))
            except Overloaded as error:
                return type(error).__name__

        limits = Limits(threads=1)
        await deferToThread(blocking.serve_service, "S", procedures, limits=limits)
        assert await bus.call_service("S", "ask", True, timeout=120) == "Overloaded"
        assert await bus.call_service("S", "ask", False, timeout=120) == "answered"

    async def test_a_service_that_hangs_delays_no_other(self) -> None:
        bus = await self.bus()
        await self.hanging(bus, "Slow", 32)
        procedures = Procedures()
        procedures.expose(name="add", thread=True)(lambda a, b: a + b)
        await bus.serve_service("Quick", procedures)
        assert await bus.call_service("Quick", "add", 1, 2, timeout=120) == 3

    async def test_handlers_and_procedures_have_threads_of_their_own(self) -> None:
        bus, blocking = await self.bus(name="caller"), await self.blocking(handler_threads=1)
        release = threading.Event()
        self.addCleanup(release.set)
        started = threading.Event()

        def handle(_: object) -> None:
            started.set()
            release.wait(GUARD)

        await deferToThread(blocking.subscribe, "topic", handle)
        procedures = Procedures()
        procedures.expose(name="add")(lambda a, b: a + b)
        await deferToThread(blocking.serve_service, "Adds", procedures)
        await bus.publish("topic", "x")
        await deferToThread(started.wait)
        assert await bus.call_service("Adds", "add", 1, 2, timeout=120) == 3

    async def test_a_handler_runs_once_the_system_has_a_thread(self) -> None:
        log = log_of(self)
        blocking, bus = await self.blocking(), await self.bus(name="publisher")
        received: queue.Queue[bytes] = queue.Queue()
        await deferToThread(blocking.subscribe, "t", lambda one: received.put(one.payload))
        error = RuntimeError("can't start new thread")
        with mock.patch.object(threading.Thread, "start", side_effect=error):
            await bus.publish("t", "x")
            while not any("a handler of t waits: no thread" in line for line in log.items):
                await log.wait(len(log.items) + 1)
        assert await deferToThread(received.get, timeout=GUARD) == b"x"

    async def test_a_cancelled_function_without_a_thread_does_not_run(self) -> None:
        pool = ThreadPool("tests", 1)
        self.addCleanup(pool.stop)
        release = threading.Event()
        self.addCleanup(release.set)
        ran: list[int] = []
        running = pool.run(reactor, "running", release.wait, GUARD)
        cancelled, last = (pool.run(reactor, "waiting", ran.append, number) for number in (1, 2))
        cancelled.cancel()
        release.set()
        await running
        await last
        assert ran == [2]
        with pytest.raises(CancelledError):
            await cancelled

    async def test_handlers_waiting_for_a_thread_are_logged_and_run_later(self) -> None:
        self.patch(thread_pool, "PATIENCE", 0.05)
        log = log_of(self)
        blocking = await self.blocking(handler_threads=1)
        release = threading.Event()
        self.addCleanup(release.set)
        finished = threading.Semaphore(0)

        def handle(_: object) -> None:
            release.wait(GUARD)
            finished.release()

        for topic in ("one", "two"):
            await deferToThread(blocking.subscribe, topic, handle)
        bus = await self.bus(name="publisher")
        await bus.publish("one", "x")
        await bus.publish("two", "x")
        warned = "all 1 threads for handlers of a BlockingBus"
        while not any(warned in line and "by a handler of one" in line for line in log.items):
            await log.wait(len(log.items) + 1)
        release.set()
        for _ in range(2):
            await deferToThread(finished.acquire)
