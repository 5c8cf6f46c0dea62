"""`AsyncioBus`: event loops, cancellation, bounds, gaps, forks and the ends of loops."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import uvloop
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from opentera_twisted import (
    BusUnavailable,
    Delivery,
    InvalidArgument,
    InvalidTopic,
    ProcedureFailed,
    Procedures,
)
from opentera_twisted.aio import AsyncioBus, Deliveries, Gap
from tests.helpers.loops import LoopThread
from tests.helpers.processes import BlockingProgramTestCase
from tests.helpers.support import GUARD, Collector, RedisTestCase, until


class AsyncioBusTests(RedisTestCase):
    loop: asyncio.AbstractEventLoop | None = None

    def setUp(self) -> None:
        super().setUp()
        self.thread = LoopThread(self.loop)
        self.addCleanup(self.thread.stop)
        self.aio = AsyncioBus(self.server.url.replace("//", "//aio@"), name="aio")
        self.addCleanup(self.run_in_loop, self.aio.close)

    def run_in_loop(self, function: Any) -> Deferred[Any]:
        return self.thread.run(lambda: asyncio.wait_for(function(), GUARD))

    async def receivers(self, topic: str, count: int) -> None:
        """Wait until a topic has so many subscribers."""
        await until(
            lambda: deferToThread(self.redis.pubsub_numsub, topic),
            lambda numbers: numbers == [(topic.encode(), count)],
        )

    async def test_a_cancelled_task_cancels_its_call(self) -> None:
        bus, waiting = await self.bus(), Collector()
        procedures = Procedures()

        @procedures.expose
        def waits() -> Deferred[None]:
            result: Deferred[None] = Deferred()
            waiting(result)
            return result

        await bus.serve_service("S", procedures)

        async def call() -> int:
            task = asyncio.ensure_future(self.aio.call_service("S", "waits"))
            await self.aio.connected()
            while not waiting.items:
                await self.aio.variables.get("a")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await self.aio.variables.get("a")
            return self.aio._lease.bus.caller.outcomes["cancelled"]

        assert await self.run_in_loop(call) == 1
        waiting.items[0].callback(None)

    async def test_a_procedure_that_times_out_is_cancelled_in_its_loop(self) -> None:
        cancelled = threading.Event()
        procedures = Procedures()

        @procedures.expose(timeout=0.01)
        async def waits() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        async def run() -> None:
            await self.aio.serve_service("S", procedures)
            with pytest.raises(ProcedureFailed):
                await self.aio.call_service("S", "waits")

        await self.run_in_loop(run)
        assert await deferToThread(cancelled.wait, GUARD)
        self.flushLoggedErrors()

    async def test_a_handler_that_raises_cancelled_keeps_going(self) -> None:
        payloads = []

        async def handler(delivery: Delivery) -> None:
            payloads.append(delivery.payload)
            awaited = asyncio.ensure_future(asyncio.sleep(GUARD))
            awaited.cancel()
            await awaited

        async def run() -> None:
            await self.aio.subscribe("t", handler)
            for payload in (b"1", b"2"):
                await self.aio.publish("t", payload)
                while payload not in payloads:
                    assert self.aio._handling, "the subscription has ended"
                    await self.aio.variables.get("a")
            await self.aio.close()  # the last error is logged before

        await self.run_in_loop(run)
        assert len(self.flushLoggedErrors(asyncio.CancelledError)) == 2

    async def test_a_plain_procedure_that_raises_cancelled_fails(self) -> None:
        procedures = Procedures()

        @procedures.expose
        def fails() -> None:
            raise asyncio.CancelledError

        async def run() -> None:
            await self.aio.serve_service("S", procedures)
            with pytest.raises(ProcedureFailed, match="CancelledError"):
                await self.aio.call_service("S", "fails")

        await self.run_in_loop(run)
        assert len(self.flushLoggedErrors(asyncio.CancelledError)) == 1

    async def test_a_cancelled_subscription_leaves_nothing(self) -> None:
        async def run() -> None:
            await self.aio.connected()
            for delay in range(20):  # at each point of its way
                task = asyncio.ensure_future(self.aio.subscribe(f"t{delay}", print))
                for _ in range(delay):
                    await asyncio.sleep(0)
                if task.cancel():
                    with pytest.raises(asyncio.CancelledError):
                        await task
                else:
                    await (await task).cancel()
            await self.aio.variables.get("a")

        await self.run_in_loop(run)
        await until(
            lambda: deferToThread(self.redis.pubsub_channels, "t*"), lambda topics: not topics
        )

    async def test_iteration_ends_its_subscription_with_the_loop_body(self) -> None:
        bus = await self.bus()
        got = Collector()

        async def run() -> None:
            async for delivery in self.aio.subscription("t"):
                got(delivery)
                break

        iteration = self.run_in_loop(run)
        await self.receivers("t", 1)
        await bus.publish("t", "x")
        await iteration
        assert got.items == [Delivery("t", None, b"x")]
        await self.receivers("t", 0)

    async def test_a_block_subscribes_before_it_begins(self) -> None:
        async def run() -> list[Any]:
            got = []
            async with self.aio.subscription_pattern("t*") as deliveries:
                assert await self.aio.publish("t1", "x") == 1
                async for delivery in deliveries:
                    got.append(delivery)
                    break
            assert await self.aio.publish("t1", "x") == 0
            return got

        assert await self.run_in_loop(run) == [Delivery("t1", "t*", b"x")]

    async def test_a_slow_reader_gets_a_gap_and_the_newest_deliveries(self) -> None:
        async def run() -> list[Any]:
            async with self.aio.subscription("t", max_pending=3) as deliveries:
                for number in range(10):
                    await self.aio.publish("t", str(number))
                await self.aio.publish("other", "")
                return [item async for item in first(deliveries, 4)]

        items = await self.run_in_loop(run)
        assert items[0] == Gap("t")
        assert [item.payload for item in items[1:]] == [b"7", b"8", b"9"]
        with pytest.raises(AttributeError, match="isinstance"):
            _ = items[0].payload

    async def test_a_break_of_the_link_is_a_gap(self) -> None:
        async def run() -> Any:
            async with self.aio.subscription("t") as deliveries:
                await asyncio.to_thread(self.redis.client_kill_filter, _type="pubsub")
                return [item async for item in first(deliveries, 1)]

        assert await self.run_in_loop(run) == [Gap("t")]

    async def test_closing_the_bus_ends_an_iteration(self) -> None:
        async def run() -> list[Any]:
            async with self.aio.subscription("t") as deliveries:
                await self.aio.publish("t", "dropped")
                await self.aio.close()
                return [item async for item in deliveries]

        assert await self.run_in_loop(run) == []
        with pytest.raises(BusUnavailable, match="was closed"):
            await self.run_in_loop(lambda: self.aio.variables.get("a"))

    async def test_a_handler_gets_one_delivery_at_a_time_in_its_loop(self) -> None:
        got = Collector()

        async def run() -> None:
            running = 0

            async def handler(delivery: Delivery) -> None:
                nonlocal running
                running += 1
                await asyncio.sleep(0)
                got((running, delivery.payload, asyncio.get_running_loop() is self.thread.loop))
                running -= 1

            await self.aio.subscribe("t", handler)
            for number in range(3):
                await self.aio.publish("t", str(number))

        await self.run_in_loop(run)
        assert await got.wait(3) == [(1, b"0", True), (1, b"1", True), (1, b"2", True)]

    async def test_a_closed_loop_loses_its_subscriptions(self) -> None:
        bus = await self.bus()
        other = LoopThread()
        deliveries = self.aio.subscription("t")
        await other.run(deliveries.__aenter__)
        await other.stop()
        await bus.publish("t", "x")
        await self.receivers("t", 0)

    async def test_the_end_of_a_loops_tasks_ends_its_subscriptions(self) -> None:
        other = LoopThread()
        await other.run(lambda: self.aio.subscribe("t", print))
        await other.stop()
        await self.receivers("t", 0)

    async def test_mistakes_are_refused(self) -> None:
        for wrong in (0, True, "1", None):
            with pytest.raises(InvalidArgument, match="max_pending must be"):
                self.aio.subscription("t", max_pending=wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidTopic):
            await self.run_in_loop(lambda: self.aio.subscription("").__aenter__())
        with pytest.raises(InvalidArgument, match="expected a Procedures"):
            await self.run_in_loop(lambda: self.aio.serve_service("S", 1))  # type: ignore[arg-type]

    def test_a_call_outside_asyncio_names_the_remedy(self) -> None:
        call = self.aio.variables.get("a")
        with pytest.raises(RuntimeError, match="use BlockingBus"):
            call.send(None)


async def first(deliveries: Deliveries, count: int) -> Any:
    """Yield the first items."""
    async for item in deliveries:
        yield item
        count -= 1
        if not count:
            return


class UvloopTests(AsyncioBusTests):
    def setUp(self) -> None:
        self.loop = uvloop.new_event_loop()
        super().setUp()


class ProgramTests(BlockingProgramTestCase):
    async def ended(self, code: str, *, fork: bool = True) -> str:
        before = "import asyncio\nfrom opentera_twisted.aio import AsyncioBus\n"
        process = self.program(code, before=before, fork=fork)
        assert await process.ended() == 0, process.output
        return process.output

    async def test_one_bus_serves_several_loops_after_each_other(self) -> None:
        output = await self.ended("""
            import anyio
            bus = AsyncioBus(url)
            async def count():
                value = int(await bus.variables.get("a") or 0) + 1
                await bus.variables.set("a", str(value))
                return value
            print(asyncio.run(count()), anyio.run(count), asyncio.run(count()), flush=True)
        """)
        assert "1 2 3" in output

    async def test_a_used_bus_after_a_fork_names_the_remedy(self) -> None:
        output = await self.ended("""
            bus = AsyncioBus(url)
            asyncio.run(bus.variables.set("a", "1"))
            if not os.fork():
                async def child():
                    try:
                        await bus.variables.get("a")
                    except ForkedProcess as error:
                        print("child:", error, flush=True)
                    await bus.close()
                asyncio.run(child())
                sys.exit()
            print("child ended:", os.wait()[1], flush=True)
            print("parent:", asyncio.run(bus.variables.get("a")), flush=True)
        """)
        assert "child: this process was forked after the bus was used" in output
        assert "child ended: 0" in output
        assert "parent: b'1'" in output

    async def test_an_unused_bus_works_after_a_fork(self) -> None:
        output = await self.ended(
            """
            bus = AsyncioBus(url)
            for number in range(2):
                if not os.fork():
                    asyncio.run(bus.variables.set(f"child {number}", "x"))
                    sys.exit()
            for _ in range(2):
                print("child ended:", os.wait()[1], flush=True)
            print("parent:", asyncio.run(bus.variables.get("child 1")), flush=True)
            """,
            fork=False,
        )
        assert output.count("child ended: 0") == 2
        assert "parent: b'x'" in output
