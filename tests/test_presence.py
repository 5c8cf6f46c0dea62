"""Presence over several gateways: each change is reported once, despite crashes and stalls."""

from __future__ import annotations

import random
import signal
import sys
from collections import defaultdict
from typing import Any
from uuid import uuid4

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from opentera_twisted import (
    Bus,
    BusUnavailable,
    Delivery,
    InvalidArgument,
    ReadOnlyReplica,
    SessionKeys,
    topics,
)
from opentera_twisted.gateway import Gateway, GatewayLimits
from opentera_twisted.gateway.presence import LocalPresence, presence_event
from opentera_twisted.holders import GATEWAYS, HELD, HOLDERS, INDEX, LISTENING, OWED, REPORTS
from opentera_twisted.link import PRESENCE, Script, back_off, factory
from opentera_twisted.messages import ServerCommand, TeraModuleMessage
from opentera_twisted.messages.envelopes import module_message, unpack
from opentera_twisted.messages.templates import NOW, fill, template
from opentera_twisted.presence import by_kind
from opentera_twisted.presence_lease import LEASE, REAPED_AT_ONCE, Lease, Transition
from opentera_twisted.sessions import Identity
from opentera_twisted.testing import MemoryBus
from tests.helpers.processes import Process
from tests.helpers.support import (
    GATEWAY,
    GUARD,
    ROOT,
    UUID,
    Collector,
    RedisTestCase,
    Server,
    caught_up,
    log_of,
    quick_retries,
    start_server,
    turn,
    until,
)
from tests.helpers.websockets import WebSocket, connect
from tests.helpers.websockets import leave as end

from .faults.proxy import Proxy

SHORT = 3.0
"""Lease in seconds of a gateway that soon reaps others."""

LONG = 1000.0
"""Lease in seconds that only a test ends, however slow the machine."""


def test_a_template_becomes_the_message_with_its_time() -> None:
    for name in ("", "Zoé", "\x00" * 300, "x" * 70_000):
        event = presence_event(Identity("user", UUID, name), connected=True)
        expected = module_message("s", REPORTS, [event], 1700000000.5).SerializeToString()
        made = template(module_message("s", REPORTS, [event]))
        assert fill(made, 1700000000.5) == expected


def test_uuids_are_listed_by_kind_once_and_sorted() -> None:
    one, two = sorted(str(uuid4()) for _ in range(2))
    ours = [f"user.{two}", f"user.{one}", f"device.{two}", f"user.{two}"]
    foreign = [b"junk", b"\xff.x", b"user.\xff", b"user.a b", f"robot.{one}".encode()]
    held = [*(identity.encode() for identity in ours), *foreign]
    assert by_kind(held) == {"user": [one, two], "participant": [], "device": [two]}


def test_the_loss_of_another_node_of_a_cluster_keeps_presence() -> None:
    link: Any = MemoryBus().link
    presence = LocalPresence(link)
    presence.start()
    for is_ready in (True, False):
        presence._is_doubtful = False
        link.is_node_ready = lambda *_, is_ready=is_ready: is_ready
        link.on_refused.notify(Failure(BusUnavailable("a node is lost")))
        assert presence._is_doubtful is not is_ready
    presence.give_up()


class PresenceTestCase(RedisTestCase):
    redis_user = GATEWAY

    async def observe(self, bus: Bus) -> Collector:
        """Collect ``(type, uuid)`` of each report; ``by`` has the senders."""
        reports = Collector()

        def received(delivery: Delivery) -> None:
            message = TeraModuleMessage.FromString(delivery.payload)
            if not message.data:
                return  # a probe
            event: Any
            (event,) = map(unpack, message.data)
            kind = type(event).__name__.removesuffix("Event").lower()
            what = event.EventType.Name(event.type).removeprefix(f"{kind.upper()}_")
            assert message.head.source == f"websocket.{kind}.{getattr(event, kind + '_uuid')}"
            assert message.head.time > 1.7e9
            reports((what, getattr(event, f"{kind}_uuid")))

        await bus.subscribe(REPORTS, received)
        return reports

    def local(self, bus: Bus, lease: float = 15.0) -> LocalPresence:
        presence = LocalPresence(bus.link, lease)
        presence.start()
        self.addCleanup(presence.give_up)
        return presence

    def end_lease(self, *leases: Lease) -> None:
        """Expire leases."""
        self.redis.zadd(GATEWAYS, dict.fromkeys((lease.gateway for lease in leases), 0))

    def reaper(self, bus: Bus) -> Lease:
        """Return a lease without late renewals."""
        lease = Lease(bus.link)
        lease.since = 0
        return lease

    async def reap_all(self, lease: Lease) -> None:
        lease.since = 0
        while await lease.reap():
            pass

    def user(self, name: str = "") -> Identity:
        return Identity("user", str(uuid4()), name)


