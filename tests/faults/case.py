"""A test of one fault, on a world under load, with its outcome in a table."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from opentera_twisted.link import factory
from opentera_twisted.link.protocol import CommandProtocol
from tests.helpers.support import GUARD, start_server, turn

from .world import OUTCOMES, Outcome, World


class FaultTestCase(TestCase):
    async def world(
        self, *options: str, topics: int = 50, call_timeout: float = 5.0, **gateway: Any
    ) -> World:
        self.server = start_server(self, *options)
        self._connections: list[CommandProtocol] = []
        watch = CommandProtocol.watch

        def remember(protocol: CommandProtocol, *arguments: Any) -> None:
            self._connections.append(protocol)
            watch(protocol, *arguments)

        self.patch(CommandProtocol, "watch", remember)
        self.redis = self.server.client()
        self.addCleanup(self.redis.close)
        world = World(self.server, topics, call_timeout, **gateway)
        self.addCleanup(lambda: Deferred.fromCoroutine(world.stop()))
        await world.start()
        return world

    async def patient_world(self, **gateway: Any) -> World:
        """Return a world whose timeouts tolerate a busy machine."""
        self.patch(factory, "PING_TIMEOUT", GUARD)
        return await self.world(call_timeout=GUARD, **gateway)

    async def until_noticed(self) -> None:
        """Wait until all connections notice that Redis is silent, without pauses between pings."""
        connections = list(self._connections)
        while any(connection.connected for connection in connections):
            for connection in connections:
                if connection._watch is not None and connection._watch.active():
                    connection._watch.reset(0)
            await turn()

    async def finish(self, world: World) -> Outcome:
        outcome = await world.recover()
        OUTCOMES.append(outcome)
        assert outcome.wrong == 0, outcome
        assert set(outcome.failed) <= {
            "CallInterrupted",
            "CallTimeout",
            "CallNotSent",
            "NoResponder",
        }, outcome
        return outcome

    async def restart(self) -> None:
        await deferToThread(self.server.stop)
        await deferToThread(self.server.start)
