"""The user manager: registry, procedures and events, in several processes."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from opentera_twisted import (
    AlreadyServed,
    Bus,
    CommandFailed,
    Delivery,
    ProcedureFailed,
    Procedures,
)
from opentera_twisted.gateway.presence import LocalPresence, presence_event
from opentera_twisted.holders import GATEWAYS, HELD, REPORTS
from opentera_twisted.link import back_off
from opentera_twisted.messages import (
    DeviceEvent,
    JoinSessionEvent,
    JoinSessionReplyEvent,
    LeaveSessionEvent,
    RPCMessage,
    StopSessionEvent,
    TeraEvent,
    UserEvent,
)
from opentera_twisted.messages.envelopes import module_message, unpack_all
from opentera_twisted.rpc import ProcedureServer
from opentera_twisted.sessions import Identity
from opentera_twisted.testing import MemoryBus
from opentera_twisted.topics import KINDS, REPLY_CHANNELS, USER_MANAGER_MODULE, Kind, module_rpc
from opentera_twisted.user_manager import UserManager, registry, service
from opentera_twisted.user_manager.changes import (
    EVENTS,
    MOST_CHANGES,
    Change,
    NotAMessage,
    changes,
)
from tests.faults.proxy import Proxy
from tests.helpers.existing import ExistingServer
from tests.helpers.support import (
    DATA,
    GATEWAY,
    UUID,
    Collector,
    RedisTestCase,
    caught_up,
    log_of,
    message,
    quick_retries,
    start_server,
    until,
)

GOLDEN = json.loads((DATA / "golden.json").read_text())["vectors"]
SESSION, OTHER_SESSION = str(uuid4()), str(uuid4())


def sent(*events: Message) -> bytes:
    """Return the bytes of a message to the module."""
    return module_message("test", REPORTS, events).SerializeToString()


def presence(kind: Kind, uuid: str, *, connected: bool, name: str = "N") -> bytes:
    """Return the bytes of a gateway's report."""
    return sent(presence_event(Identity(kind, uuid, name), connected=connected))


def test_recorded_reports_change_the_online_state() -> None:
    for name, what in (("user connected", "online"), ("user disconnected", "offline")):
        (vector,) = (recorded for recorded in GOLDEN if recorded["name"] == name)
        (change,) = changes(bytes.fromhex(vector["hex"]))
        assert (change.what, change.kind, change.uuid) == (what, "user", UUID)


def test_a_source_without_a_dot_is_accepted() -> None:
    joined = JoinSessionEvent(session_uuid=SESSION, session_users=[UUID])
    message = module_message("serviceVideoRehabService", REPORTS, [joined])
    (change,) = changes(message.SerializeToString())
    assert (change.what, change.uuid) == ("join", UUID)


def test_session_events_change_their_participants() -> None:
    uuids = [str(uuid4()) for _ in range(4)]
    invitation = JoinSessionEvent(
        session_uuid=SESSION,
        session_users=uuids[:2],
        session_participants=[uuids[2]],
        session_devices=[uuids[3]],
    )
    assert changes(sent(invitation)) == [
        Change("join", "user", uuids[0], SESSION),
        Change("join", "user", uuids[1], SESSION),
        Change("join", "participant", uuids[2], SESSION),
        Change("join", "device", uuids[3], SESSION),
    ]
    leaving = LeaveSessionEvent(session_uuid=SESSION, leaving_devices=uuids[:1])
    assert changes(sent(leaving)) == [Change("leave", "device", uuids[0], SESSION)]
    assert changes(sent(StopSessionEvent(session_uuid=SESSION))) == [Change("stop", "", SESSION)]
    for reply, expected in (
        (JoinSessionReplyEvent.REPLY_ACCEPTED, []),
        (JoinSessionReplyEvent.REPLY_DENIED, [Change("leave", "participant", UUID, SESSION)]),
        (JoinSessionReplyEvent.REPLY_BUSY, [Change("leave", "participant", UUID, SESSION)]),
    ):
        answer = JoinSessionReplyEvent(
            session_uuid=SESSION, participant_uuid=UUID, join_reply=reply
        )
        assert changes(sent(answer)) == expected


