"""Presence leases when clocks step, Redis stalls, keys vanish, or no module listens."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import gatherResults

from opentera_twisted import Bus
from opentera_twisted.gateway.presence import LocalPresence
from opentera_twisted.holders import GATEWAYS, HELD, INDEX, LEASES, LISTENING, OWED, REPORTS
from opentera_twisted.presence_lease import GATEWAYS_AT_ONCE, LOOKUPS, Lease
from opentera_twisted.sessions import Identity
from tests.helpers.support import GUARD, UUID, Collector, caught_up, log_of, turn, until

from .test_presence import PresenceTestCase, enter, leave

LONG = 3_600_000
"""An hour in milliseconds."""

USER = Identity("user", UUID)
DEVICE = Identity("device", UUID)
"""Two kinds of one UUID."""


class LeaseTestCase(PresenceTestCase):
    def now(self) -> int:
        seconds, microseconds = self.redis.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    def ends(self, lease: Lease) -> float:
        score: Any = self.redis.zscore(GATEWAYS, lease.gateway)
        return float(score)

    async def renewed(self, presence: LocalPresence) -> None:
        """Renew a lease and wait until the renewal is complete."""
        presence._renew()
        while presence._working is not None:
            await turn()

    def pattern(self, pattern: str) -> Any:
        """Subscribe as an existing program, or to more topics."""
        pubsub = self.redis.pubsub()
        self.addCleanup(pubsub.close)
        pubsub.psubscribe(pattern)
        pubsub.get_message(timeout=GUARD)
        return pubsub

    async def patterns(self, count: int) -> None:
        """Wait until Redis has that many patterns."""

        async def ask() -> Any:
            await turn()
            return self.redis.pubsub_numpat()

        await until(ask, lambda found: found == count)

    async def clients(self, presence: LocalPresence, count: int) -> list[Identity]:
        people = [self.user() for _ in range(count)]
        for person in people:
            presence.opened(person)
        await presence.reported()
        return people


class ReapingTests(LeaseTestCase):
    async def test_an_outage_reports_no_client_of_other_gateways(self) -> None:
        buses = [await self.bus() for _ in range(3)]
        observer = await self.bus()
        reports = await self.observe(observer)
        presences = [self.local(bus) for bus in buses]
        for presence in presences:
            await self.clients(presence, 3)
        await reports.wait(9)
        # As if Redis had stalled for longer than the lease; they return one after another.
        self.end_lease(*(presence._lease for presence in presences))
        for presence in presences:
            await self.renewed(presence)
            await until(presence._lease.held, lambda held: len(held) == 3)
        await caught_up(observer)
        assert len(reports.items) == 9

    async def test_a_late_gateway_waits_one_lease_before_it_reaps(self) -> None:
        bus = await self.bus()
        reports = await self.observe(bus)
        late, dead = Lease(bus.link), Lease(bus.link)
        await dead.renew([enter(self.user())], join=True)
        await late.renew([], join=True)
        late.since = 0
        self.redis.zadd(GATEWAYS, {dead.gateway: 0, late.gateway: self.now() + 4000})
        await late.renew([], join=False)  # 11 of the 15 seconds had passed
        assert not await late.reap()
        assert len(self.redis.keys(f"{HELD}*")) == 1
        late.since = self.now() - 15_001
        await late.reap()
        assert [what for what, _ in await reports.wait(2)] == ["CONNECTED", "DISCONNECTED"]

    async def test_a_new_gateway_waits_one_lease_before_it_reaps(self) -> None:
        bus = await self.bus()
        dead, new = Lease(bus.link), Lease(bus.link)
        await dead.renew([enter(self.user())], join=True)
        self.end_lease(dead)
        assert not await new.reap()
        await new.renew([], join=True)
        assert not await new.reap()
        assert len(self.redis.keys(f"{HELD}*")) == 1

    async def test_only_clients_of_the_dead_gateway_are_reported(self) -> None:
        bus = await self.bus()
        reports = await self.observe(bus)
        dead, late = Lease(bus.link), Lease(bus.link)
        gone = self.user()
        await dead.renew([enter(gone)], join=True)
        await late.renew([enter(self.user())], join=True)
        self.end_lease(late)
        await bus.presence.report_gone(dead.gateway)
        assert (await reports.wait(3))[2:] == [("DISCONNECTED", gone.uuid)]

    async def test_a_lease_that_ends_too_late_is_cut(self) -> None:
        bus = await self.bus()
        dead, longer, own = Lease(bus.link), Lease(bus.link, 1000), self.reaper(bus)
        for gateway in (dead, longer, own):
            await gateway.renew([], join=True)
        before = self.now()
        # As if Redis's clock had gone back by an hour.
        everyone = {gateway.gateway: before + LONG for gateway in (dead, longer, own)}
        self.redis.zadd(GATEWAYS, everyone)
        await own.renew([], join=False)
        await own.reap()
        for gateway in (dead, longer, own):
            length = gateway.seconds * 1000
            assert before + length <= self.ends(gateway) <= self.now() + length
        assert own.since is not None
        assert own.since >= before  # it waits again

    async def test_a_longer_lease_of_another_gateway_is_kept(self) -> None:
        bus = await self.bus()
        longer, own = Lease(bus.link, 1000), self.reaper(bus)
        await longer.renew([], join=True)
        before = self.ends(longer)
        await own.reap()
        assert self.ends(longer) == before

    async def test_a_step_forgets_a_bounded_number_of_gateways(self) -> None:
        bus = await self.bus()
        count = 10 * GATEWAYS_AT_ONCE
        self.redis.zadd(GATEWAYS, {f"dead-{number}": 0 for number in range(count)})
        self.redis.hset(LEASES, "dead-1", 1)
        reaper = self.reaper(bus)
        for step in range(1, 11):
            assert await reaper.reap()
            assert self.redis.zcard(GATEWAYS) == count - step * GATEWAYS_AT_ONCE
        assert not await reaper.reap()
        assert not self.redis.exists(LEASES)

    async def test_a_step_makes_a_bounded_number_of_lookups(self) -> None:
        bus = await self.bus()
        self.redis.zadd(GATEWAYS, {f"other-{number}": 2**50 for number in range(LOOKUPS // 10)})
        people = [self.user() for _ in range(100)]
        lease = Lease(bus.link)
        renewal = await lease.renew(map(enter, people), join=True)
        assert renewal is not None
        assert 0 < renewal.applied <= 10
        presence = self.local(bus)
        here = await self.clients(presence, 50)
        assert await presence._lease.held() == {f"user.{person.uuid}" for person in here}


class VanishedKeysTests(LeaseTestCase):
    async def test_a_renewal_restores_lost_presence_keys(self) -> None:
        bus = await self.bus()
        reports = await self.observe(bus)
        log = log_of(self)
        presence = self.local(bus)
        people = await self.clients(presence, 3)
        names = {f"user.{person.uuid}" for person in people}
        held = HELD + presence.gateway
        for lose in (
            lambda: self.redis.delete(held),
            lambda: self.redis.hdel(held, min(names)),
            lambda: self.redis.hset(held, "user.ghost", enter(self.user()).gone),
            lambda: self.redis.delete(GATEWAYS),
            lambda: self.redis.delete(INDEX),
            self.redis.flushdb,
        ):
            lose()
            await self.renewed(presence)
            assert await presence._lease.held() == names
            assert len(await bus.presence.online("user")) == 3
            index: Any = self.redis.hgetall(INDEX)
            holder = presence.gateway.encode()
            assert {name for name in names if index[name.encode()] == holder} == names
            assert index[f"gateway {presence.gateway}".encode()] == b""
            assert index[b"gateways"].startswith(b"1 ")
        assert any("Redis has lost part of presence" in text for text in log.items)
        for person in people:
            presence.closed(person)
        await presence.reported()
        while not {*reports.items} >= {("DISCONNECTED", person.uuid) for person in people}:
            await turn()

    async def test_a_renewal_restores_the_lengths_of_leases(self) -> None:
        bus = await self.bus()
        longer, own = Lease(bus.link, 1000), self.reaper(bus)
        await longer.renew([], join=True)
        self.redis.delete(LEASES)
        await longer.renew([], join=False)
        before = self.ends(longer)
        await own.reap()
        assert self.ends(longer) == before

    async def test_a_lost_count_of_listeners_reports_nothing(self) -> None:
        bus = await self.bus()
        presence = self.local(bus)
        await self.clients(presence, 2)  # no module listens
        reports = await self.observe(bus)
        await self.renewed(presence)
        await reports.wait(2)
        self.redis.delete(LISTENING)
        await self.renewed(presence)
        await caught_up(bus)
        assert len(reports.items) == 2

    async def test_nothing_is_reported_without_a_loss(self) -> None:
        bus = await self.bus()
        reports = await self.observe(bus)
        log = log_of(self)
        presence = self.local(bus)
        await self.clients(presence, 3)
        for _ in range(3):
            await self.renewed(presence)
        await caught_up(bus)
        assert len(reports.items) == 3
        assert not any("lost" in text for text in log.items)


class ListeningTests(LeaseTestCase):
    """Absences of the user manager module, which then forgets all clients."""

    async def start(self) -> tuple[Bus, list[LocalPresence]]:
        buses = [await self.bus() for _ in range(2)]
        return buses[0], [self.local(bus) for bus in buses]

    async def test_a_returning_module_gets_every_client_once(self) -> None:
        _, (one, two) = await self.start()
        both, gone = self.user(), self.user()
        for presence in (one, two):
            presence.opened(both)
        one.opened(gone)
        one.closed(gone)
        await gatherResults([one.reported(), two.reported()])
        here = await self.clients(two, 2)
        reports = await self.observe(await self.bus())
        for _ in range(3):
            for presence in (one, two):
                await self.renewed(presence)
        last = self.user()
        one.opened(last)
        await reports.wait(5)
        assert sorted(reports.items[:-1]) == sorted(
            [("CONNECTED", person.uuid) for person in (both, *here)] + [("DISCONNECTED", gone.uuid)]
        )
        assert reports.items[-1] == ("CONNECTED", last.uuid)
        assert not self.redis.exists(OWED)

    async def test_an_absence_between_reports_is_noticed(self) -> None:
        _, (one, two) = await self.start()
        module = self.pattern(REPORTS)
        here = await self.clients(one, 2)
        for presence in (one, two):
            await self.renewed(presence)
        module.close()
        await until(
            lambda: turn().addCallback(lambda _: self.redis.pubsub_numpat()), lambda n: not n
        )
        await self.renewed(two)
        self.pattern(REPORTS)
        watcher = await self.bus()
        reports = await self.observe(watcher)
        await self.renewed(two)
        here += await self.clients(one, 1)
        await self.renewed(one)
        await caught_up(watcher)
        assert sorted(reports.items) == sorted(("CONNECTED", person.uuid) for person in here)

    async def test_a_subscriber_to_everything_is_no_module(self) -> None:
        _, (one, _) = await self.start()
        self.pattern("module.*")
        here = await self.clients(one, 1)
        assert self.redis.hexists(LISTENING, "no")
        reports = await self.observe(await self.bus())
        await self.renewed(one)
        await self.renewed(one)
        assert await reports.wait(1) == [("CONNECTED", here[0].uuid)]

    async def test_a_subscriber_to_everything_hides_no_absence(self) -> None:
        _, (one, _) = await self.start()
        self.pattern("module.*")
        module = self.pattern(REPORTS)
        here = await self.clients(one, 1)
        await self.renewed(one)
        assert not self.redis.hexists(LISTENING, "no")
        module.close()
        await self.patterns(1)
        await self.renewed(one)
        assert self.redis.hexists(LISTENING, "no")
        self.pattern(REPORTS)
        reports = await self.observe(await self.bus())
        await self.renewed(one)
        assert await reports.wait(1) == [("CONNECTED", here[0].uuid)]

    async def test_clients_come_back_after_flushdb(self) -> None:
        bus, (one, two) = await self.start()
        here = await self.clients(one, 2)
        here += await self.clients(two, 1)
        reports = await self.observe(bus)
        self.redis.flushdb()  # an existing server does so at its end
        for presence in (one, two):
            await self.renewed(presence)
        await reports.wait(3)
        assert sorted(reports.items) == sorted(("CONNECTED", person.uuid) for person in here)
        assert len(await bus.presence.online("user")) == 3


class ElsewhereTests(LeaseTestCase):
    """The same person is open at an existing gateway."""

    def existing(self, who: Identity) -> Any:
        """Open a websocket at an existing gateway, which subscribes to its topic as a pattern."""
        return self.pattern(f"websocket.{who.kind}.{who.uuid}.events")

    async def closed(self, pubsub: Any) -> None:
        count: Any = self.redis.pubsub_numpat()
        pubsub.close()
        await until(
            lambda: turn().addCallback(lambda _: self.redis.pubsub_numpat()),
            lambda now: now < count,
        )

    async def test_clients_open_at_existing_gateways_stay_online(self) -> None:
        bus = await self.bus()
        reports = await self.observe(bus)
        presence = self.local(bus)
        stays, goes = await self.clients(presence, 2)
        existing = self.existing(stays)
        for person in (stays, goes):
            presence.closed(person)
        await presence.reported()
        await reports.wait(3)
        assert reports.items[2:] == [("DISCONNECTED", goes.uuid)]
        await self.renewed(presence)
        await caught_up(bus)
        assert len(reports.items) == 3
        # It may have been killed: its unreported disconnection is reported.
        await self.closed(existing)
        await self.renewed(presence)
        assert (await reports.wait(4))[3:] == [("DISCONNECTED", stays.uuid)]
        await self.renewed(presence)
        await caught_up(bus)
        assert len(reports.items) == 4

    async def test_a_returning_client_is_not_reported_gone_later(self) -> None:
        bus = await self.bus()
        reports = await self.observe(bus)
        presence = self.local(bus)
        (who,) = await self.clients(presence, 1)
        existing = self.existing(who)
        presence.closed(who)
        presence.opened(who)
        await presence.reported()
        await self.closed(existing)
        presence.closed(who)
        await presence.reported()
        await self.renewed(presence)
        presence.opened(who)
        await presence.reported()
        await caught_up(bus)
        assert [what for what, _ in reports.items].count("DISCONNECTED") == 1

    async def test_a_dead_gateways_client_may_be_at_an_existing_one(self) -> None:
        bus = await self.bus()
        reports = await self.observe(bus)
        dead = Lease(bus.link)
        who, other = self.user(), self.user()
        await dead.renew([enter(who), enter(other)], join=True)
        self.existing(who)
        self.end_lease(dead)
        await self.reap_all(self.reaper(bus))
        assert (await reports.wait(3))[2:] == [("DISCONNECTED", other.uuid)]

    async def test_a_subscriber_to_everything_keeps_no_client_online(self) -> None:
        bus = await self.bus()
        reports = await self.observe(bus)
        self.pattern("websocket.*")
        self.pattern("*")
        presence = self.local(bus)
        (who,) = await self.clients(presence, 1)
        await bus.subscribe(f"websocket.user.{who.uuid}.events", Collector())
        presence.closed(who)
        assert (await reports.wait(2))[1:] == [("DISCONNECTED", who.uuid)]


class ForeignFieldTests(LeaseTestCase):
    async def test_a_foreign_field_stops_no_report(self) -> None:
        bus = await self.bus()
        reports = await self.observe(bus)
        presence = self.local(bus)
        (before,) = await self.clients(presence, 1)
        own = HELD + presence.gateway
        self.redis.hset(own, mapping={b"\xff": b"", b"user.\xff": b"", b"": b""})
        await self.renewed(presence)
        (after,) = await self.clients(presence, 1)
        await reports.wait(2)
        assert reports.items == [("CONNECTED", before.uuid), ("CONNECTED", after.uuid)]
        assert await presence._lease.held() == {f"user.{before.uuid}", f"user.{after.uuid}"}

    async def test_a_foreign_cursor_in_the_index_is_replaced(self) -> None:
        lease = Lease((await self.bus()).link)
        await lease.renew([enter(self.user())], join=True)
        field = f"gateway {lease.gateway}"
        for foreign in (b"\xff", b"no cursor", b"9" * 30):
            self.redis.hset(INDEX, field, foreign)
            renewal = await lease.renew([], join=False)
            assert renewal is not None
            assert renewal.indexed
            assert self.redis.hget(INDEX, field) == b""

    async def test_a_dead_gateways_foreign_field_is_removed(self) -> None:
        bus = await self.bus()
        reports = await self.observe(bus)
        dead, reaper = Lease(bus.link), self.reaper(bus)
        gone = self.user()
        await dead.renew([enter(gone)], join=True)
        self.redis.hset(HELD + dead.gateway, mapping={b"\xff": b"", b"user.\xff": b"", b"": b""})
        self.redis.hset(LEASES, mapping={b"\xff": b"\xff", dead.gateway: b"long"})
        self.end_lease(dead)
        await self.reap_all(reaper)
        assert (await reports.wait(2))[1:] == [("DISCONNECTED", gone.uuid)]
        assert not self.redis.exists(HELD + dead.gateway)


class KindTests(LeaseTestCase):
    async def user_and_rival(self, bus: Bus) -> tuple[LocalPresence, LocalPresence, Collector]:
        """Return the presence of a gateway with a user, and that of another with its conflicts."""
        conflicts = Collector()
        first = self.local(bus)
        second = LocalPresence((await self.bus()).link, on_conflict=conflicts)
        second.start()
        self.addCleanup(second.give_up)
        first.opened(USER)
        await first.reported()
        return first, second, conflicts

    async def test_one_uuid_is_never_reported_under_two_kinds(self) -> None:
        bus = await self.bus()
        reports = await self.observe(bus)
        log = log_of(self)
        first, second, conflicts = await self.user_and_rival(bus)
        second.opened(DEVICE)
        await second.reported()
        assert conflicts.items == [DEVICE]
        second._is_doubtful = True
        await self.renewed(second)
        assert conflicts.items == [DEVICE]
        second.closed(DEVICE)
        await second.reported()
        await caught_up(bus)
        assert reports.items == [("CONNECTED", UUID)]
        first.closed(USER)
        await first.reported()
        second.opened(DEVICE)
        await second.reported()
        await reports.wait(3)
        assert conflicts.items == [DEVICE]
        assert not any("lost" in text for text in log.items)

    async def test_each_client_of_a_refused_kind_is_refused(self) -> None:
        bus = await self.bus()
        reports = await self.observe(bus)
        log = log_of(self)
        first, second, conflicts = await self.user_and_rival(bus)
        second.opened(DEVICE)
        second.closed(DEVICE)
        second.opened(DEVICE)
        await second.reported()
        assert conflicts.items == [DEVICE]
        second.opened(DEVICE)  # before the refused one is gone
        await second.reported()
        assert conflicts.items == [DEVICE] * 2
        first.closed(USER)
        await first.reported()
        second.opened(DEVICE)
        await second.reported()
        for _ in range(3):
            second.closed(DEVICE)
        await second.reported()
        await reports.wait(4)
        assert reports.items == [(what, UUID) for what in ("CONNECTED", "DISCONNECTED") * 2]
        assert conflicts.items == [DEVICE] * 2
        assert not any("lost" in text for text in log.items)

    async def test_conflicting_transitions_are_named(self) -> None:
        lease = Lease((await self.bus()).link)
        renewal = await lease.renew([enter(USER), enter(DEVICE)], join=True)
        assert renewal is not None
        assert renewal.conflicts == (f"device.{UUID}",)
        renewal = await lease.renew([leave(DEVICE), leave(USER)], join=True)
        assert renewal is not None
        assert renewal.conflicts == ()
        assert self.redis.hlen(HELD + lease.gateway) == 0