def enter(identity: Identity) -> Transition:
    who = f"{identity.kind}.{identity.uuid}"

    def report(connected: bool) -> bytes:
        event = presence_event(identity, connected=connected)
        return template(module_message(f"websocket.{who}", REPORTS, [event]))

    return Transition("enter", who, report(True), report(False))


def leave(identity: Identity) -> Transition:
    return Transition("leave", f"{identity.kind}.{identity.uuid}")


class SeveralGatewaysTests(PresenceTestCase):
    async def test_only_the_first_open_and_last_close_are_reported(
        self,
    ) -> None:
        bus, other_bus = await self.bus(), await self.bus()
        reports = await self.observe(bus)
        one, two = self.local(bus), self.local(other_bus)
        who, last = self.user(), self.user()
        for presence, change in (
            (one, one.opened),
            (two, two.opened),
            (two, two.opened),
            (one, one.closed),
            (two, two.closed),
            (two, two.closed),
        ):
            change(who)
            await presence.reported()
        two.opened(last)
        assert await reports.wait(3) == [
            ("CONNECTED", who.uuid),
            ("DISCONNECTED", who.uuid),
            ("CONNECTED", last.uuid),
        ]

    async def test_online_lists_kinds_under_valid_leases(self) -> None:
        bus = await self.bus()
        one, two, dead = (Lease(bus.link) for _ in range(3))
        ana, zoe, gone = self.user(), self.user(), self.user()
        device = Identity("device", str(uuid4()))
        for lease, identities in ((one, (ana, device)), (two, (ana, zoe)), (dead, (ana, gone))):
            assert await lease.renew(map(enter, identities), join=True)
        self.end_lease(dead)
        assert await bus.presence.online("user") == sorted((ana.uuid, zoe.uuid))
        assert await bus.presence.everyone() == {
            "user": sorted((ana.uuid, zoe.uuid)),
            "participant": [],
            "device": [device.uuid],
        }
        with pytest.raises(InvalidArgument, match="user, participant, device"):
            bus.presence.online("admin")  # type: ignore[arg-type]

    async def test_stopping_leaves_nothing_in_redis(self) -> None:
        bus = await self.bus()
        reports = await self.observe(bus)
        presence = self.local(bus)
        who = self.user()
        presence.opened(who)
        presence.closed(who)
        await presence.stop()
        assert await reports.wait(2) == [("CONNECTED", who.uuid), ("DISCONNECTED", who.uuid)]
        assert self.redis.keys() == []
        presence.start()  # it can be started again
        presence.opened(who)
        await presence.reported()
        assert await bus.presence.online("user") == [who.uuid]

    async def test_a_renewal_due_while_presence_stops_is_dropped(self) -> None:
        bus = await self.bus()
        await self.observe(bus)
        log = log_of(self)
        presence = self.local(bus)
        who = self.user()
        presence.opened(who)
        while presence._working is not None:
            await turn()
        presence.closed(who)
        presence._renew()  # while Redis applies the change
        await presence.stop()
        await bus.stopService()
        assert presence._working is None
        assert not [text for text in log.items if "lease lost" in text or "trying again" in text]
        assert self.redis.keys() == []

    async def test_reports_wait_for_a_change_behind_the_last_one(self) -> None:
        presence = self.local(await self.bus())
        forget = presence._forget
        last = self.user()
        waiting: list[Deferred[int]] = []

        def forgets(count: int) -> None:
            forget(count)
            if not presence._changes and not waiting:
                presence.opened(last)
                waiting.append(presence.reported().addCallback(lambda _: len(presence._changes)))

        self.patch(presence, "_forget", forgets)
        presence.opened(self.user())
        await presence.reported()
        (changes,) = waiting
        assert await changes == 0

    async def test_the_command_to_disconnect_counts_its_receivers(self) -> None:
        bus = await self.bus()
        assert await bus.presence.disconnect("user", UUID) == 0
        commands = Collector()
        await bus.subscribe(f"module.TeraServer.TwistedModule.events.{UUID}", commands)
        assert await bus.presence.disconnect("user", UUID) == 1
        (delivery,) = await commands.wait(1)
        (command,) = map(unpack, TeraModuleMessage.FromString(delivery.payload).data)
        assert command == ServerCommand(type=ServerCommand.CMD_CLIENT_DISCONNECT)
        capitals = "ABCDEFAB-2222-3333-4444-555555555555"
        for topic in topics.disconnect_commands(capitals):
            await bus.subscribe(topic, commands)
        assert await bus.presence.disconnect("user", capitals) == 2
        assert [delivery.topic for delivery in (await commands.wait(3))[1:]] == [
            f"module.TeraServer.TwistedModule.events.{uuid}"
            for uuid in (capitals.lower(), capitals)
        ]
        for kind, uuid in (("user", "nobody"), ("admin", UUID), ("user", "*")):
            with pytest.raises(InvalidArgument):
                bus.presence.disconnect(kind, uuid)  # type: ignore[arg-type]


