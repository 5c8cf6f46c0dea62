"""A bus used outside its reactor's thread: the error names the mistake."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.threads import deferToThread

from opentera_twisted import Bus, NotInReactorThread, Procedures
from tests.helpers.processes import ENVIRONMENT, Process
from tests.helpers.support import RedisTestCase

USES: dict[str, Callable[[Bus], Any]] = {
    "startService": lambda bus: bus.startService(),
    "stopService": lambda bus: bus.stopService(),
    "connected": lambda bus: bus.connected(),
    "publish": lambda bus: bus.publish("topic", "message"),
    "subscribe": lambda bus: bus.subscribe("topic", lambda delivery: None),
    "call": lambda bus: bus.call_service("Sum", "add"),
    "call_all": lambda bus: bus.call_all("service.Sum", "add"),
    "variables": lambda bus: bus.variables.get("name"),
    "redis": lambda bus: bus.redis.hset("hash", "field", "value"),
    "script": lambda bus: bus.redis.eval("return 1"),
}

FORKED = """
import os, sys
from opentera_twisted import Bus, ForkedProcess
from twisted.internet import reactor, task

async def main(reactor):
    bus = Bus(sys.argv[1])
    bus.startService()
    await bus.connected()
    child = os.fork()
    if child:
        print("child ended:", os.waitpid(child, 0)[1], flush=True)
        return await bus.stopService()
    try:
        bus.publish("topic", "message")
    except ForkedProcess as error:
        os.write(1, f"{error}\\n".encode())
    os._exit(0)

task.react(lambda reactor: task.ensureDeferred(main(reactor)))
"""


class ThreadTests(RedisTestCase):
    async def test_each_use_in_another_thread_raises_an_error(self) -> None:
        bus = await self.bus()
        for use in USES.values():
            with pytest.raises(NotInReactorThread, match=r"BlockingBus.*callFromThread"):
                await deferToThread(use, bus)

    async def test_a_threaded_procedure_gets_the_error(self) -> None:
        bus = await self.bus()
        procedures = Procedures()
        errors: list[Exception] = []

        @procedures.expose(thread=True)
        def read() -> None:
            try:
                bus.variables.get("name")
            except NotInReactorThread as error:
                errors.append(error)

        await bus.serve_service("Reader", procedures)
        await bus.call_service("Reader", "read")
        assert "procedures of Reader" in str(errors[0])

    async def test_a_child_of_a_running_program_gets_an_error(self) -> None:
        program = Process(sys.executable, "-c", FORKED, self.server.url, environment=ENVIRONMENT)
        self.addCleanup(program.kill)
        assert await program.ended() == 0, program.output
        assert "Fork before the reactor runs" in program.output
        assert "child ended: 0" in program.output
