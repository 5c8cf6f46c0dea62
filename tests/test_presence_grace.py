"""The grace of presence: a short break is not reported, and a longer one is, whatever dies."""

from __future__ import annotations

from typing import Any

from opentera_twisted import Bus
from opentera_twisted.gateway.presence import LocalPresence
from opentera_twisted.holders import DUE, LEAVING
from opentera_twisted.sessions import Identity
from tests.helpers.support import UUID, caught_up, turn

from .test_presence import LONG, PresenceTestCase

USER = Identity("user", UUID, "Zoé")


class GraceTests(PresenceTestCase):
    def with_grace(self, bus: Bus, grace: float = LONG) -> LocalPresence:
        presence = LocalPresence(bus.link, grace=grace)
        presence.start()
        self.addCleanup(presence.give_up)
        return presence

    def expire(self) -> None:
        """End every grace, as if its time had passed."""
        due: Any = self.redis.zrange(DUE, 0, -1)
        for who in due:
            self.redis.zadd(DUE, {who: 1})

    async def renewed(self, presence: LocalPresence) -> None:
        """Have a gateway renew its lease, and wait until Redis has answered."""
        presence._renew()
        while presence._working is not None:
            await turn()

    async def corrected(self, presence: LocalPresence) -> None:
        """Have a gateway correct Redis, as after a lost link."""
        presence._is_doubtful = True
        await self.renewed(presence)

    async def came_and_went(self, *presences: LocalPresence) -> None:
        for presence in presences:
            presence.opened(USER)
            await presence.reported()
            presence.closed(USER)
            await presence.reported()

    async def test_whoever_is_back_within_the_grace_is_not_reported(self) -> None:
        bus, other = await self.bus(), await self.bus()
        reports = await self.observe(bus)
        here, there = self.with_grace(bus), self.with_grace(other)
        await self.came_and_went(here, there, here)
        assert await bus.presence.online("user") == [UUID]
        there.opened(USER)
        await there.reported()
        assert not self.redis.exists(DUE, LEAVING)
        self.redis.zadd(DUE, {"user.whose-report-redis-has-lost": 1})
        await self.renewed(here)
        assert reports.items == [("CONNECTED", UUID)]
        assert not self.redis.exists(DUE)

    async def test_another_gateway_reports_the_end_of_a_grace_once(self) -> None:
        bus, other = await self.bus(), await self.bus()
        reports = await self.observe(bus)
        gone, alive = self.with_grace(bus), self.local(other)
        await self.came_and_went(gone)
        await gone.stop()
        await self.renewed(alive)
        assert reports.items == [("CONNECTED", UUID)]
        self.expire()
        await self.renewed(alive)
        await reports.wait(2)
        await self.renewed(alive)
        assert reports.items == [("CONNECTED", UUID), ("DISCONNECTED", UUID)]
        assert await bus.presence.online("user") == []

    async def test_a_grace_ends_by_itself(self) -> None:
        bus = await self.bus()
        reports = await self.observe(bus)
        await self.came_and_went(self.with_grace(bus, 0.3))
        assert reports.items == [("CONNECTED", UUID)]
        await reports.wait(2)
        assert reports.items[1] == ("DISCONNECTED", UUID)

    async def test_a_grace_ends_when_the_identity_comes_as_another_kind(self) -> None:
        bus = await self.bus()
        reports = await self.observe(bus)
        presence = self.with_grace(bus)
        await self.came_and_went(presence)
        presence.opened(Identity("device", UUID))
        await presence.reported()
        await reports.wait(3)
        assert reports.items == [
            ("CONNECTED", UUID),
            ("DISCONNECTED", UUID),
            ("CONNECTED", UUID),
        ]
        assert await bus.presence.online("user") == []

    async def test_a_grace_beyond_its_length_is_cut(self) -> None:
        bus = await self.bus()
        presence = self.with_grace(bus)
        await self.came_and_went(presence)
        before: Any = self.redis.zscore(DUE, f"user.{UUID}")
        self.redis.zadd(DUE, {f"user.{UUID}": before + 1e9})
        await self.renewed(presence)
        after: Any = self.redis.zscore(DUE, f"user.{UUID}")
        assert after <= before + 600_000

    async def test_a_departure_outlives_the_data_of_redis(self) -> None:
        bus = await self.bus()
        reports = await self.observe(bus)
        presence = self.with_grace(bus)
        await self.came_and_went(presence)
        self.redis.flushdb()
        await self.renewed(presence)
        assert await bus.presence.online("user") == [UUID]
        self.expire()
        await self.renewed(presence)
        await reports.wait(2)
        assert reports.items == [("CONNECTED", UUID), ("DISCONNECTED", UUID)]
        assert await bus.presence.online("user") == []

    async def test_a_return_elsewhere_outlives_the_data_of_redis(self) -> None:
        bus, other = await self.bus(), await self.bus()
        reports = await self.observe(bus)
        here, there = self.with_grace(bus), self.with_grace(other)
        await self.came_and_went(here)
        there.opened(USER)
        await there.reported()
        self.redis.flushdb()
        for presence in (here, there):
            await self.renewed(presence)
        self.expire()
        await self.renewed(here)
        await caught_up(bus)
        assert "DISCONNECTED" not in [what for what, _ in reports.items]
        assert await bus.presence.online("user") == [UUID]

    async def test_a_lost_link_repeats_no_departure(self) -> None:
        bus, other = await self.bus(), await self.bus()
        reports = await self.observe(bus)
        here, there = self.with_grace(bus), self.with_grace(other)
        for cause in ("link", "reaped", "data"):
            await self.came_and_went(here)
            self.expire()
            await self.renewed(there)
            if cause == "reaped":
                self.end_lease(here._lease)
                await self.reap_all(there._lease)
            elif cause == "data":
                self.redis.flushdb()
                await self.renewed(there)
            await self.corrected(here)
            if cause != "data":  # then Redis cannot say whether the departure was reported
                assert await bus.presence.online("user") == []
            there.opened(USER)
            await there.reported()
            self.expire()
            await self.renewed(here)
            assert await bus.presence.online("user") == [UUID]
            await reports.wait(3)
            changes = ["CONNECTED", "DISCONNECTED", "CONNECTED"]
            assert reports.items == [(what, UUID) for what in changes], cause
            there.closed(USER)
            await there.reported()
            self.expire()
            await self.renewed(there)
            await reports.wait(4)
            reports.items.clear()

    async def test_a_departure_survives_a_lost_link(self) -> None:
        bus, other = await self.bus(), await self.bus()
        reports = await self.observe(bus)
        here, there = self.with_grace(bus), self.with_grace(other)
        for is_reaped in (False, True):
            await self.came_and_went(here)
            if is_reaped:
                self.end_lease(here._lease)
                await self.reap_all(there._lease)
            await self.corrected(here)
            assert await bus.presence.online("user") == [UUID]
            self.expire()
            await self.renewed(there)
            await self.corrected(here)
            assert await bus.presence.online("user") == []
            await reports.wait(2)
            assert reports.items == [("CONNECTED", UUID), ("DISCONNECTED", UUID)]
            reports.items.clear()

    async def test_a_refused_identity_does_not_depart(self) -> None:
        bus, other = await self.bus(), await self.bus()
        reports = await self.observe(bus)
        here, there = self.with_grace(bus), self.with_grace(other)
        device = Identity("device", UUID)
        there.opened(device)
        await there.reported()
        await self.came_and_went(here)
        here.opened(USER)
        here.closed(USER)  # before Redis refuses it
        await here.reported()
        there.closed(device)
        await there.reported()
        for cause in ("link", "data"):
            if cause == "data":
                self.redis.flushdb()
            await self.corrected(here)
            await self.corrected(there)
            await caught_up(bus)
            assert reports.items == [("CONNECTED", UUID)], cause
            assert await bus.presence.online("user") == []
            assert await bus.presence.online("device") == [UUID]

    async def test_keys_of_another_type_hold_up_no_report(self) -> None:
        bus = await self.bus()
        reports = await self.observe(bus)
        presence = self.with_grace(bus)
        for name in (DUE, LEAVING):
            self.redis.set(name, "x")
            await self.came_and_went(presence)
            await reports.wait(2)
            assert reports.items == [("CONNECTED", UUID), ("DISCONNECTED", UUID)]
            reports.items.clear()
            self.redis.delete(DUE, LEAVING)