def test_other_events_are_ignored_and_large_ones_refused() -> None:
    assert changes(sent(UserEvent(user_uuid=UUID, type=UserEvent.USER_UPDATED))) == []
    assert changes(b"") == []
    with pytest.raises(NotAMessage):
        changes(sent(JoinSessionEvent(session_users=[UUID] * (MOST_CHANGES + 1))))


def refused_or_understood(payload: bytes) -> bool:
    try:
        return all(isinstance(change, Change) for change in changes(payload))
    except NotAMessage:
        return True


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_parsed(payload: bytes) -> None:
    assert refused_or_understood(payload)


@given(
    st.sampled_from([recorded for recorded in GOLDEN if "hex" in recorded]),
    st.integers(0, 300),
    st.integers(0, 255),
)
def test_mutated_recordings_are_refused_or_parsed(vector: Any, at: int, byte: int) -> None:
    payload = bytearray.fromhex(vector["hex"])
    payload[at % len(payload)] = byte
    assert refused_or_understood(bytes(payload))


class UserManagerTestCase(RedisTestCase):
    redis_user = GATEWAY

    async def manager(self, bus: Bus) -> UserManager:
        manager = UserManager(bus)
        manager.startService()
        self.addCleanup(manager.stopService)
        await manager.serving()
        return manager

    async def observe(self, bus: Bus) -> Collector:
        """Collect ``(type, uuid)`` of each event."""
        events = Collector()

        def received(delivery: Delivery) -> None:
            envelope = TeraEvent.FromString(delivery.payload)
            assert envelope.header.topic == EVENTS
            assert envelope.header.time > 1.7e9
            event: Any
            for event in unpack_all(envelope.events):
                kind = type(event).__name__.removesuffix("Event").lower()
                events((event.EventType.Name(event.type), getattr(event, f"{kind}_uuid")))

        await bus.subscribe(EVENTS, received)
        return events

    async def call(self, bus: Bus, name: str, *arguments: Any) -> Any:
        return await bus.call(USER_MANAGER_MODULE, name, *arguments)

    def send(self, *payloads: bytes) -> None:
        for payload in payloads:
            self.redis.publish(REPORTS, payload)

    async def has(self, bus: Bus, name: str, expected: Any) -> None:
        await until(lambda: self.call(bus, name), lambda value: bool(value == expected))


