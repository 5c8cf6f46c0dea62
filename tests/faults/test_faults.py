"""Each fault of Redis and the network: everything recovers, and no answer is wrong.

Prints a table of losses and recovery times; ``make faults`` writes it to the docs.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from opentera_twisted import Bus, ConnectionLost
from opentera_twisted.link import back_off
from tests.helpers.support import Collector, log_of, start_server

from .case import FaultTestCase
from .proxy import Proxy


class FaultTests(FaultTestCase):
    async def test_killed_and_restarted(self) -> None:
        world = await self.world()
        await world.strike("Redis killed and restarted")
        await self.restart()
        outcome = await self.finish(world)
        assert outcome.failed["CallInterrupted"] > 0
        assert world.gaps == 1

    async def test_three_restarts_in_a_row(self) -> None:
        world = await self.world()
        await world.strike("three restarts in a row")
        for _ in range(3):
            await self.restart()
        await self.finish(world)
        assert world.gaps >= 1

    async def test_restarted_in_the_midst_of_a_thousand_restores(self) -> None:
        world = await self.world(topics=1000)
        await world.strike("restarted in the midst of 1,000 restores")
        await self.restart()
        table = world.serving.link.subscriptions
        while not 0 < len(table.acknowledged) < len(table.wanted):
            await deferLater(reactor, 0)
        await self.restart()
        await self.finish(world)

    async def test_frozen(self) -> None:
        world = await self.world()
        await world.strike("Redis frozen (SIGSTOP) until noticed")
        lost = [Collector(), Collector()]
        for bus, collector in zip((world.serving, world.calling), lost, strict=True):
            bus.link.on_lost.append(collector)
        os.kill(self.server.process.pid, signal.SIGSTOP)
        try:
            await self.until_noticed()
            for collector in lost:
                cause, *_ = await collector.wait(1)
                assert "did not answer a ping" in cause.getErrorMessage()
        finally:
            os.kill(self.server.process.pid, signal.SIGCONT)
        await self.finish(world)

    async def test_half_open(self) -> None:
        world = await self.world()
        await world.strike("half-open: nothing forwarded, nothing closed")
        lost = Collector()
        world.calling.link.on_lost.append(lost)
        world.proxy.frozen = True
        await self.until_noticed()
        await lost.wait(1)
        world.proxy.cut()
        world.proxy.frozen = False
        await self.finish(world)

    async def test_slow(self) -> None:
        world = await self.patient_world()
        await world.strike("each piece 300 ms late")
        world.proxy.delay = 0.3
        for _ in range(3):
            world.publish()
            await world.calling.call_service("Echo", "echo", 1)
        world.proxy.delay = 0
        outcome = await self.finish(world)
        assert outcome.missed == 0
        assert not outcome.failed

    async def test_cut(self) -> None:
        world = await self.world()
        await world.strike("every connection cut")
        world.proxy.cut()
        await self.finish(world)

    async def test_half_closed(self) -> None:
        world = await self.world()
        await world.strike("every connection half-closed")
        world.proxy.half_close()
        await self.finish(world)

    async def test_killed_by_an_operator(self) -> None:
        world = await self.world()
        await world.strike("CLIENT KILL of all connections")
        for kind in ("normal", "pubsub"):
            self.redis.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        await self.finish(world)

    async def test_output_buffer_exceeded(self) -> None:
        world = await self.world()
        await world.strike("output buffer of the subscriber exceeded")
        logged = log_of(self)
        await world.serving.subscribe("ignored", len)
        self.redis.config_set("client-output-buffer-limit", "pubsub 200kb 0 0")
        world.proxy.stop_reading()
        await deferToThread(self.flood)
        world.proxy.cut()
        self.redis.config_set("client-output-buffer-limit", "pubsub 32mb 8mb 60")
        await self.finish(world)
        while not any("output buffer" in text for text in logged.items):
            await logged.wait(len(logged.items) + 1)

    def flood(self) -> None:
        """Publish until Redis has closed the subscriber that does not read."""

        def overflows() -> int:
            count: int = self.redis.info("stats")["client_output_buffer_limit_disconnections"]
            return count

        while overflows() == 0:
            for _ in range(100):
                self.redis.publish("ignored", b"1" * 10_000)


class CutTests(TestCase):
    """A connection that breaks after each number of bytes of a session."""

    async def test_a_cut_connection_never_misroutes_a_reply(self) -> None:
        server = start_server(self)
        self.patch(back_off, "FIRST_DELAY", 0.001)
        names = [f"name-{number}" for number in range(8)]
        with server.client() as client:
            for name in names:
                client.set(name, f"value of {name} with a tail")
        proxy = Proxy(server.port)
        self.addCleanup(lambda: Deferred.fromCoroutine(proxy.stop()))
        right = broken = 0
        for cut in range(1, 420):
            proxy.cuts = [cut, cut]
            bus = Bus(f"redis://127.0.0.1:{proxy.port}", reactor=reactor, name="t")
            bus.startService()
            asked = [bus.variables.get(name) for name in names]
            for request in asked:
                request.addErrback(lambda failure: failure.check(ConnectionLost))
            results: list[Any] = await gatherResults(asked)
            for name, result in zip(names, results, strict=True):
                if result is ConnectionLost:
                    broken += 1
                else:
                    assert result == f"value of {name} with a tail".encode(), (cut, result)
                    right += 1
            await bus.stopService()
        assert right > 0
        assert broken > 0