class LeaseTests(PresenceTestCase):
    async def test_a_dead_gateways_clients_are_reported_unless_elsewhere(self) -> None:
        bus, other_bus = await self.bus(), await self.bus()
        reports = await self.observe(bus)
        dead, dead_too, alive = Lease(bus.link), Lease(bus.link), Lease(bus.link)
        both, elsewhere, here = self.user(), self.user(), self.user()
        for lease, identities in (
            (dead, (both, elsewhere)),
            (dead_too, (both, here)),
            (alive, (elsewhere,)),
        ):
            await lease.renew(map(enter, identities), join=True)
        self.end_lease(dead, dead_too)
        reapers = [self.reaper(each_bus) for each_bus in (bus, other_bus)]
        await gatherResults([Deferred.fromCoroutine(reaper.reap()) for reaper in reapers])
        await reports.wait(5)
        assert sorted(reports.items[3:]) == sorted(
            [("DISCONNECTED", both.uuid), ("DISCONNECTED", here.uuid)]
        )
        await self.reap_all(alive)
        await caught_up(bus)
        assert len(reports.items) == 5
        names: Any = self.redis.keys(f"{HELD}*")
        assert names == [f"{HELD}{alive.gateway}".encode()]

    async def test_ten_thousand_clients_are_reaped_in_bounded_steps(self) -> None:
        bus, other_bus = await self.bus(), await self.bus()
        reports = await self.observe(bus)
        dead, reaper, other = Lease(bus.link), self.reaper(bus), self.reaper(other_bus)
        everyone = [self.user() for _ in range(10_000)]
        for start in range(0, len(everyone), 1000):
            await dead.renew(map(enter, everyone[start : start + 1000]), join=True)
        self.redis.delete(INDEX)
        await dead.renew([], join=False)
        # A restarted Redis has another order, in which this cursor is near the end.
        self.redis.hset(INDEX, f"gateway {dead.gateway}", (1 << 14) - 1)
        await dead.renew([], join=True)  # as after each lost connection
        steps = 1
        while (renewal := await dead.renew([], join=False)) and not renewal.indexed:
            steps += 1
        assert steps > 10
        assert self.redis.hlen(INDEX) == len(everyone) + 2
        self.end_lease(dead)
        before = len(everyone)
        while await reaper.reap():
            left: int = self.redis.hlen(HELD + dead.gateway)
            assert 0 < before - left < 2 * REAPED_AT_ONCE
            await other.reap()
            before = self.redis.hlen(HELD + dead.gateway)
        await reports.wait(20_000)
        gone = [uuid for what, uuid in reports.items if what == "DISCONNECTED"]
        assert sorted(gone) == sorted(person.uuid for person in everyone)
        assert not self.redis.exists(INDEX)

    async def test_a_gateway_waking_during_its_reaping_restores_all(self) -> None:
        bus = await self.bus()
        reports = await self.observe(bus)
        presence = self.local(bus, LONG)
        everyone = [self.user() for _ in range(1000)]
        for person in everyone:
            presence.opened(person)
        await presence.reported()
        self.end_lease(presence._lease)
        reaper = self.reaper(bus)
        assert await reaper.reap()
        presence._renew()
        await reports.wait(1000 + 2 * REAPED_AT_ONCE)
        await presence.reported()
        assert await bus.presence.online("user") == sorted(person.uuid for person in everyone)
        assert not await reaper.reap()
        await caught_up(bus)
        per_person = defaultdict(list)
        for what, uuid in reports.items:
            per_person[uuid].append(what)
        assert {tuple(reports) for reports in per_person.values()} == {
            ("CONNECTED",),
            ("CONNECTED", "DISCONNECTED", "CONNECTED"),
        }

    async def test_a_client_gone_during_a_freeze_is_reported_once(self) -> None:
        bus = await self.bus()
        reports = await self.observe(bus)
        presence = self.local(bus, LONG)
        who, other, last = self.user(), self.user(), self.user()
        presence.opened(who)
        await presence.reported()
        self.end_lease(presence._lease)
        await self.reap_all(Lease(bus.link))
        presence.closed(who)
        presence.opened(other)
        await presence.reported()
        presence.opened(last)
        assert await reports.wait(4) == [
            ("CONNECTED", who.uuid),
            ("DISCONNECTED", who.uuid),
            ("CONNECTED", other.uuid),
            ("CONNECTED", last.uuid),
        ]

    async def test_transitions_may_be_applied_again_and_are_reported_once(self) -> None:
        bus = await self.bus()
        reports = await self.observe(bus)
        lease = Lease(bus.link)
        who, other = self.user(), self.user()
        for transitions in ([enter(who), enter(other)], [leave(who)]):
            for _ in range(2):
                assert await lease.renew(transitions, join=True)
        assert len(await reports.wait(3)) == 3

    async def test_a_login_costs_the_same_with_30_gateways(self) -> None:
        bus = await self.bus()
        key = await SessionKeys(bus).issue("user", UUID)
        leases = [Lease(bus.link) for _ in range(30)]
        costs = []
        for others in (leases[:1], leases[:1], leases):  # the first run loads the scripts
            for lease in others:
                await lease.renew([enter(self.user())], join=True)
            who = self.user()
            await bus.variables.set(key, who.uuid, ttl=60)
            self.redis.config_resetstat()
            assert await SessionKeys(bus).redeem("user", key)
            for transition in (enter(who), leave(who)):
                await leases[0].renew([transition], join=False)
            calls: Any = self.redis.info("commandstats")
            uncounted = {"cmdstat_info", "cmdstat_ping"}
            names = {name for name in calls if "|" not in name} - uncounted
            costs.append({name: calls[name]["calls"] for name in names})
        _, once, with_others = costs
        assert with_others == once
        assert "cmdstat_zrange" not in once
        assert once["cmdstat_hexists"] < 5

    async def test_what_is_sent_together_names_each_identity_once(self) -> None:
        presence = LocalPresence((await self.bus()).link)
        self.addCleanup(presence.give_up)
        who, other = self.user(), self.user()
        for change in (presence.opened, presence.closed, presence.opened):
            change(who)
        presence.opened(other)
        assert [change.what for change in presence._batch()[0]] == ["came"]
        presence._changes.popleft()
        presence._changes.popleft()
        assert [change.what for change in presence._batch()[0]] == ["came", "came"]

    async def test_without_a_lease_nothing_is_applied(self) -> None:
        bus = await self.bus()
        lease = Lease(bus.link)
        assert not await lease.renew([enter(self.user())], join=False)
        assert self.redis.keys() == []

    async def test_reports_alternate_and_agree_with_presence(self) -> None:
        bus = await self.bus()
        reports = await self.observe(bus)
        checks: set[int] = set()
        for seed in range(20):
            self.redis.flushall()
            reports.items.clear()
            model = _Model(self, bus, random.Random(seed))
            names = [f"user.{person.uuid}" for person in model.people]
            for _ in range(60):
                await model.step()
                is_checked, *differing = await bus.link.run(_DIFFERENCES, [], *names)
                assert not differing
                checks.add(is_checked)
            await self.reap_all(Lease(bus.link))
            online = await bus.presence.online("user")
            assert set(online) == set().union(*model.open_at.values())
            await caught_up(bus)
            for uuid in (person.uuid for person in model.people):
                told = [what for what, whose in reports.items if whose == uuid]
                expected = ["CONNECTED", "DISCONNECTED"] * len(told)
                assert told == expected[: len(told)]
                assert (len(told) % 2 == 1) == (uuid in online)
        assert checks == {0, 1}