class RegistryTests(UserManagerTestCase):
    async def test_events_of_each_kind_are_published_in_order(self) -> None:
        bus = await self.bus()
        await self.manager(bus)
        raw = Collector()
        await bus.subscribe(EVENTS, lambda delivery: raw(TeraEvent.FromString(delivery.payload)))
        for kind in KINDS:
            for connected in (True, True, False, False):
                self.send(presence(kind, UUID, connected=connected, name="Zoé"))
            published = await raw.wait(2)
            for envelope, connected in zip(published, (True, False), strict=True):
                (event,) = unpack_all(envelope.events)
                assert event == presence_event(Identity(kind, UUID, "Zoé"), connected=connected)
            raw.items.clear()

    async def test_the_procedures_list_online_and_busy_clients(self) -> None:
        bus = await self.bus()
        await self.manager(bus)
        events = await self.observe(bus)
        online, busy = sorted(str(uuid4()) for _ in range(2))
        for kind, plural in (("user", "users"), ("participant", "participants")):
            invited: Any = {f"session_{plural}": [online, busy]}
            self.send(
                presence(kind, online, connected=True),  # type: ignore[arg-type]
                sent(JoinSessionEvent(session_uuid=SESSION, **invited)),
                # They are already busy and stay so.
                sent(JoinSessionEvent(session_uuid=OTHER_SESSION, **invited)),
            )
            await self.has(bus, f"busy_{plural}", {online: SESSION, busy: SESSION})
            assert await self.call(bus, f"online_{plural}") == [online]
            assert await self.call(bus, f"status_{plural}") == {
                online: {"online": True, "busy": True},
                busy: {"online": False, "busy": True},
            }
            name = kind.upper()
            assert await events.wait(3) == [
                (f"{name}_CONNECTED", online),
                (f"{name}_JOINED_SESSION", online),
                (f"{name}_JOINED_SESSION", busy),
            ]
            events.items.clear()

    async def test_busy_ends_on_leaving_refusing_or_session_end(self) -> None:
        bus = await self.bus()
        await self.manager(bus)
        events = await self.observe(bus)
        one, two, three, four = (str(uuid4()) for _ in range(4))
        refused = JoinSessionReplyEvent(
            session_uuid=SESSION, user_uuid=two, join_reply=JoinSessionReplyEvent.REPLY_DENIED
        )
        wrong = JoinSessionReplyEvent(session_uuid=OTHER_SESSION, user_uuid=three)
        self.send(
            presence("user", one, connected=True),
            sent(JoinSessionEvent(session_uuid=SESSION, session_users=[one, two, three])),
            sent(JoinSessionEvent(session_uuid=OTHER_SESSION, session_devices=[four])),
            presence("user", one, connected=False),
            sent(LeaveSessionEvent(session_uuid=OTHER_SESSION, leaving_users=[three])),
            sent(wrong, refused),
        )
        # Going offline and events of another session end nothing.
        await self.has(bus, "busy_users", {one: SESSION, three: SESSION})
        self.send(sent(LeaveSessionEvent(session_uuid=SESSION, leaving_users=[one, two])))
        await self.has(bus, "busy_users", {three: SESSION})
        self.send(sent(StopSessionEvent(session_uuid=SESSION)))
        await self.has(bus, "busy_users", {})
        assert await self.call(bus, "busy_devices") == {four: OTHER_SESSION}
        left = [uuid for what, uuid in events.items if what == "USER_LEFT_SESSION"]
        assert left == [two, one, three]

    async def test_online_devices_report_their_status(self) -> None:
        bus = await self.bus()
        await self.manager(bus)
        statuses = Collector()

        def received(delivery: Delivery) -> None:
            for event in unpack_all(TeraEvent.FromString(delivery.payload).events):
                assert isinstance(event, DeviceEvent)
                if event.type == DeviceEvent.DEVICE_STATUS_CHANGED:
                    statuses((event.device_uuid, json.loads(event.device_status)))

        await bus.subscribe(EVENTS, received)
        arguments = (UUID, '{"charge": "Zoé"}', 1700000000.5)
        assert await self.call(bus, "update_device_status", *arguments) is None
        self.send(presence("device", UUID, connected=True))
        await self.has(bus, "online_devices", [UUID])
        assert await self.call(bus, "status_devices") == {
            UUID: {"online": True, "busy": False, "status": None}
        }
        status = {"status": arguments[1], "timestamp": arguments[2]}
        answer = await self.call(bus, "update_device_status", *arguments)
        assert answer == {"uuid": UUID, **status}
        assert await statuses.wait(1) == [(UUID, status)]
        assert (await self.call(bus, "status_devices"))[UUID]["status"] == status
        with pytest.raises(ProcedureFailed, match="finite"):
            await self.call(bus, "update_device_status", UUID, "x", float("nan"))
        self.send(presence("device", UUID, connected=False))
        await self.has(bus, "status_devices", {})
        self.send(presence("device", UUID, connected=True))
        await self.has(bus, "online_devices", [UUID])
        assert (await self.call(bus, "status_devices"))[UUID]["status"] is None

    async def test_malformed_messages_are_dropped_and_counted(self) -> None:
        bus = await self.bus()
        manager = await self.manager(bus)
        self.send(
            b"\xff",
            presence("user", "no uuid", connected=True),
            presence("user", "%s'\"]]" * 10, connected=False),
            sent(JoinSessionEvent(session_uuid="x", session_users=[UUID])),
            sent(JoinSessionEvent(session_uuid=SESSION, session_users=[UUID, "", "user"])),
            presence("user", UUID, connected=True, name="\x00" * 1000),
        )
        await self.has(bus, "online_users", [UUID])
        assert await self.call(bus, "busy_users") == {UUID: SESSION}
        assert manager.malformed == manager.junk == 5


