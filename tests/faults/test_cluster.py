"""Each fault of a cluster: everything recovers, and exactly the topics concerned have a gap.

``make faults`` runs all, with 200 websockets, and writes their table to the docs. Without it, one
row runs with few websockets.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Container
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from opentera_twisted._internal.clock import clock_of
from opentera_twisted.link.slots import SLOTS
from tests.helpers.support import Collector, folder_of, free_port, turn
from tools.cluster import HOST

from .cluster import PATIENT, QUICK, proxied_cluster
from .cluster_world import CLUSTER_OUTCOMES, ClusterWorld

ALL = bool(os.environ.get("FAULTS"))
WEBSOCKETS = int(os.environ.get("WEBSOCKETS") or (200 if ALL else 10))

pytestmark = pytest.mark.xdist_group("faulty-cluster")
slow = pytest.mark.skipif(not ALL, reason="make faults runs it")


def in_thread(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    return deferToThread(function, *arguments)


class ClusterFaultTests(TestCase):
    async def world(self) -> ClusterWorld:
        self.cluster = proxied_cluster()
        await in_thread(self.cluster.wait)
        world = ClusterWorld(self.cluster, WEBSOCKETS)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.stop(world)))
        await world.start()
        self.primary = self.cluster.owner(world.flows[0].slot)
        self.others = [node for node in self.cluster.primaries if node is not self.primary]
        return world

    async def stop(self, world: ClusterWorld) -> None:
        self.cluster.restore()  # not in a thread, with which the servers would end
        await in_thread(self.cluster.wait)
        await world.stop()

    async def finish(
        self, world: ClusterWorld, concerned: Container[int], *, may_be_late: bool = False
    ) -> None:
        """Wait for recovery; check the gaps, and that nothing was wrong.

        A primary that returns passes on the messages that it has accepted meanwhile.
        """
        await world.recover()
        outcome = await world.finish()
        CLUSTER_OUTCOMES.append(outcome)
        assert not outcome.wrong, outcome
        assert may_be_late or not outcome.late, outcome
        assert set(outcome.failed) <= {
            "BusUnavailable",
            "CallInterrupted",
            "CallTimeout",
            "CallNotSent",
            "NoResponder",
        }, outcome
        told = {flow.topic for flow in world.flows if flow.gaps}
        assert told == {flow.topic for flow in world.flows if flow.slot in concerned}, outcome

    async def test_slots_moved(self) -> None:
        world = await self.world()
        slots = world.moving
        await world.strike(f"{len(slots)} slots moved and moved back (SETSLOT, MIGRATE)")
        for target in (self.others[0], self.primary):
            await in_thread(self.cluster.move_range, slots, target)
        await self.finish(world, slots)

    @slow
    async def test_slots_migrated_atomically(self) -> None:
        world = await self.world()
        slots = world.moving
        await world.strike(f"{len(slots)} slots moved and moved back (MIGRATESLOTS of Valkey 9)")
        for target in (self.others[0], self.primary):
            await in_thread(self.cluster.migrate_range, slots, target)
        await self.finish(world, slots)

    @slow
    async def test_a_failover(self) -> None:
        world = await self.world()
        slots = self.cluster.slots_of(self.primary)
        replica = self.cluster.replica_of(self.primary)
        await world.strike("CLUSTER FAILOVER")
        replica.execute("CLUSTER", "FAILOVER")
        await in_thread(self.cluster.wait_for_owner, min(slots), replica)
        await self.finish(world, slots)

    @slow
    async def test_a_killed_primary(self) -> None:
        world = await self.world()
        slots = self.cluster.slots_of(self.primary)
        await in_thread(self.cluster.set_node_timeout, QUICK)
        await world.strike("primary killed; its replica takes over")
        self.primary.kill()
        await self.finish(world, slots)

    @slow
    async def test_a_frozen_primary(self) -> None:
        world = await self.world()
        slots = self.cluster.slots_of(self.primary)
        await in_thread(self.cluster.set_node_timeout, QUICK)
        await world.strike("primary frozen (SIGSTOP); its replica takes over; the primary goes on")
        self.primary.signal(signal.SIGSTOP)
        self.cluster.absent.add(self.primary)
        try:
            await world.recover()
        finally:
            self.primary.signal(signal.SIGCONT)
        seconds = world.outcome.seconds
        self.cluster.absent.clear()
        await in_thread(self.cluster.wait)
        await self.finish(world, slots, may_be_late=True)
        world.outcome.seconds = seconds

    @slow
    async def test_a_primary_frozen_for_a_moment(self) -> None:
        world = await self.world()
        await world.strike("primary frozen for 3 s, with a longer cluster-node-timeout")
        self.primary.signal(signal.SIGSTOP)
        try:
            await deferLater(clock_of(reactor), 3)
        finally:
            self.primary.signal(signal.SIGCONT)
        await self.finish(world, ())
        assert not world.outcome.missed

    @slow
    async def test_a_primary_cut_off_from_everything(self) -> None:
        world = await self.world()
        await self.isolate(world, "primary partitioned from nodes and clients", from_clients=True)

    @slow
    async def test_a_primary_cut_off_from_the_other_nodes(self) -> None:
        world = await self.world()
        await self.isolate(world, "primary partitioned from the nodes only", from_clients=False)

    async def isolate(self, world: ClusterWorld, fault: str, *, from_clients: bool) -> None:
        slots = self.cluster.slots_of(self.primary)
        await in_thread(self.cluster.set_node_timeout, QUICK)
        await world.strike(f"{fault}; its replica takes over; healed")
        self.cluster.isolate(self.primary, from_clients=from_clients)
        await world.recover()
        seconds = world.outcome.seconds
        self.cluster.restore()
        await in_thread(self.cluster.wait)
        await self.finish(world, slots, may_be_late=True)
        world.outcome.seconds = seconds

    @slow
    async def test_a_primary_hidden_from_clients(self) -> None:
        world = await self.world()
        slots = self.cluster.slots_of(self.primary)
        lost = Collector()
        world.serving.link.on_interrupted.append(lost)
        await world.strike("primary partitioned from clients only, until noticed; no failover")
        self.cluster.hide_from_clients(self.primary)
        await lost.wait(1)
        self.cluster.network.heal()
        await self.finish(world, slots)

    @slow
    async def test_a_node_added_and_removed(self) -> None:
        world = await self.world()
        slots = world.moving
        await world.strike(f"node added for {len(slots)} slots, and removed")
        added = self.cluster.make_node(folder_of(self), free_port(), free_port(), self.options())
        self.addCleanup(added.kill)
        added.start()
        old = self.cluster.nodes
        await in_thread(self.cluster.until_answers, added)
        for node in old:
            node.execute("CLUSTER", "MEET", HOST, added.port, added.bus_port)
        with_added = self.patch(self.cluster, "nodes", [*old, added])
        await in_thread(self.cluster.until_healthy)
        await in_thread(self.cluster.move_range, slots, added)
        await world.recover()
        await in_thread(self.cluster.move_range, slots, self.primary)
        identity = added.id
        added.kill()
        with_added.restore()
        for node in old:
            node.execute("CLUSTER", "FORGET", identity)
        while (HOST, added.port) in world.serving.link.nodes:
            await turn()
        await self.finish(world, slots)

    def options(self) -> tuple[str, ...]:
        return (
            *("--cluster-node-timeout", str(PATIENT)),
            *("--cluster-allow-replica-migration", "no"),
        )

    @slow
    async def test_all_nodes_restarted(self) -> None:
        world = await self.world()
        await world.strike("all nodes killed and restarted")
        for node in self.cluster.nodes:
            node.kill()
        self.cluster.start()  # not in a thread, with which the servers would end
        await self.finish(world, range(SLOTS))