class _Model:
    """Gateways that take random steps, some of them of version 1.0, and their open clients."""

    def __init__(self, test: PresenceTestCase, bus: Bus, chance: random.Random) -> None:
        self._test = test
        self._chance = chance
        self._new: Any = bus.link
        self._old: Any = _Version10(bus)
        self._leases = [Lease(bus.link, LONG) for _ in range(3)]
        self.people = [test.user() for _ in range(4)]
        self.open_at: dict[str, set[str]] = {lease.gateway: set() for lease in self._leases}

    async def step(self) -> None:
        lease = self._chance.choice(self._leases)
        match self._chance.randrange(8):
            case 0:
                self._test.end_lease(lease)
                self.open_at[lease.gateway].clear()  # like a killed process
                if self._chance.randrange(2):
                    self._replace(lease, self._chance.choice([self._old, self._new]))
            case 1:
                lease.since = 0
                if lease._link is self._old:  # after a lease, when the check has expired
                    self._test.redis.hdel(INDEX, "gateways")
                await lease.reap()
            case 2:
                self._test.redis.delete(INDEX)
            case 3:
                await self._lose_leases()
            case _:
                if not await lease.renew([], join=False):
                    lease = self._replace(lease, lease._link)
                await self._change(lease, self._chance.choice(self.people))

    async def _lose_leases(self) -> None:
        """Lose the sorted set; a client flaps before the other gateways have joined again."""
        await self._test.reap_all(Lease(self._new))  # nobody would report a dead gateway's clients
        self._test.redis.delete(GATEWAYS)
        self._chance.shuffle(self._leases)
        for lease in self._leases:
            here = [who for who in self.people if who.uuid in self.open_at[lease.gateway]]
            await lease.renew(map(enter, here), join=True)
            for change in (leave, enter):
                await lease.renew(map(change, here[:1]), join=False)

    def _replace(self, lease: Lease, link: Any) -> Lease:
        following = Lease(link, LONG)
        self._leases.remove(lease)
        self._leases.append(following)
        self.open_at[following.gateway] = set()
        return following

    async def _change(self, lease: Lease, who: Identity) -> None:
        here = self.open_at[lease.gateway]
        change = leave(who) if who.uuid in here else enter(who)
        here ^= {who.uuid}
        await lease.renew([change], join=True)


