"""A model: whatever happens to clients, gateways and links, no client has a hole it is not told of.

``RETURNS`` in the environment is the number of returns; ``make soak`` makes ten thousand.
"""

from __future__ import annotations

import os
from collections.abc import Coroutine
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread, deferToThread

from tests.helpers.support import GUARD, RedisTestCase, Server, shared_server

from .world import World

RETURNS = int(os.environ.get("RETURNS", "50"))
STEPS = 40

clients = st.integers(0, 2)
gateways = st.integers(0, 1)


REACTOR: Any = reactor


def wait(doing: Coroutine[Any, Any, Any]) -> Any:
    """Do something in the reactor's thread, and wait for it."""
    return blockingCallFromThread(REACTOR, lambda: Deferred.fromCoroutine(doing))


class Model(RuleBasedStateMachine):
    """Clients that drop, freeze, and return anywhere, while a publisher never stops."""

    server: Server
    returns = 0
    recovered = 0

    @initialize()
    def start(self) -> None:
        self.world = blockingCallFromThread(REACTOR, lambda: World(self.server))
        wait(self.world.start())

    @rule(client=clients)
    def drop(self, client: int) -> None:
        wait(self.world.drop(client))

    @rule(client=clients)
    def freeze(self, client: int) -> None:
        wait(self.world.freeze(client))

    @rule(client=clients, gateway=gateways)
    def come_back(self, client: int, gateway: int) -> None:
        wait(self.world.come_back(client, gateway))

    @rule(client=clients, gateway=gateways, events=st.integers(0, 10))
    def drop_and_come_back(self, client: int, gateway: int, events: int) -> None:
        wait(self.world.drop(client))
        wait(self.world.wait(events))
        wait(self.world.come_back(client, gateway))

    @rule(client=clients)
    def come_back_twice(self, client: int) -> None:
        wait(self.world.come_back_twice(client))

    @rule(client=clients, gateway=gateways, turns=st.integers(0, 30))
    def break_return(self, client: int, gateway: int, turns: int) -> None:
        wait(self.world.break_return(client, gateway, turns))

    @rule(gateway=gateways)
    def cut(self, gateway: int) -> None:
        wait(self.world.cut(gateway))

    @rule(gateway=gateways)
    def restart(self, gateway: int) -> None:
        wait(self.world.restart(gateway))

    @rule(events=st.integers(1, 20))
    def wait_for(self, events: int) -> None:
        wait(self.world.wait(events))

    @invariant()
    def no_client_has_a_hole(self) -> None:
        if hasattr(self, "world"):
            blockingCallFromThread(REACTOR, self.world.check)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            wait(self.world.finish())
        finally:
            wait(self.world.stop())
        Model.returns += self.world.outcomes.total()
        Model.recovered += self.world.outcomes[True]


class ModelTests(RedisTestCase):
    timeout = GUARD * max(1, RETURNS // 100)

    async def test_no_client_has_a_hole_that_it_is_not_told_of(self) -> None:
        Model.server = shared_server()
        Model.returns = Model.recovered = 0
        while Model.returns < RETURNS:
            await deferToThread(self.run_model)
        assert Model.recovered > Model.returns / 3

    def run_model(self) -> None:
        run_state_machine_as_test(
            Model,
            settings=settings(
                max_examples=4,
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
