"""`BlockingBus` in separate programs: threads, forks, Ctrl-C and the program's end."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable
from threading import Thread
from typing import Any
from unittest import TestCase

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread, deferToThread

from opentera_twisted import (
    BusUnavailable,
    Delivery,
    InReactorThread,
    InvalidArgument,
    Procedures,
)
from opentera_twisted._internal.thread_pool import ThreadPool
from opentera_twisted.blocking import BlockingBus
from opentera_twisted.link import RedisAddress
from opentera_twisted.reactor_thread import handlers, shared_bus
from opentera_twisted.reactor_thread.handlers import SerialQueue
from opentera_twisted.reactor_thread.thread_calls import ReactorThread, ThreadCall
from opentera_twisted.testing import MemoryClock
from tests.helpers.processes import BlockingProgramTestCase
from tests.helpers.support import GUARD, Collector, RedisTestCase, free_port, until


class ProgramTests(BlockingProgramTestCase):
    async def serve(self) -> None:
        procedures = Procedures()

        @procedures.expose
        async def add(a: int, b: int) -> int:
            return a + b

        self.waiting: list[Deferred[None]] = []

        @procedures.expose
        async def waits() -> None:
            self.waiting.append(Deferred())
            self.called()
            await self.waiting[-1]

        self.called = Collector()
        bus = await self.bus(name="server")
        await bus.serve_service("S", procedures)

    async def test_32_threads_get_400_right_answers_over_two_connections(self) -> None:
        await self.serve()
        process = self.program(
            """
            buses = [BlockingBus(url, name="many") for _ in range(32)]
            wrong = []
            def work(bus, first):
                for number in range(first, first + 400):
                    if bus.call_service("S", "add", number, first) != number + first:
                        wrong.append(number)
            threads = [threading.Thread(target=work, args=(bus, 1000 * n))
                       for n, bus in enumerate(buses)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            print("wrong:", wrong, flush=True)
            """
        )
        await process.says("wrong: []")
        assert await process.ended() == 0
        assert "Traceback" not in process.output

    async def test_a_process_has_two_connections(self) -> None:
        process = self.program(
            """
            buses = [BlockingBus(url, name="many") for _ in range(8)]
            for bus in buses:
                bus.variables.set("a", "1")
            print("there", flush=True)
            time.sleep(60)
            """
        )
        await process.says("there")
        names = sorted(connection["name"] for connection in self.redis.client_list())
        assert [name for name in names if name.startswith("many.")] == [
            "many.client",
            "many.subscriber",
        ]
        process.send(signal.SIGTERM)

    async def test_ctrl_c_interrupts_a_call_that_waits(self) -> None:
        await self.serve()
        process = self.program(
            """
            bus = BlockingBus(url)
            try:
                bus.call_service("S", "waits", timeout=50)
            except KeyboardInterrupt:
                print("interrupted", flush=True)
            print("answer:", bus.call_service("S", "add", 1, 2), flush=True)
            """
        )
        await self.called.wait(1)
        process.interrupt()
        await process.says("interrupted")
        await process.says("answer: 3")
        self.waiting[0].callback(None)
        assert await process.ended() == 0
        assert "Unhandled" not in process.output

    async def test_an_unused_bus_works_after_a_fork(self) -> None:
        process = self.program(
            """
            bus = BlockingBus(url)
            for number in range(3):
                if not os.fork():
                    bus.variables.set(f"child {number}", "x")
                    bus.close()
                    sys.exit()
            for _ in range(3):
                print("child ended:", os.wait()[1], flush=True)
            print("parent:", bus.variables.get("child 2"), flush=True)
            """,
            fork=False,
        )
        assert await process.ended() == 0
        assert process.output.count("child ended: 0") == 3
        assert "parent: b'x'" in process.output

    async def test_importing_and_making_a_bus_makes_no_reactor(self) -> None:
        process = self.program(
            """
            bus = BlockingBus(url)
            print("reactor:", "twisted.internet.reactor" in sys.modules, flush=True)
            """,
            fork=False,
        )
        assert await process.ended() == 0
        assert "reactor: False" in process.output

    async def test_importing_any_part_makes_no_reactor(self) -> None:
        process = self.program(
            """
            import importlib, pkgutil
            import opentera_twisted
            for part in pkgutil.iter_modules(opentera_twisted.__path__, "opentera_twisted."):
                importlib.import_module(part.name)
                if "twisted.internet.reactor" in sys.modules:
                    print("made by", part.name, flush=True)
                    break
            print("last:", part.name, flush=True)
            """,
            fork=False,
        )
        assert await process.ended() == 0
        assert "made by" not in process.output
        assert "last: opentera_twisted.watches" in process.output

    async def test_a_reactor_of_the_parent_is_refused(self) -> None:
        process = self.program(
            """
            from twisted.internet import reactor
            bus = BlockingBus(url)
            if not os.fork():
                try:
                    bus.variables.set("a", "1")
                except ForkedProcess as error:
                    print("child:", error, flush=True)
                bus.close()
                sys.exit()
            print("child ended:", os.wait()[1], flush=True)
            bus.variables.get("a")
            print("parent works", flush=True)
            """
        )
        assert await process.ended() == 0
        assert "child: this process was forked after something had imported" in process.output
        assert "child ended: 0" in process.output
        assert "parent works" in process.output

    async def test_a_fork_during_the_start_of_the_reactor_is_an_error(self) -> None:
        process = self.program(
            """
            import crochet
            setup = crochet.setup
            def fork():
                crochet.setup = setup  # once, whatever goes wrong
                if os.fork():
                    setup()
                else:
                    def other():
                        try:
                            BlockingBus(url).variables.get("a")
                        except ForkedProcess:
                            print("told", flush=True)
                    thread = threading.Thread(target=other)
                    thread.start()
                    thread.join()
                    os._exit(0)
            crochet.setup = fork
            BlockingBus(url).variables.get("a")
            print("child ended:", os.wait()[1], flush=True)
            """
        )
        assert await process.ended() == 0
        assert "told" in process.output
        assert "child ended: 0" in process.output

    async def test_a_used_bus_after_a_fork_names_the_remedy(self) -> None:
        process = self.program(
            """
            bus = BlockingBus(url)
            bus.variables.set("a", "parent")
            if not os.fork():
                for one in (bus, BlockingBus(url)):
                    try:
                        one.variables.get("a")
                    except ForkedProcess as error:
                        print("child:", error, flush=True)
                bus.close()
                sys.exit()
            print("child ended:", os.wait()[1], flush=True)
            print("parent:", bus.variables.get("a"), flush=True)
            """
        )
        assert await process.ended() == 0
        assert process.output.count("child: this process was forked after the bus was") == 2
        assert "child ended: 0" in process.output
        assert "parent: b'parent'" in process.output

    async def test_a_program_ends_with_open_objects(self) -> None:
        process = self.program(
            """
            bus = BlockingBus(url)
            procedures = Procedures()
            @procedures.expose
            def f() -> int: return 1
            bus.serve_service("T", procedures)
            bus.subscribe("t", print)
            print(bus.call_service("T", "f"))
            """
        )
        assert await process.ended() == 0
        assert process.output.strip() == "1"

    async def test_a_program_ends_without_redis_and_with_waiting_threads(self) -> None:
        process = self.program(
            """
            bus = BlockingBus(url)
            def wait():
                try:
                    bus.connected()
                except BusUnavailable as error:
                    print("thread:", error, flush=True)
            threading.Thread(target=wait).start()
            try:
                bus.call("A", "b", timeout=0.1)
            except CallNotSent as error:
                print("main:", type(error).__name__, flush=True)
            """,
            f"redis://127.0.0.1:{free_port()}/0",
        )
        assert await process.ended() == 0
        assert "main: CallNotSent" in process.output
        assert "thread: the reactor of this process was stopped" in process.output

    async def test_an_error_inside_a_with_block_is_the_one_raised(self) -> None:
        process = self.program(
            """
            with BlockingBus(url) as bus:
                bus.variables.set("a", "1")
                raise SystemExit("own error")
            """
        )
        assert await process.ended() == 1
        assert process.output.strip() == "own error"

    async def test_a_stopped_reactor_of_the_program_is_named(self) -> None:
        process = self.program(
            """
            from twisted.internet.task import react
            from twisted.internet.defer import succeed
            try:
                react(lambda reactor: succeed(None))
            except SystemExit:
                pass
            try:
                BlockingBus(url).variables.get("a")
            except BusUnavailable as error:
                print(error)
            """
        )
        assert await process.ended() == 0
        assert "the reactor of this process was stopped" in process.output


def test_an_abandoned_call_is_cancelled_silently() -> None:
    over: list[ThreadCall] = []
    cancelled: list[object] = []
    call = ThreadCall(over.append, lambda: Deferred(cancelled.append))
    call.start()
    call.give_up()
    assert over == [call]
    assert len(cancelled) == 1
    begun: list[None] = []
    never = ThreadCall(over.append, lambda: begun.append(None))
    never.give_up()
    never.start()
    assert begun == []


class ReactorThreadTests(TestCase):
    """Interruptions between a thread's call and its hand-over to the reactor."""

    def setUp(self) -> None:
        self.clock = MemoryClock()
        self.clock.addSystemEventTrigger = lambda *_: None  # type: ignore[attr-defined]
        self.thread = ReactorThread(self.clock)
        self.begun: list[int] = []

    def call(self, number: int) -> None:
        """Start a call in a reactor that does not run."""
        with pytest.raises(TimeoutError):
            self.thread.run(self.begun.append, number, within=0)

    def between(self, function: Callable[[], None]) -> None:
        tell = self.clock.callFromThread

        def call_from_thread(*call: Any) -> None:
            self.clock.callFromThread = tell  # type: ignore[method-assign]
            function()
            tell(*call)

        self.clock.callFromThread = call_from_thread  # type: ignore[assignment]

    def test_ctrl_c_does_not_block_later_calls(self) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        self.between(interrupt)
        with pytest.raises(KeyboardInterrupt):
            self.thread.run(self.begun.append, 1)
        other = Thread(target=self.call, args=(2,))
        other.start()
        other.join(GUARD)
        assert self.begun == [2]

    def test_a_finalizer_may_call(self) -> None:
        self.between(lambda: self.call(1))
        self.call(2)
        assert sorted(self.begun) == [1, 2]


class Answers:
    """Answers."""

    def answer(self) -> int:
        """Return the answer."""
        return 42


class BlockingBusTests(RedisTestCase):
    async def blocking(self) -> BlockingBus:
        bus = BlockingBus(self.server.url, name="test")
        self.addCleanup(deferToThread, bus.close)
        await deferToThread(bus.connected, 5)
        return bus

    async def test_the_reactor_thread_is_refused(self) -> None:
        bus = await self.blocking()
        for call in (
            lambda: bus.variables.get("a"),
            lambda: bus.call("A", "b"),
            bus.close,
        ):
            with pytest.raises(InReactorThread, match="deferToThread"):
                call()

    async def test_handlers_and_procedures_may_call_the_bus(self) -> None:
        bus = await self.blocking()
        got = Collector()
        procedures = Procedures()

        @procedures.expose
        def read(name: str) -> str | None:
            value = bus.variables.get(name)
            return None if value is None else value.decode()

        def handler(delivery: Delivery) -> None:
            value = bus.call_service("Reader", "read", delivery.topic)
            blockingCallFromThread(reactor, got, value)  # type: ignore[arg-type]

        def begin() -> None:
            bus.serve_service("Reader", procedures)
            bus.subscribe("t", handler)
            bus.variables.set("t", "value")
            bus.publish("t", "x")

        await deferToThread(begin)
        assert await got.wait(1) == ["value"]

    async def test_coroutine_functions_run_in_the_reactor_thread(self) -> None:
        bus = await self.blocking()
        other = await self.bus()
        got = Collector()

        async def handler(delivery: Delivery) -> None:
            got(await other.variables.get(delivery.topic))

        procedures = Procedures()

        @procedures.expose
        async def read(name: str) -> bool:
            return await other.variables.get(name) is None

        await deferToThread(bus.subscribe, "t", handler)
        await deferToThread(bus.serve_service, "Reader", procedures)
        assert await other.publish("t", "x") == 1
        assert await got.wait(1) == [None]
        assert await deferToThread(bus.call_service, "Reader", "read", "t") is True

    async def test_closing_waits_for_a_call_that_hangs_only_for_a_while(self) -> None:
        self.patch(shared_bus, "DRAIN_TIMEOUT", 0.01)
        bus, other = await self.blocking(), await self.bus()
        started: Deferred[None] = Deferred()
        procedures = Procedures()

        @procedures.expose
        async def hang() -> None:
            started.callback(None)
            await Deferred()

        await deferToThread(bus.serve_service, "Hangs", procedures)
        call = other.call_service("Hangs", "hang", timeout=GUARD).addErrback(lambda _: None)
        await started
        await deferToThread(bus.close)
        call.cancel()

    async def test_the_last_object_ends_the_bus(self) -> None:
        one, other = await self.blocking(), await self.blocking()
        procedures = Procedures.of(Answers())

        def begin() -> None:
            one.serve_service("S", procedures)
            one.subscribe("t", print)
            one.variables.watch("a", lambda *_: None)
            assert other.call_service("S", "answer") == 42

        def names() -> set[str]:
            return {client["name"] for client in self.redis.client_list()} - {""}

        await deferToThread(begin)
        await deferToThread(one.close)
        assert self.redis.pubsub_numsub("t", "service.S.rpc") == [(b"t", 0), (b"service.S.rpc", 0)]
        assert names() == {"test.client", "test.subscriber"}
        await deferToThread(other.close)
        await until(lambda: deferToThread(names), lambda found: not found)

    async def test_a_bus_that_is_closed_during_its_first_use_ends(self) -> None:
        lease = shared_bus.BusLease(RedisAddress.parse(self.server.url), "test")
        start = lease._start

        def closed_by_a_thread() -> object:
            started = start()
            thread = Thread(target=lease.close_unused)
            thread.start()
            thread.join(GUARD)
            return started

        self.patch(lease, "_start", closed_by_a_thread)
        with pytest.raises(BusUnavailable, match="was closed"):
            lease.bus  # noqa: B018 (the first use)
        assert not any(entry.bus.name == "test" for entry in shared_bus._shared.values())

    async def test_forgotten_objects_do_not_keep_the_bus(self) -> None:
        bus = await self.blocking()
        forgotten = [BlockingBus(self.server.url)]

        def use() -> None:
            for _ in range(10):
                BlockingBus(self.server.url).variables.set("a", "1")
            forgotten.pop().serve_service("S", Procedures.of(Answers()))

        await deferToThread(use)
        gc.collect()
        (one,) = (entry for entry in shared_bus._shared.values() if entry.bus.name == "test")
        assert len(one.users) == 2  # serving objects continue
        assert await deferToThread(bus.call_service, "S", "answer") == 42
        for use_ in list(one.keepers):
            await use_.close()

    async def test_a_closed_bus_raises_an_error(self) -> None:
        bus = await self.blocking()
        subscription = await deferToThread(bus.subscribe, "t", print)
        await deferToThread(bus.close)
        with pytest.raises(BusUnavailable, match="closed"):
            await deferToThread(bus.variables.get, "a")
        await deferToThread(bus.close)
        await deferToThread(subscription.cancel)
        unused = BlockingBus(self.server.url)
        unused.close()
        with pytest.raises(BusUnavailable, match="closed"):
            await deferToThread(unused.variables.get, "a")

    async def test_waiting_for_redis_may_time_out(self) -> None:
        bus = BlockingBus(f"redis://127.0.0.1:{free_port()}/0")
        self.addCleanup(deferToThread, bus.close)
        with pytest.raises(BusUnavailable, match=r"no link for 0\.05 seconds to Redis"):
            await deferToThread(bus.connected, 0.05)

    def test_an_invalid_url_is_refused_at_once(self) -> None:
        with pytest.raises(InvalidArgument):
            BlockingBus("http://127.0.0.1")

    async def test_a_slow_handler_loses_the_oldest_with_a_warning(self) -> None:
        self.patch(handlers, "MOST_WAITING", 5)
        got, dropped = Collector(), Collector()
        go_on: Deferred[None] = Deferred()

        def handle(number: int) -> None:
            if not number:
                blockingCallFromThread(reactor, lambda: go_on)  # type: ignore[arg-type]
            blockingCallFromThread(reactor, got, number)  # type: ignore[arg-type]

        def told() -> None:
            blockingCallFromThread(reactor, dropped)  # type: ignore[arg-type]

        await self.bus()  # the reactor runs
        queue = SerialQueue(reactor, ThreadPool("test"), "a handler", handle, told)
        for number in range(20):
            queue(number)
        go_on.callback(None)
        await dropped.wait(1)
        assert got.items[-5:] == [15, 16, 17, 18, 19]
        assert len(dropped.items) == 1