class _Version10:
    """The link of a gateway of version 1.0, whose scripts know no index."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def run(self, script: Script, *arguments: Any) -> Deferred[Any]:
        # A sorted set is of a wrong type; a script does not use such an index.
        text = script.text.replace(INDEX, GATEWAYS)
        return self._bus.link.run(Script(text, script.keyspace), *arguments)


_DIFFERENCES = Script(
    NOW
    + HOLDERS
    + f"""
    local answer = {{check and 1 or 0}}
    for _, who in ipairs(ARGV) do
        local is_open = false
        for _, id in ipairs(redis.call('ZRANGE', '{GATEWAYS}', 0, -1)) do
            is_open = is_open or redis.call('HEXISTS', '{HELD}' .. id, who) == 1
        end
        if is_held(who) ~= is_open then answer[#answer + 1] = who end
    end
    return answer
    """,
    PRESENCE,
)
"""Identities for which the index and the hashes of all gateways differ."""


class RedisFaultTests(PresenceTestCase):
    async def own_server(self) -> tuple[Server, Bus]:
        server = start_server(self)
        self.redis = server.client()
        self.addCleanup(self.redis.close)
        return server, await self.bus(server.url)

    async def test_an_empty_redis_gets_all_clients_again(self) -> None:
        server, observer = await self.own_server()
        proxy = Proxy(server.port)
        self.addCleanup(proxy.stop)
        bus = await self.bus(f"redis://127.0.0.1:{proxy.port}")
        presence = self.local(bus)
        stays, goes, comes = self.user(), self.user(), self.user()
        presence.opened(stays)
        presence.opened(goes)
        await presence.reported()
        await deferToThread(server.stop)
        while bus.link.is_ready or observer.link.is_ready:
            await turn()
        proxy.frozen = True  # the observer is back first
        presence.closed(goes)
        presence.opened(comes)
        await deferToThread(server.start)
        reports = await self.observe(observer)
        proxy.frozen = False
        proxy.cut()
        await presence.reported()
        await reports.wait(3)
        assert sorted(reports.items) == sorted(
            [
                ("CONNECTED", stays.uuid),
                ("CONNECTED", comes.uuid),
                ("DISCONNECTED", goes.uuid),
            ]
        )
        assert await bus.presence.online("user") == sorted((stays.uuid, comes.uuid))

    async def test_flapping_over_a_link_that_breaks_ends_with_what_is_open(self) -> None:
        quick_retries(self)
        self.patch(back_off, "FIRST_DELAY", 0.001)
        proxy = Proxy(self.server.port)
        self.addCleanup(proxy.stop)
        bus, direct = await self.bus(f"redis://127.0.0.1:{proxy.port}"), await self.bus()
        reports = await self.observe(direct)
        chance = random.Random(1)
        presence = self.local(bus)
        people = [self.user() for _ in range(20)]
        open_now: set[str] = set()
        for number in range(2000):
            who = chance.choice(people)
            if who.uuid in open_now:
                open_now.discard(who.uuid)
                presence.closed(who)
            else:
                open_now.add(who.uuid)
                presence.opened(who)
            if number % 50 == 0:
                await deferLater(reactor, chance.random() / 100)
            if number % 200 == 0:
                proxy.cut()
        await presence.reported()
        online = await direct.presence.online("user")
        assert set(online) == open_now
        await caught_up(direct)
        for person in people:
            told = [what for what, uuid in reports.items if uuid == person.uuid]
            assert told[-1] == ("CONNECTED" if person.uuid in online else "DISCONNECTED")

    async def test_a_reconnect_corrects_presence_in_redis(self) -> None:
        bus = await self.bus()
        reports = await self.observe(bus)
        presence = self.local(bus)
        who, ghost = self.user(), self.user()
        presence.opened(who)
        await presence.reported()
        # As after a failover to a replica that lagged.
        held = HELD + presence._lease.gateway
        self.redis.hdel(held, f"user.{who.uuid}")
        self.redis.hset(held, f"user.{ghost.uuid}", enter(ghost).gone)
        self.redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await reports.wait(3)
        assert sorted(reports.items[1:]) == sorted(
            [("CONNECTED", who.uuid), ("DISCONNECTED", ghost.uuid)]
        )

    async def test_a_refusal_of_redis_is_logged_once_and_repaired(self) -> None:
        retries = quick_retries(self)
        bus = await self.bus()
        log = log_of(self)
        self.redis.set(GATEWAYS, "a string")
        presence = self.local(bus)
        who = self.user()
        presence.opened(who)
        await retries.wait(5)
        (told,) = [text for text in log.items if "WRONGTYPE" in text]
        assert f"{GATEWAYS} is a string, not a zset" in told
        with pytest.raises(Exception, match="WRONGTYPE"):
            await bus.presence.online("user")
        assert self.redis.get(GATEWAYS) == b"a string"
        self.redis.delete(GATEWAYS)
        await presence.reported()
        assert await bus.presence.online("user") == [who.uuid]

    async def test_a_minor_key_of_a_wrong_type_stalls_nothing(self) -> None:
        bus = await self.bus()
        log = log_of(self)
        self.redis.set(OWED, "a string")
        self.redis.rpush(LISTENING, "a list")
        presence = self.local(bus)
        here, gone = self.user(), self.user()
        for change, who in ((presence.opened, here), (presence.opened, gone)):
            change(who)
        await presence.reported()
        presence.closed(gone)
        await presence.reported()
        assert await bus.presence.online("user") == [here.uuid]
        (told,) = [text for text in log.items if "another type" in text]
        assert OWED in told
        assert LISTENING in told

    async def test_a_foreign_key_of_another_gateway_is_harmless(self) -> None:
        bus = await self.bus()
        reports = await self.observe(bus)
        self.redis.zadd(GATEWAYS, {"strange": 0, "stranger": 2**50, "mad": 0})
        self.redis.set(f"{HELD}strange", "x")
        self.redis.set(f"{HELD}stranger", "x")
        self.redis.hset(f"{HELD}mad", mapping={"": "", "junk": "", "user.x": ""})
        presence = self.local(bus)
        who = self.user()
        presence.opened(who)
        await presence.reported()
        await self.reap_all(presence._lease)
        names: Any = self.redis.zrange(GATEWAYS, 0, -1)
        assert {*names} == {presence._lease.gateway.encode(), b"stranger"}
        assert self.redis.get(f"{HELD}strange") == b"x"
        assert await bus.presence.online("user") == [who.uuid]
        await caught_up(bus)
        assert ("CONNECTED", who.uuid) in reports.items

    async def test_an_unresponsive_redis_delays_stopping_only_briefly(self) -> None:
        self.patch(factory, "PING_TIMEOUT", GUARD)  # the link does not notice
        server, bus = await self.own_server()
        log = log_of(self)
        gateway = Gateway(bus, limits=GatewayLimits(shutdown_timeout=0.2))
        gateway.startService()
        presence = gateway._presence
        who = self.user()
        presence.opened(who)
        await presence.reported()
        server.process.send_signal(signal.SIGSTOP)
        try:
            presence.closed(who)
            await gateway.stopService()
            assert any("did not confirm 1 presence reports" in text for text in log.items)
            assert presence._working is None
        finally:
            server.process.send_signal(signal.SIGCONT)

    async def test_reports_wait_until_a_full_redis_has_room(self) -> None:
        quick_retries(self)
        _, bus = await self.own_server()
        reports = await self.observe(bus)
        presence = self.local(bus)
        await bus.presence.everyone()
        self.redis.config_set("maxmemory", "1kb")
        log = log_of(self)
        who = self.user()
        presence.opened(who)
        while not any("OOM" in text for text in log.items):
            await log.wait(len(log.items) + 1)
        self.redis.config_set("maxmemory", "0")
        await presence.reported()
        assert await reports.wait(1) == [("CONNECTED", who.uuid)]

    async def test_a_replica_gets_and_publishes_no_reports(self) -> None:
        server, bus = await self.own_server()
        reports = await self.observe(bus)
        self.redis.replicaof("127.0.0.1", 1)
        with pytest.raises(ReadOnlyReplica):
            await Lease(bus.link).renew([enter(self.user())], join=True)
        self.redis.replicaof("NO", "ONE")
        who = self.user()
        await Lease(bus.link).renew([enter(who)], join=True)
        assert await reports.wait(1) == [("CONNECTED", who.uuid)]
        assert server.process.poll() is None

    async def test_a_forbidden_report_is_published_once_allowed(self) -> None:
        quick_retries(self)
        self.redis.execute_command(
            "ACL", "SETUSER", "shy", "on", "nopass", "~*", "+@all", "resetchannels"
        )
        self.addCleanup(self.redis.execute_command, "ACL", "DELUSER", "shy")
        bus = await self.bus(f"redis://shy:x@127.0.0.1:{self.server.port}")
        reports = await self.observe(await self.bus())
        log = log_of(self)
        presence = self.local(bus)
        who = self.user()
        presence.opened(who)
        while not any("reports of presence wait" in text for text in log.items):
            await log.wait(len(log.items) + 1)
        assert await (await self.bus()).presence.online("user") == []
        self.redis.execute_command("ACL", "SETUSER", "shy", f"&{REPORTS}")
        await presence.reported()
        assert await reports.wait(1) == [("CONNECTED", who.uuid)]

    async def test_hostile_names_are_reported_too(self) -> None:
        bus = await self.bus()
        reports = await self.observe(bus)
        presence = self.local(bus)
        identities = [
            self.user(name)
            for name in ("\ud800", "\x00\r\n", "%s{0}", "x" * 100_000, "\U0001f600", "'\"]]--")
        ]
        identities += [Identity("user", uuid) for uuid in ("*", "a.b", "\x00", "é")]
        identities.append(Identity("participant", "p", project="\ud800", site="\udfff"))
        for identity in identities:
            presence.opened(identity)
        for identity in identities:
            presence.closed(identity)
        await presence.stop()
        await reports.wait(2 * len(identities))
        assert self.redis.keys() == []


class ProcessTests(PresenceTestCase):
    """Tests of gateways in separate processes, with websockets."""

    async def gateway(self, lease: float) -> tuple[Process, int]:
        path = str(ROOT / "tests" / "helpers" / "gateway_program.py")
        program = Process(sys.executable, path, self.gateway_url, str(lease), fork=True)
        self.addCleanup(program.kill)
        await program.says(".\n")
        return program, int(program.output.partition("port ")[2].partition(".")[0])

    async def log_in(self, port: int, uuid: str) -> WebSocket:
        key = await self.keys.issue("user", uuid)
        client = await connect(port, f"/wss/user?id={key}")
        self.addCleanup(lambda: Deferred.fromCoroutine(end(client)))
        return client

    async def prepare(self) -> None:
        self.main_bus = await self.bus()
        self.reports = await self.observe(self.main_bus)
        self.keys = SessionKeys(self.main_bus)
        (self.first, self.port), (_, self.other_port) = await gatherResults(
            [Deferred.fromCoroutine(self.gateway(lease)) for lease in (LEASE, SHORT)]
        )

    def end_lease_of(self, uuid: str) -> None:
        """Expire the lease of the gateway that holds a user."""
        names: Any = self.redis.zrange(GATEWAYS, 0, -1)
        (name,) = (
            found for found in names if self.redis.hexists(HELD + found.decode(), f"user.{uuid}")
        )
        self.redis.zadd(GATEWAYS, {name: 0})

    async def test_clients_of_a_killed_gateway_are_reported_once(self) -> None:
        await self.prepare()
        people = [str(uuid4()) for _ in range(20)]
        for uuid in people:
            await self.log_in(self.port, uuid)
        await self.log_in(self.other_port, people[0])
        await self.reports.wait(20)
        self.first.send(signal.SIGKILL)
        await self.first.ended()
        self.end_lease_of(people[1])
        await self.reports.wait(39)
        assert sorted(self.reports.items[20:]) == [
            ("DISCONNECTED", person) for person in sorted(people[1:])
        ]
        await until(lambda: self.main_bus.presence.online("user"), [people[0]].__eq__)

    async def test_clients_of_a_frozen_gateway_return_when_it_wakes(self) -> None:
        await self.prepare()
        people = sorted(str(uuid4()) for _ in range(5))
        clients = [await self.log_in(self.port, uuid) for uuid in people]
        await self.reports.wait(5)
        self.first.send(signal.SIGSTOP)
        self.end_lease_of(people[0])
        await self.reports.wait(10)
        assert sorted(self.reports.items[5:]) == [("DISCONNECTED", person) for person in people]
        assert await self.main_bus.presence.online("user") == []
        self.first.send(signal.SIGCONT)
        await self.reports.wait(15)
        assert sorted(self.reports.items[10:]) == [("CONNECTED", person) for person in people]
        assert await self.main_bus.presence.online("user") == people
        assert not any(client.closed.called for client in clients)
        clients[0].sendClose()
        assert (await self.reports.wait(16))[-1] == ("DISCONNECTED", people[0])