class SeveralTests(UserManagerTestCase):
    async def test_messages_are_applied_and_calls_answered_once(self) -> None:
        buses = [await self.bus() for _ in range(3)]
        managers = [await self.manager(bus) for bus in buses]
        events = await self.observe(buses[0])
        chance = random.Random(2)
        people = [str(uuid4()) for _ in range(20)]
        online: set[str] = set()
        expected: Counter[str] = Counter()
        for _ in range(500):
            who = chance.choice(people)
            online ^= {who}
            expected[who] += 1
            self.send(presence("user", who, connected=who in online))
        await events.wait(500)
        await self.has(buses[1], "online_users", sorted(online))
        assert Counter(uuid for _, uuid in events.items) == expected
        reply_to = f"{REPLY_CHANNELS}{uuid4()}"
        replies = self.subscribed(reply_to)
        request = RPCMessage(method="online_users", reply_to=reply_to, timestamp=time.time())
        self.redis.publish(module_rpc(USER_MANAGER_MODULE), request.SerializeToString())
        # All three have received it when they answer a later request.
        module = f"module.{USER_MANAGER_MODULE}"
        assert len(await buses[0].call_all(module, "opentera.ping", timeout=60)) == 3
        for manager in managers:
            await manager.stopService()
        self.redis.publish(reply_to, b"the last")
        assert json.loads(await message(replies))["return_value"] == sorted(online)
        assert await message(replies) == b"the last"

    async def test_the_same_bytes_sent_again_count_again(self) -> None:
        bus = await self.bus()
        came, went = (presence("user", UUID, connected=connected) for connected in (True, False))
        first = await self.manager(bus)
        self.send(came, went, came, went, came)
        await self.has(bus, "online_users", [UUID])
        await first.stopService()
        await self.manager(bus)
        self.send(went)
        await self.has(bus, "online_users", [])
        self.send(came)
        await self.has(bus, "online_users", [UUID])

    async def test_losing_one_process_loses_nothing(self) -> None:
        buses = [await self.bus() for _ in range(2)]
        managers = [await self.manager(bus) for bus in buses]
        observer = await self.bus()
        events = await self.observe(observer)
        people = sorted(str(uuid4()) for _ in range(300))
        for number, who in enumerate(people):
            self.send(presence("user", who, connected=True))
            if number == 100:
                await managers[0].stopService()
                await buses[0].stopService()
        await self.has(observer, "online_users", people)
        assert len(await events.wait(300)) == 300

    async def test_a_lagging_process_repeats_and_misses_nothing(self) -> None:
        proxy = Proxy(self.server.port)
        self.addCleanup(proxy.stop)
        slow, fast = await self.bus(f"redis://127.0.0.1:{proxy.port}"), await self.bus()
        await self.manager(slow)
        events = await self.observe(fast)
        people = sorted(str(uuid4()) for _ in range(50))
        proxy.delay = 0.2
        await self.manager(fast)
        self.send(*(presence("user", who, connected=True) for who in people))
        self.send(*(presence("user", who, connected=False) for who in people))
        await events.wait(100)
        proxy.delay = 0
        self.send(presence("user", UUID, connected=True))
        await self.has(slow, "online_users", [UUID])
        await caught_up(fast)
        assert Counter(what for what, _ in events.items) == {
            "USER_CONNECTED": 51,
            "USER_DISCONNECTED": 50,
        }

    async def test_the_log_is_trimmed_and_read_from_an_offset(self) -> None:
        bus = await self.bus()
        log = registry.Registry(bus.link)
        cursor = await log.end()
        leave = [Change("leave", "user", UUID, SESSION)]
        join = [Change("join", "user", UUID, SESSION)]
        first = await log.apply(cursor, [(b"a", join), (b"b", leave), (b"a", join)])
        # A lagging process finds everything, including the second "a".
        assert await log.apply(cursor, [(b"a", join), (b"b", leave), (b"a", join)]) == first
        assert await log.busy("user") == {UUID: SESSION}
        assert self.redis.llen(registry.LOG) == 3
        filler = [(b"%d" % number, leave[:0]) for number in range(registry.LOG_LENGTH)]
        for start in range(0, len(filler), 5000):
            last = await log.apply(first, filler[start : start + 5000])
        assert self.redis.llen(registry.LOG) == registry.LOG_LENGTH
        assert last == first + registry.LOG_LENGTH == await log.end()
        # An unknown offset, as after data loss in Redis, means the beginning.
        for nowhere in (0, last + 1, last * 2):
            assert await log.apply(nowhere, [(b"0", join)]) == first + 1


