"""The gateway in this process, with real websockets and a real server."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, fail, gatherResults
from twisted.internet.threads import deferToThread

from opentera_twisted import Bus, Identity, SessionKeys, topics
from opentera_twisted.gateway import Gateway, GatewayLimits, protocol
from opentera_twisted.messages import (
    DatabaseEvent,
    LogEvent,
    ServerCommand,
    StopSessionEvent,
    TeraMessage,
    TeraModuleMessage,
    UserEvent,
)
from opentera_twisted.messages.envelopes import pack, tera_event, unpack
from opentera_twisted.testing import MemoryBus
from opentera_twisted.variables import Secret
from tests.helpers.support import (
    DATA,
    GATEWAY,
    GUARD,
    UUID,
    RedisTestCase,
    log_of,
    message,
    start_server,
    turn,
    until,
)
from tests.helpers.websockets import (
    HandshakeFailed,
    WebSocket,
    connect,
    connect_bytes,
    drop_bytes,
    handshake,
)

GOLDEN = json.loads((DATA / "golden.json").read_text())["vectors"]
REPORTS = "module.TeraServer.UserManagerModule.messages"
EXISTING_KEY = "0123456789abcdef" * 8


class GatewayTestCase(RedisTestCase):
    """Start a gateway on a free port."""

    redis_user = GATEWAY

    async def gateway(self, bus: Bus | None = None, **options: Any) -> int:
        bus = bus or await self.bus()
        self.patch(protocol, "PONG_TIMEOUT", GUARD)  # some clients do not read
        self.gate = Gateway(bus, **options)
        self.gate.startService()
        port: Any = reactor.listenTCP(0, self.gate.factory, interface="127.0.0.1")
        # Clean-ups run backwards: drop clients, stop listening, then the gateway, then the bus.
        self.addCleanup(self.gate.stopService)
        self.addCleanup(port.stopListening)
        self.addCleanup(drop_bytes)
        self.keys = SessionKeys(bus)
        number: int = port.getHost().port
        return number

    async def log_in(self, port: int, kind: topics.Kind = "user", uuid: str = UUID) -> WebSocket:
        key = await self.keys.issue(kind, uuid)
        return await connect(port, f"/wss/{kind}?id={key}")


class LoginTests(GatewayTestCase):
    async def test_each_kind_logs_in_and_is_reported(self) -> None:
        port = await self.gateway()
        reports = self.subscribed(REPORTS)
        for kind, number in (("user", 1), ("participant", 1), ("device", 1)):
            key = await self.keys.issue(kind, UUID, name="Zoé")  # type: ignore[arg-type]
            client = await connect(port, f"/wss/{kind}?id={key}")
            for what in ("CONNECTED", "DISCONNECTED"):
                report = TeraModuleMessage.FromString(await message(reports))
                assert report.head.source == f"websocket.{kind}.{UUID}"
                assert report.head.dest == REPORTS
                event: Any
                (event,) = map(unpack, report.data)
                name = f"{kind}_fullname" if kind == "user" else f"{kind}_name"
                assert getattr(event, f"{kind}_uuid") == UUID
                assert getattr(event, name) == "Zoé"
                assert event.EventType.Name(event.type) == f"{kind.upper()}_{what}"
                if what == "CONNECTED":
                    assert self.gate.clients[kind] == number
                    client.sendClose()
                    await client.closed
            assert self.gate.clients[kind] == 0

    async def test_a_report_has_the_bytes_of_existing_gateways(self) -> None:
        port = await self.gateway()
        reports = self.subscribed(REPORTS)
        for name in ("user connected", "user disconnected"):
            (vector,) = (recorded for recorded in GOLDEN if recorded["name"] == name)
            recorded = TeraModuleMessage.FromString(bytes.fromhex(vector["hex"]))
            if name == "user connected":
                key = await self.keys.issue("user", UUID, name="Full Name")
                client = await connect(port, f"/wss/user?id={key}")
            else:
                client.dropConnection(abort=True)
            made = TeraModuleMessage.FromString(await message(reports))
            made.head.time = recorded.head.time
            assert made.SerializeToString() == recorded.SerializeToString()

    async def test_events_are_delivered_from_the_report_on(self) -> None:
        port = await self.gateway()
        reports = self.subscribed(REPORTS)
        client = await self.log_in(port)
        await message(reports)
        assert self.redis.publish(*self.event_for(UUID)) == 1
        assert (await client.event(0))["events"][0]["userFullname"] == "x"

    def event_for(self, uuid: str) -> tuple[str, bytes]:
        topic = topics.websocket_events("user", uuid)
        return topic, tera_event(topic, [UserEvent(user_fullname="x")]).SerializeToString()

    async def test_a_key_of_an_existing_server_logs_in_once(self) -> None:
        port = await self.gateway()
        self.redis.set(EXISTING_KEY, UUID, ex=60)
        await connect(port, f"/wss/device?id={EXISTING_KEY}")
        with pytest.raises(HandshakeFailed, match="403"):
            await connect(port, f"/wss/device?id={EXISTING_KEY}")

    async def test_keys_of_existing_servers_can_be_refused(self) -> None:
        port = await self.gateway(require_bound_keys=True)
        self.redis.set(EXISTING_KEY, UUID, ex=60)
        with pytest.raises(HandshakeFailed, match="403"):
            await connect(port, f"/wss/device?id={EXISTING_KEY}")
        assert self.redis.exists(EXISTING_KEY)

    async def test_refusals_are_bare_statuses(self) -> None:
        port = await self.gateway()
        log = log_of(self)
        key = (await self.keys.issue("user", UUID)).encode()
        plain = b"GET /wss/user?id=%b HTTP/1.1\r\nHost: x\r\n\r\n" % key
        for request, status in (
            (plain, b"426 Upgrade Required"),
            (handshake(b"/wss/admin?id=" + key), b"404 Not Found"),
            (handshake(b"/?id=" + key), b"404 Not Found"),
            (handshake(b"/wss/participant?id=" + key), b"403 Forbidden"),
            (handshake(b"/wss/user"), b"403 Forbidden"),
            (handshake(b"/wss/user?id="), b"403 Forbidden"),
            (handshake(b"/wss/user?id=%b&id=%b" % (key, key)), b"403 Forbidden"),
            (handshake(b"/wss/user?id=%b&id=" % key), b"403 Forbidden"),
            (handshake(b"/wss/user?id=%b&%b" % (key, b"x=&" * 200)), b"403 Forbidden"),
            (handshake(b"/wss/user?id=%ff%fe"), b"403 Forbidden"),
            (handshake(b"/wss/user?id=x#y"), b"400 Bad Request"),
            (handshake(b"/wss/user?id=x y"), b"400 Bad Request"),
            (handshake(b"/wss/user?id=" + b"x" * 5000), b"403 Forbidden"),
            (handshake(b"/wss/user?id=" + b"x" * 20_000), b"431 Request Header Fields Too Large"),
            (b"GET /" + b"x" * 20_000, b"431 Request Header Fields Too Large"),
            (b"POST /wss/user HTTP/1.1\r\nHost: x\r\n\r\n", b"405 Method Not Allowed"),
            (b"\xff\xfe\r\n\r\n", b"400 Bad Request"),
        ):
            client = await connect_bytes(port)
            client.send(request)
            answer = await client.closed
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 %b\r\n" % status), (request[:80], answer)
            assert body == b""
            assert key not in answer
            refusal = f"login from 127.0.0.1 over ws refused with {status[:3].decode()}"
            # The log has one line per reason.
            assert any(refusal in text for text in log.items), refusal
        assert not any(key.decode() in text for text in log.items)
        # None of these consumed the key.
        await connect(port, f"/wss/user?id={key.decode()}")

    async def test_other_keys_of_redis_are_neither_accepted_nor_touched(self) -> None:
        port = await self.gateway()
        bound = "user." + "k" * 43
        for name in (*Secret, "service.A", "x" * 5000, "a\r\nb", "a\x00b"):
            self.redis.set(name, UUID)
        self.redis.rpush(EXISTING_KEY, UUID)
        self.redis.expire(EXISTING_KEY, 60)
        self.redis.set(bound, UUID)
        stored: Any = self.redis.keys()
        names = [name.decode() for name in stored]
        before = {name: self.redis.dump(name) for name in names}
        for name in names:
            client = await connect_bytes(port)
            quoted = "".join(f"%{byte:02x}" for byte in name.encode()).encode()
            client.send(handshake(b"/wss/user?id=" + quoted))
            assert (await client.closed).startswith((b"HTTP/1.1 403 ", b"HTTP/1.1 431 "))
        assert {name: self.redis.dump(name) for name in names} == before

    async def test_one_of_many_logins_with_one_key_succeeds(self) -> None:
        port = await self.gateway()
        key = await self.keys.issue("user", UUID)
        attempts = [connect(port, f"/wss/user?id={key}") for _ in range(50)]
        results = await gatherResults(
            [
                attempt.addErrback(lambda failure: failure.check(HandshakeFailed))
                for attempt in attempts
            ]
        )
        assert sum(isinstance(result, WebSocket) for result in results) == 1

    async def test_no_key_reaches_the_log(self) -> None:
        port = await self.gateway()
        log = log_of(self)
        good = await self.keys.issue("user", UUID)
        await connect(port, f"/wss/user?id={good}")
        for target in (b"/wss/user?id=%b", b"/wss/user?id=%b x", b"/wss/user?id=%b#f", b"/?%b"):
            client = await connect_bytes(port)
            client.send(handshake(target % good.encode()))
            await client.closed
        text = "\n".join(log.items)
        assert "refused with 403" in text
        assert good.partition(".")[2] not in text

    async def test_an_unreachable_redis_means_503_not_403(self) -> None:
        server = start_server(self)
        bus = await self.bus(server.url)
        port = await self.gateway(bus)
        client = await self.log_in(port)
        key = await self.keys.issue("user", str(uuid4()))
        with server.client() as other:
            other.replicaof("127.0.0.1", 1)
            with pytest.raises(HandshakeFailed, match="503"):
                await connect(port, f"/wss/user?id={key}")
            # Its data may be old: the key may be good at the primary.
            with pytest.raises(HandshakeFailed, match="503"):
                await connect(port, f"/wss/user?id=user.{'k' * 43}")
            other.replicaof("NO", "ONE")
        await connect(port, f"/wss/user?id={key}")
        await deferToThread(server.stop)
        key = "user." + "k" * 43
        while bus.link.is_ready:
            await turn()
        with pytest.raises(HandshakeFailed, match="503"):
            await connect(port, f"/wss/user?id={key}")
        await deferToThread(server.start)
        await bus.connected()
        # The websocket is still open, and its events arrive again.
        with server.client() as other:
            other.publish(*self.event_for(UUID))
        assert (await client.event(0))["events"][0]["userFullname"] == "x"


class HandshakeRaceTests(GatewayTestCase):
    """The client leaves, or sends more, while the gateway queries Redis."""

    async def paused(self) -> tuple[int, str]:
        """Start a gateway whose Redis is paused; return its port and a key."""
        port = await self.gateway()
        key = await self.keys.issue("user", UUID)
        self.redis.execute_command("CLIENT", "PAUSE", str(1000 * int(GUARD)), "WRITE")
        self.addCleanup(self.redis.execute_command, "CLIENT", "UNPAUSE")
        return port, key

    async def test_leaving_while_the_key_is_redeemed_keeps_the_key(self) -> None:
        port, key = await self.paused()
        reports = self.subscribed(REPORTS)
        client = await connect_bytes(port)
        client.send(handshake(b"/wss/user?id=" + key.encode()))
        await until(self.connected, lambda count: count == 1)
        client.drop()
        await until(self.connected, lambda count: count == 0)
        self.redis.execute_command("CLIENT", "UNPAUSE")
        assert await until(self.keys_left, bool), "the key is returned"
        other = str(uuid4())
        await self.log_in(port, uuid=other)
        (event,) = map(unpack, TeraModuleMessage.FromString(await message(reports)).data)
        assert isinstance(event, UserEvent)
        assert event.user_uuid == other, "no other client was reported"
        assert self.gate.clients["user"] == 1
        assert self.redis.pubsub_numsub(topics.websocket_events("user", UUID))[0][1] == 0

    async def keys_left(self) -> int:
        await turn()
        return len(self.redis.keys("user.*"))

    async def connected(self) -> int:
        await turn()
        return len(self.gate.factory.connections)

    async def test_a_repeated_request_is_no_second_login(self) -> None:
        port, key = await self.paused()
        client = await connect_bytes(port)
        client.send(handshake(b"/wss/user?id=" + key.encode()) * 2)
        client.send(handshake(b"/wss/user?id=" + key.encode()))
        await until(self.connected, lambda count: count == 1)
        self.redis.execute_command("CLIENT", "UNPAUSE")
        answer = await client.closed  # the repeated request is no frame
        assert answer.count(b"HTTP/1.1") == 1
        assert answer.startswith(b"HTTP/1.1 101 ")

    async def test_a_flood_during_the_handshake_is_cut_off(self) -> None:
        port, key = await self.paused()
        client = await connect_bytes(port)
        client.send(handshake(b"/wss/user?id=" + key.encode()) + b"x" * 100_000)
        assert (await client.closed).startswith(b"HTTP/1.1 431 ")


class DeliveryTests(GatewayTestCase):
    @staticmethod
    def golden(kind: str) -> list[dict[str, Any]]:
        return [vector for vector in GOLDEN if kind in vector]

    async def test_events_have_the_text_of_existing_gateways(self) -> None:
        port = await self.gateway()
        client = await self.log_in(port)
        # Recorded without the event filter, which withholds these two.
        withheld = {"event DatabaseEvent", "event JoinSessionReplyEvent"}
        vectors = [
            recorded
            for recorded in self.golden("websocket_text_frame")
            if recorded["name"] not in withheld
        ]
        for vector in vectors:
            assert self.redis.publish(vector["topic"], bytes.fromhex(vector["hex"])) == 1
        expected = [vector["websocket_text_frame"] for vector in vectors]
        assert await client.messages.wait(len(vectors)) == expected

    async def test_frames_of_every_length_arrive(self) -> None:
        port = await self.gateway()
        client = await self.log_in(port)
        topic = topics.websocket_events("user", UUID)
        for number, length in enumerate((0, 100, 65_000, 70_000)):
            event = tera_event(topic, [UserEvent(user_fullname="x" * length)])
            self.redis.publish(topic, event.SerializeToString())
            assert len((await client.event(number))["events"][0]["userFullname"]) == length

    async def test_clients_of_a_topic_share_one_subscription(self) -> None:
        port = await self.gateway()
        clients = [await self.log_in(port) for _ in range(3)]
        topic = topics.websocket_events("user", UUID)
        assert self.redis.publish(topic, tera_event(topic, [UserEvent()]).SerializeToString()) == 1
        for client in clients:
            await client.event(0)
        for client in clients:
            client.sendClose()
            await client.closed
        await until(self.subscribers, lambda count: count == 0)

    async def subscribers(self) -> int:
        await turn()
        ((_, count),) = self.redis.pubsub_numsub(topics.websocket_events("user", UUID))
        return int(count)

    async def test_logs_and_malformed_or_unknown_events_are_omitted(self) -> None:
        port = await self.gateway()
        client = await self.log_in(port)
        topic = topics.websocket_events("user", UUID)
        unknown = tera_event(topic, [UserEvent()])
        unknown.events[0].type_url = "type.googleapis.com/opentera.protobuf.Unknown"
        for payload in (
            b"\xff\xff\xff",
            b"",
            tera_event(topic, []).SerializeToString(),
            unknown.SerializeToString(),
            tera_event(topic, [LogEvent(message="hush")]).SerializeToString(),
            tera_event(
                topic, [LogEvent(message="hush"), DatabaseEvent(), StopSessionEvent()]
            ).SerializeToString(),
        ):
            self.redis.publish(topic, payload)
        event = await client.event(0)
        assert [entry["@type"].rpartition(".")[2] for entry in event["events"]] == [
            "StopSessionEvent"
        ]
        assert "hush" not in client.messages.items[0]

    async def test_topics_of_the_key_are_subscribed_too(self) -> None:
        port = await self.gateway()
        key = await self.keys.issue("user", UUID, topics=["service.A.events"])
        client = await connect(port, f"/wss/user?id={key}")
        event = tera_event("service.A.events", [UserEvent(user_fullname="x")])
        assert self.redis.publish("service.A.events", event.SerializeToString()) == 1
        assert (await client.event(0))["events"][0]["userFullname"] == "x"

    async def test_envelopes_inside_events_hide_nothing(self) -> None:
        port = await self.gateway()
        client = await self.log_in(port)
        topic = topics.websocket_events("user", UUID)
        hidden = TeraMessage(message=pack(LogEvent(message="hush")))
        for events in ([hidden], [pack(pack(hidden))], [hidden, UserEvent(user_fullname="x")]):
            self.redis.publish(topic, tera_event(topic, events).SerializeToString())
        event = await client.event(0)
        assert [entry["userFullname"] for entry in event["events"]] == ["x"]
        assert "hush" not in client.messages.items[0]

    async def test_a_client_that_does_not_read_is_closed_in_time(self) -> None:
        port = await self.gateway()
        reports = self.subscribed(REPORTS)
        key = await self.keys.issue("user", UUID)
        client = await connect_bytes(port)
        client.send(handshake(b"/wss/user?id=" + key.encode()))
        await client.until(b"101")
        client.stop_reading()
        self.addCleanup(client.drop)  # it would not notice the close
        topic = topics.websocket_events("user", UUID)
        event = tera_event(topic, [UserEvent(user_fullname="x" * 100_000)]).SerializeToString()
        for _ in range(200):
            self.redis.publish(topic, event)
        client.send(b"\x88\x82\x00\x00\x00\x00\x03\xe8")  # close, 1000
        for expected in (UserEvent.USER_CONNECTED, UserEvent.USER_DISCONNECTED):
            (report,) = map(unpack, TeraModuleMessage.FromString(await message(reports)).data)
            assert isinstance(report, UserEvent)
            assert report.type == expected

    async def test_the_command_to_disconnect_closes_with_4000(self) -> None:
        port = await self.gateway()
        client, other = await self.log_in(port), await self.log_in(port, uuid=str(uuid4()))
        (vector,) = (recorded for recorded in GOLDEN if recorded["name"] == "disconnect command")
        junk = TeraModuleMessage().SerializeToString()
        for payload in (b"\xff", junk, bytes.fromhex(vector["hex"])):
            self.redis.publish(vector["topic"], payload)
        assert await client.closed == (4000, "CMD_CLIENT_DISCONNECT")
        assert not other.closed.called

    async def test_another_command_closes_nothing(self) -> None:
        bus = await self.bus()
        port = await self.gateway(bus)
        client = await self.log_in(port)
        await bus.send_module_message(
            topics.disconnect_command(UUID),
            ServerCommand(type=ServerCommand.CMD_REGISTER_DEVICE),
            source="test",
        )
        topic = topics.websocket_events("user", UUID)
        await bus.publish_event(topic, UserEvent())
        await client.event(0)
        assert not client.closed.called

    async def test_messages_from_a_client_are_refused(self) -> None:
        port = await self.gateway()
        client = await self.log_in(port)
        client.sendMessage(b"hello")
        client.sendMessage(b"\xff", isBinary=True)
        assert await client.messages.wait(2) == ["Not allowed to send message"] * 2

    async def test_a_message_that_is_too_large_closes_with_1009(self) -> None:
        port = await self.gateway()
        client = await self.log_in(port)
        client.sendMessage(b"x" * 100_000)
        code, _ = await client.closed
        assert code == 1009


class PresenceTests(GatewayTestCase):
    async def reports(self, count: int) -> list[str]:
        names = []
        for _ in range(count):
            report = TeraModuleMessage.FromString(await message(self.pubsub))
            (event,) = map(unpack, report.data)
            assert isinstance(event, UserEvent)
            names.append(UserEvent.EventType.Name(event.type))
        return names

    async def test_only_the_first_open_and_last_close_are_reported(self) -> None:
        port = await self.gateway()
        self.pubsub = self.subscribed(REPORTS)
        first, second = await self.log_in(port), await self.log_in(port)
        first.dropConnection(abort=True)
        await first.closed
        second.sendClose()
        assert await self.reports(2) == ["USER_CONNECTED", "USER_DISCONNECTED"]

    async def test_stopping_closes_all_with_1001_and_reports_them(self) -> None:
        port = await self.gateway()
        self.pubsub = self.subscribed(REPORTS)
        client = await self.log_in(port)
        half_open = await connect_bytes(port)
        await self.gate.stopService()
        assert (await client.closed)[0] == 1001
        await half_open.closed
        assert await self.reports(2) == ["USER_CONNECTED", "USER_DISCONNECTED"]
        with pytest.raises(HandshakeFailed, match="503"):
            await self.log_in(port)

    async def test_a_report_waits_for_redis(self) -> None:
        server = start_server(self)
        bus = await self.bus(server.url)
        port = await self.gateway(bus)
        self.redis = server.client()
        self.addCleanup(self.redis.close)
        self.pubsub = self.subscribed(REPORTS)
        client = await self.log_in(port)
        assert await self.reports(1) == ["USER_CONNECTED"]
        await self.gate._presence.reported()
        await deferToThread(server.stop)
        client.dropConnection(abort=True)
        await client.closed
        # The reactor does not run, and the gateway does not report, before the test listens.
        server.start()
        self.pubsub = self.subscribed(REPORTS)
        assert await self.reports(1) == ["USER_DISCONNECTED"]

    def test_stopping_leaves_time_for_the_bus(self) -> None:
        bus = MemoryBus()
        bus.startService()
        gateway = Gateway(bus, limits=GatewayLimits(shutdown_timeout=10))
        gateway.startService()
        gateway._presence.opened(Identity("user", UUID))  # the Redis in memory has no presence
        stopped, cancelled = gateway.stopService(), gateway.stopService()
        cancelled.addErrback(lambda failure: failure.trap(CancelledError))
        cancelled.cancel()
        bus.clock.pump([0.5] * 17)
        assert gateway._presence._renewal.running
        assert not stopped.called
        bus.clock.pump([0.5] * 2)
        assert not gateway._presence._renewal.running
        assert stopped.called
        gateway.startService()
        stopped = gateway.stopService()
        gateway.startService()  # before it has stopped
        bus.clock.pump([0.5] * 19)
        assert stopped.called
        assert not gateway._stopping
        assert gateway._presence._renewal.running

    def test_each_caller_learns_that_stopping_failed(self) -> None:
        gateway = Gateway(MemoryBus())
        for cancelled in (0, 2):
            closed: Deferred[None] = Deferred()
            self.patch(gateway.factory, "close_all", lambda *_, closed=closed: closed)
            stopped = [gateway.stopService() for _ in range(2)]
            for waiting in stopped[:cancelled]:
                waiting.cancel()
                self.failureResultOf(waiting, CancelledError)
            closed.errback(ZeroDivisionError())
            for waiting in stopped[cancelled:]:
                self.failureResultOf(waiting, ZeroDivisionError)
            assert bool(self.flushLoggedErrors(ZeroDivisionError)) is bool(cancelled)

    def test_a_failed_stop_stops_all_parts(self) -> None:
        bus = MemoryBus()
        gateway = Gateway(bus)
        observers = len(bus.link.on_read), len(bus.link.on_resumed), len(bus.link.on_lost)
        gateway.startService()
        self.patch(gateway.factory, "close_all", lambda *_: fail(ZeroDivisionError()))
        stopped = gateway.stopService()
        bus.clock.pump([0.5] * 20)
        self.failureResultOf(stopped, ZeroDivisionError)
        assert observers == (
            len(bus.link.on_read),
            len(bus.link.on_resumed),
            len(bus.link.on_lost),
        )
        assert not gateway._presence._renewal.running

    async def test_stopping_gives_up_when_redis_stays_away(self) -> None:
        server = start_server(self)
        bus = await self.bus(server.url)
        port = await self.gateway(bus, limits=GatewayLimits(shutdown_timeout=0.1))
        await self.log_in(port)
        await self.gate._presence.reported()
        log = log_of(self)
        await deferToThread(server.stop)
        await self.gate.stopService()
        assert any("did not confirm 1 presence reports" in text for text in log.items)
