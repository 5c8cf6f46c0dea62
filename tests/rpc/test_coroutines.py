"""Coroutines that ``iscoroutinefunction`` misses: they run in the reactor's thread too."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.python.threadable import isInIOThread

from opentera_twisted import InvalidArgument, InvalidTopic, Procedures
from opentera_twisted.blocking import BlockingBus
from opentera_twisted.testing import MemoryBus
from tests.helpers.processes import BlockingProgramTestCase
from tests.helpers.support import Collector, RedisTestCase, turn


def hidden(function: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """Functions that return coroutines without being coroutine functions."""

    @functools.wraps(function)
    def decorated(*arguments: Any) -> Any:
        return function(*arguments)

    class Callee:
        async def __call__(self, *arguments: Any) -> Any:
            return await function(*arguments)

    return {
        "decorated": decorated,
        "object": Callee(),
        "partial": functools.partial(function),
        "lambda": lambda *arguments: function(*arguments),  # noqa: PLW0108 (what is tried)
    }


async def where(*_: Any) -> bool:
    """Return True if this is the reactor's thread, before and after a wait."""
    before = isInIOThread()
    if before:
        await turn()
    return before and bool(isInIOThread())


class CoroutineTests(RedisTestCase):
    async def blocking(self) -> BlockingBus:
        await self.bus()  # the reactor runs
        bus = BlockingBus(self.server.url)
        self.addCleanup(deferToThread, bus.close)
        return bus

    async def test_procedures(self) -> None:
        bus = await self.blocking()
        procedures = Procedures()
        functions = hidden(where)
        for name, function in functions.items():
            procedures.expose(name=name)(function)
        await deferToThread(bus.serve_service, "S", procedures)
        for name in functions:
            assert await deferToThread(bus.call_service, "S", name) is True, name

    async def test_a_deferred_of_a_procedure_is_waited_for(self) -> None:
        bus = await self.blocking()
        procedures = Procedures()
        waiting: Deferred[int] = Deferred()
        procedures.expose(name="waits")(lambda: waiting)
        await deferToThread(bus.serve_service, "S", procedures)
        called = deferToThread(bus.call_service, "S", "waits")
        waiting.callback(42)
        assert await called == 42

    async def test_handlers_of_topics(self) -> None:
        bus = await self.blocking()
        got = Collector()

        async def handler(_: Any) -> None:
            got(await where())

        functions = list(hidden(handler).values())
        for function in functions:
            await deferToThread(bus.subscribe, "t", function)
        await deferToThread(bus.publish, "t", "x")
        assert await got.wait(len(functions)) == [True] * len(functions)

    async def test_handlers_of_variables(self) -> None:
        bus = await self.blocking()
        got = Collector()

        async def handler(_: Any, value: bytes | None) -> None:
            got((value, await where()))

        functions = list(hidden(handler).values())
        for function in functions:
            await deferToThread(bus.variables.watch, "v", function)
        assert await got.wait(len(functions)) == [(None, True)] * len(functions)

    async def test_handlers_of_gaps(self) -> None:
        bus = await self.blocking()
        gaps = Collector()

        async def on_gap() -> None:
            gaps(await where())

        functions = list(hidden(on_gap).values())
        for function in functions:
            await deferToThread(bus.subscribe, "t", lambda _: None, function)
        for client in self.redis.client_list(_type="pubsub"):
            self.redis.client_kill_filter(_id=client["id"])
        assert await gaps.wait(len(functions)) == [True] * len(functions)


@pytest.mark.parametrize(
    ("subscribe", "named"),
    [
        (lambda bus: bus.subscribe("t", lambda: None), "one argument"),
        (lambda bus: bus.subscribe("t", lambda _a, _b: None), "one argument"),
        (lambda bus: bus.subscribe_pattern("t*", lambda: None), "one argument"),
        (lambda bus: bus.subscribe("t", print, lambda _: None), "no argument"),
        (lambda bus: bus.variables.watch("v", lambda _: None), "a name and a value"),
    ],
)
@pytest.mark.parametrize("kind", [MemoryBus, BlockingBus])
def test_a_handler_that_is_not_callable_is_refused(
    kind: Callable[[], Any], subscribe: Callable[[Any], Any], named: str
) -> None:
    with pytest.raises(InvalidArgument, match=named):
        subscribe(kind())


def test_a_pattern_given_as_a_topic_is_refused() -> None:
    with pytest.raises(InvalidTopic, match="use subscribe_pattern"):
        MemoryBus().subscribe("websocket.*", print)


class ReactTests(BlockingProgramTestCase):
    async def test_a_blocking_bus_inside_react_names_the_remedy(self) -> None:
        process = self.program(
            """
            from twisted.internet.task import react
            def main(reactor):
                try:
                    BlockingBus(url).variables.get("a")
                except InReactorThread as error:
                    print(error, flush=True)
                bus = Bus(url)
                bus.startService()
                return bus.connected()
            react(main)
            """
        )
        assert await process.ended() == 0, process.output
        assert "before twisted.internet.task.react runs the reactor" in process.output
        assert "use Bus" in process.output