FOREIGN: Any = {b"\xff\xfe": b"gateway", b"no uuid": b"gateway", b"": b"\xff", b"a b": b"{"}
"""Fields of another program in a hash of the registry."""


class ForeignFieldTests(UserManagerTestCase):
    async def test_a_comparison_ignores_foreign_fields(self) -> None:
        bus = await self.bus()
        here = LocalPresence(bus.link)
        here.start()
        self.addCleanup(here.give_up)
        early, ghost = str(uuid4()), str(uuid4())
        here.opened(Identity("user", early))
        await here.reported()
        for kind in KINDS:
            self.redis.hset(f"{registry.ONLINE}{kind}", mapping=FOREIGN)
        self.redis.hset(f"{registry.ONLINE}user", ghost, "gateway")
        other = f"{HELD}{uuid4()}"
        self.redis.hset(other, mapping={b"user.\xff": b"x", b"\xff.x": b"x", b"user.a b": b"x"})
        self.redis.zadd(GATEWAYS, {other.removeprefix(HELD): time.time() * 1000 + 3_600_000})
        log = registry.Registry(bus.link)
        assert await log.compare(await bus.presence.everyone())
        assert await log.online("user") == [early]
        assert await bus.presence.everyone() == {"user": [early], "participant": [], "device": []}

    async def test_the_procedures_leave_out_foreign_fields(self) -> None:
        bus = await self.bus()
        await self.manager(bus)
        self.send(presence("device", UUID, connected=True))
        await self.has(bus, "online_devices", [UUID])
        await self.call(bus, "update_device_status", UUID, "ok", 1.5)
        for name in ("online.device", "busy.device", "device_status"):
            self.redis.hset(f"opentera.user_manager.{name}", mapping=FOREIGN)
        others = [str(uuid4()) for _ in range(2)]
        values = (b"\xff", b"[" * 100_000)
        self.redis.hset(registry.DEVICE_STATUS, mapping=dict(zip(others, values, strict=True)))
        assert await self.call(bus, "online_devices") == [UUID]
        assert await self.call(bus, "busy_devices") == {}
        status = {"status": "ok", "timestamp": 1.5}
        assert await self.call(bus, "status_devices") == {
            UUID: {"online": True, "busy": False, "status": status}
        }

    async def test_a_foreign_start_of_the_log_is_replaced(self) -> None:
        bus = await self.bus()
        self.redis.set(registry.LOG_START, b"\xff")
        await self.manager(bus)
        self.send(presence("user", UUID, connected=True))
        await self.has(bus, "online_users", [UUID])


