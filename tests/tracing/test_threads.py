"""The context between a program's threads or event loop and the reactor's thread."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from opentelemetry import trace
from twisted.internet.threads import deferToThread

from opentera_twisted import Delivery, Procedures
from opentera_twisted.aio import AsyncioBus
from opentera_twisted.blocking import BlockingBus
from tests.helpers.loops import LoopThread
from tests.helpers.support import GUARD, RedisTestCase
from tests.helpers.traces import recorder, spans


def begun(name: str) -> Any:
    """Begin a span of the program."""
    recorder()
    return trace.get_tracer("test").start_as_current_span(name)


def parent(name: str, kind: str = "") -> str:
    """Return the name of the parent of the only span of a name and kind."""
    (span,) = (span for span in spans(name) if kind in span.kind.name)
    return next(
        (other.name for other in spans() if other.context.span_id == span.parent.span_id), ""
    )


class ContextTests(RedisTestCase):
    def setUp(self) -> None:
        super().setUp()
        recorder().clear()
        self.procedures = Procedures()

    async def test_a_blocking_bus_carries_the_context_of_its_threads(self) -> None:
        handled = threading.Event()
        bus = BlockingBus(self.server.url, tracing=True)
        self.addCleanup(deferToThread, bus.close)

        @self.procedures.expose
        def add(a: int, b: int) -> int:
            bus.variables.get("in a procedure")
            return a + b

        def handler(delivery: Delivery) -> None:
            bus.variables.set("in a handler", b"")
            handled.set()

        def program() -> None:
            bus.serve_service("S", self.procedures)
            bus.subscribe("topic", handler)
            with begun("program"):
                assert bus.call_service("S", "add", 1, 2, timeout=GUARD) == 3
                bus.publish("topic", b"x")
            assert handled.wait(GUARD)

        await deferToThread(program)
        assert parent("service.S/add", "CLIENT") == "program"
        assert parent("service.S/add", "SERVER") == "service.S/add"
        assert parent("GET") == "add"
        assert parent("publish topic") == "program"
        assert parent("SET") == "process topic"

    async def test_an_asyncio_bus_carries_the_context_of_its_tasks(self) -> None:
        thread = LoopThread()
        self.addCleanup(thread.stop)

        async def program() -> None:
            handled = asyncio.Event()
            async with AsyncioBus(self.server.url, tracing=True) as bus:

                @self.procedures.expose
                async def add(a: int, b: int) -> int:
                    await bus.variables.get("in a procedure")
                    return a + b

                async def handler(delivery: Delivery) -> None:
                    await bus.variables.set("in a handler", b"")
                    handled.set()

                await bus.serve_service("S", self.procedures)
                await bus.subscribe("topic", handler)
                with begun("program"):
                    assert await bus.call_service("S", "add", 1, 2, timeout=GUARD) == 3
                    await bus.publish("topic", b"x")
                await asyncio.wait_for(handled.wait(), GUARD)

        await thread.run(program)
        assert parent("service.S/add", "CLIENT") == "program"
        assert parent("service.S/add", "SERVER") == "service.S/add"
        assert parent("GET") == "add"
        assert parent("publish topic") == "program"
        assert parent("SET") == "process topic"

    async def test_traced_and_other_objects_share_no_bus(self) -> None:
        traced, plain = (BlockingBus(self.server.url, tracing=tracing) for tracing in (True, False))
        for bus in (traced, plain):
            self.addCleanup(deferToThread, bus.close)
            await deferToThread(bus.variables.get, "a")
        assert traced._lease.bus.is_traced
        assert not plain._lease.bus.is_traced