class StartingTests(UserManagerTestCase):
    async def test_a_start_finds_online_clients_and_removes_ghosts(self) -> None:
        bus = await self.bus()
        here = LocalPresence(bus.link)
        here.start()
        self.addCleanup(here.give_up)
        early, ghost, foreign = (str(uuid4()) for _ in range(3))
        here.opened(Identity("user", early))
        await here.reported()
        self.redis.hset(f"{registry.ONLINE}user", mapping={ghost: "gateway", foreign: ""})
        events = await self.observe(bus)
        await self.manager(bus)
        assert await self.call(bus, "online_users") == sorted((early, foreign))
        assert sorted(events.items) == [("USER_CONNECTED", early), ("USER_DISCONNECTED", ghost)]

    async def test_a_reconnect_corrects_missed_reports(self) -> None:
        self.patch(back_off, "FIRST_DELAY", 0.5)
        proxy = Proxy(self.server.port)
        self.addCleanup(proxy.stop)
        far, near = await self.bus(f"redis://127.0.0.1:{proxy.port}"), await self.bus()
        await self.manager(far)
        here = LocalPresence(near.link)
        here.start()
        self.addCleanup(here.give_up)
        goes, comes = Identity("user", str(uuid4())), Identity("user", str(uuid4()))
        here.opened(goes)
        await self.has(near, "online_users", [goes.uuid])
        proxy.cut()
        here.closed(goes)
        here.opened(comes)
        await here.reported()
        await far.connected()
        await self.has(near, "online_users", [comes.uuid])

    async def test_a_vanished_registry_is_restored(self) -> None:
        bus = await self.bus()
        manager = await self.manager(bus)
        here = LocalPresence(bus.link)
        here.start()
        self.addCleanup(here.give_up)
        uuid = str(uuid4())
        here.opened(Identity("user", uuid))
        await self.has(bus, "online_users", [uuid])
        compared = Collector()
        compare = manager._registry.compare

        async def counted(everyone: dict[Kind, list[str]]) -> bool:
            compared()
            return await compare(everyone)

        self.patch(manager._registry, "compare", counted)
        for _ in range(2):
            await manager._check_size()
            assert not compared.items
        self.redis.delete(f"{registry.ONLINE}user")  # as an eviction would
        await manager._check_size()
        await self.has(bus, "online_users", [uuid])
        # The same holds for one that vanishes before the first check.
        other = str(uuid4())
        here.opened(Identity("user", other))
        await self.has(bus, "online_users", sorted([uuid, other]))
        here.closed(Identity("user", uuid))
        await self.has(bus, "online_users", [other])
        manager._checking.stop()
        compared.items.clear()
        await manager._check_size()
        assert not compared.items
        here.opened(Identity("user", uuid))
        await self.has(bus, "online_users", sorted([uuid, other]))
        self.redis.hdel(f"{registry.ONLINE}user", uuid)
        await manager._check_size()
        await self.has(bus, "online_users", sorted([uuid, other]))

    async def test_a_refused_registry_check_is_retried(self) -> None:
        bus = await self.bus()
        manager = await self.manager(bus)
        self.redis.set(f"{registry.ONLINE}user", "a string")
        await manager._check_size()
        with pytest.raises(CommandFailed, match="WRONGTYPE"):
            await manager._registry.status("user")
        assert manager._checking.running

    async def test_an_empty_redis_gets_all_clients_again(self) -> None:
        server = start_server(self)
        bus = await self.bus(server.url)
        await self.manager(bus)
        here = LocalPresence(bus.link)
        here.start()
        self.addCleanup(here.give_up)
        people = sorted(str(uuid4()) for _ in range(3))
        for uuid in people:
            here.opened(Identity("user", uuid))
        await self.has(bus, "online_users", people)
        await deferToThread(server.stop)
        while bus.link.is_ready:
            await deferLater(reactor, 0)
        await deferToThread(server.start)
        await bus.connected()
        await self.has(bus, "online_users", people)

    async def test_a_second_server_of_the_module_is_refused(self) -> None:
        self.patch(service, "CHECK_TIMEOUTS", (0.5, 0.5))
        bus = await self.bus()
        topic = f"module.{USER_MANAGER_MODULE}.rpc"
        server = ExistingServer(self.redis, topic, online_users=list)
        self.addCleanup(server.close)
        manager = UserManager(bus)
        manager.startService()
        with pytest.raises(AlreadyServed, match=r"already serves .*UserManagerModule\.rpc"):
            await manager.serving()
        assert self.redis.pubsub_numsub(REPORTS)[0][1] == 0
        await manager.stopService()

    async def test_another_program_describing_itself_is_refused(self) -> None:
        self.patch(service, "CHECK_TIMEOUTS", (0.5, 0.5))
        bus = await self.bus()
        other = Procedures(version="1.0")
        other.expose(name="online_users")(lambda: [])  # noqa: PIE807 (it has no arguments)
        await (await self.bus()).serve_module(USER_MANAGER_MODULE, other)
        manager = UserManager(bus)
        manager.startService()
        with pytest.raises(AlreadyServed):
            await manager.serving()
        await manager.stopService()

    async def test_a_mere_subscriber_is_no_server(self) -> None:
        self.patch(service, "CHECK_TIMEOUTS", (0.2, 0.2))
        bus = await self.bus()
        await (await self.bus(self.server.url)).subscribe_pattern("*", len)
        first = await self.manager(bus)
        second = await self.manager(await self.bus())
        assert second is not first
        assert await self.call(bus, "online_users") == []

    def test_a_start_during_a_stop_waits_for_its_end(self) -> None:
        bus = MemoryBus()
        manager = UserManager(bus)
        begun = Collector()

        async def begin() -> None:
            begun()

        self.patch(manager, "_start", begin)
        manager.startService()
        hanging: Deferred[None] = Deferred()
        manager._server = cast("ProcedureServer", SimpleNamespace(stop=lambda: hanging))
        stopped = [manager.stopService() for _ in range(2)]
        manager.startService()
        assert len(begun.items) == 1
        for waiting in stopped:
            self.assertNoResult(waiting)
        hanging.callback(None)
        for waiting in stopped:
            self.successResultOf(waiting)
        assert len(begun.items) == 2
        self.successResultOf(manager.stopService())

    async def test_a_module_started_during_its_stop_serves(self) -> None:
        bus = await self.bus()
        manager = await self.manager(bus)
        stopped = manager.stopService()
        manager.startService()
        serving = manager.serving()
        await stopped
        await serving
        self.send(presence("user", UUID, connected=True))
        await self.has(bus, "online_users", [UUID])
        manager.startService()  # it is running
        await self.has(bus, "online_users", [UUID])

    def test_a_cancelled_stop_ends_the_work(self) -> None:
        bus = MemoryBus()  # not started
        manager = UserManager(bus)
        manager.startService()
        manager._compare()
        subscription = manager._subscription = bus.pubsub.attach(REPORTS, manager._received)
        revocation = bus.pubsub.attach("revocations", manager._revoked)
        manager._revocations = [revocation]
        server: Any = SimpleNamespace(stop=Deferred)  # of a procedure that hangs
        manager._server = server
        stopping = manager.stopService()
        stopping.addErrback(lambda failure: failure.trap(CancelledError))
        stopping.cancel()  # ends only the wait
        bus.clock.advance(service.STOP_TIMEOUT)
        assert manager._working is None
        assert not subscription.active
        assert not revocation.active

    async def test_the_module_can_be_stopped_anytime_and_restarted(self) -> None:
        bus = await self.bus()
        manager = UserManager(bus)
        for _ in range(3):
            manager.startService()
            await manager.stopService()
        manager.startService()
        await manager.serving()
        self.send(presence("user", UUID, connected=True))
        await manager.stopService()  # received messages are applied
        assert self.redis.hkeys(f"{registry.ONLINE}user") == [UUID.encode()]
        with pytest.raises(Exception, match="nobody listens"):
            await self.call(bus, "online_users")

    async def test_a_refusal_of_redis_is_logged_once_and_repaired(self) -> None:
        retries = quick_retries(self)
        bus = await self.bus()
        await self.manager(bus)
        log = log_of(self)
        self.redis.set(f"{registry.ONLINE}user", "a string")
        self.send(presence("user", UUID, connected=True))
        await retries.wait(5)
        assert len([text for text in log.items if "WRONGTYPE" in text]) == 1
        events = await self.observe(bus)
        self.redis.delete(f"{registry.ONLINE}user")
        assert await events.wait(1) == [("USER_CONNECTED", UUID)]

    async def test_excess_queued_messages_drop_the_oldest(self) -> None:
        self.patch(service, "MAX_WAITING", 10)
        retries = quick_retries(self)
        bus = await self.bus()
        manager = await self.manager(bus)
        self.redis.set(f"{registry.ONLINE}user", "a string")
        people = [str(uuid4()) for _ in range(30)]
        self.send(*(presence("user", who, connected=True) for who in people))
        await until(lambda: deferLater(reactor, 0, lambda: manager.lost), lambda lost: lost == 20)
        # Messages before the dropped ones must be refused too, before Redis is repaired.
        await retries.wait(len(retries.items) + 1)
        self.redis.delete(f"{registry.ONLINE}user")
        await gatherResults([manager._applied()])
        assert await self.call(bus, "online_users") == sorted(people[20:])
