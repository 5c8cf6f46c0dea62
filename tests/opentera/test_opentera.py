"""The names that existing programs import: same constructors, callbacks and results."""

from __future__ import annotations

import gc
import os
import socket
import sys
import uuid
import warnings
from datetime import timedelta
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread

from opentera_twisted import (
    AuthenticationFailed,
    BusUnavailable,
    InReactorThread,
    InvalidArgument,
    WrongType,
    topics,
)
from opentera_twisted.messages import (
    LogEvent,
    LoginEvent,
    ServerCommand,
    TeraEvent,
    TeraModuleMessage,
    UserEvent,
)
from opentera_twisted.messages.envelopes import unpack
from opentera_twisted.opentera import (
    BaseModule,
    ModuleNames,
    RedisClient,
    RedisRPCClient,
    RedisVars,
    ServiceOpenTera,
    create_module_event_topic_from_name,
    create_module_message_topic_from_name,
    names,
    sync_commands,
    threads,
)
from opentera_twisted.opentera import plain as plain_redis
from opentera_twisted.opentera.__main__ import remaining
from opentera_twisted.opentera.client import stored
from opentera_twisted.rpc.wire import Request, encode_reply
from tests.helpers.existing import ExistingCaller, ExistingServer
from tests.helpers.processes import ENVIRONMENT, Process
from tests.helpers.support import (
    GUARD,
    UUID,
    Collector,
    RedisTestCase,
    Server,
    folder_of,
    free_port,
    log_of,
    message,
    until,
)

NAME = "TeraServer.OnlineModule"

FORKED = """
import os, sys
from opentera_twisted.opentera import RedisClient, RedisRPCClient
config = {"hostname": "127.0.0.1", "port": int(sys.argv[1]), "db": 0}
client = RedisClient(config)
RedisRPCClient(config).call("Nobody", "add")  # the reactor runs
if not os.fork():
    client.subscribe("t").addErrback(lambda failed: os.write(1, failed.value.args[0].encode()))
    os._exit(0)
print("child ended:", os.wait()[1])
"""

MOVED = """
import sys
from opentera_twisted.opentera import install
import opentera_twisted.opentera as ours
install()
install(blocking_in_reactor=True)
from opentera.redis.RedisClient import RedisClient
from opentera.redis.RedisRPCClient import RedisRPCClient
from opentera.redis.RedisVars import RedisVars
from opentera.logging.LoggingClient import LoggingClient
from opentera.modules.BaseModule import BaseModule, ModuleNames
from opentera.modules.BaseModule import create_module_message_topic_from_name
from opentera.modules.BaseModule import create_module_event_topic_from_name
import opentera.redis.RedisClient as module
assert module.RedisClient is RedisClient
for name, one in dict(globals()).items():
    if name in ours.__all__:
        assert one is getattr(ours, name), name
import opentera.redis.Other
print(opentera.redis.Other.name, ours.threads.blocking_calls.are_allowed)
"""

LATE = """
import opentera.redis.RedisClient
from opentera_twisted.opentera import install
install()
"""


class OnlineModule(BaseModule):
    """An existing module."""

    def __init__(self, config: Any) -> None:
        BaseModule.__init__(self, NAME, config)
        self.messages = Collector()
        self.events = Collector()
        self.made = Collector()

    def setup_module_pubsub(self) -> None:
        topic = create_module_event_topic_from_name(ModuleNames.USER_MANAGER_MODULE_NAME)
        self.subscribe_pattern_with_callback(topic, self.notify_event).addCallback(self.made)

    def setup_rpc_interface(self) -> None:
        self.rpc_api["add"] = {"args": ["int:a"], "returns": "int", "callback": self.add}
        self.rpc_api["reads"] = {"args": [], "returns": "str", "callback": self.reads}

    def add(self, *args: Any, **kwargs: Any) -> Any:
        assert not kwargs
        return sum(args)

    def reads(self) -> Any:
        return self.redisGet("a")

    def notify_module_messages(self, pattern: str, channel: str, message: bytes) -> None:
        self.messages((pattern, channel, message))

    def notify_event(self, pattern: str, channel: str, message: bytes) -> None:
        self.events((pattern, channel, message))


class OwnRpcModule(OnlineModule):
    def notify_module_rpc(self, pattern: str, channel: str, message: bytes) -> None:
        self.messages((pattern, channel, message))


class CountingModule(OnlineModule):
    def notify_module_rpc(self, pattern: str, channel: str, message: bytes) -> None:
        self.messages(message)
        super().notify_module_rpc(pattern, channel, message)


class ListeningService(ServiceOpenTera):
    def __init__(self, config: Any, info: Any) -> None:
        self.ready = Collector()
        self.messages = Collector()
        super().__init__(config, info)

    def setup_rpc_interface(self) -> None:
        super().setup_rpc_interface()
        self.rpc_api["who"] = {"args": [], "returns": "str", "callback": lambda: "me"}

    @inlineCallbacks
    def register_to_events(self) -> Any:
        yield self.subscribe_pattern_with_callback("module.*.events", self.messages_received)
        self.ready()

    def messages_received(self, *args: Any) -> None:
        self.messages(args)


VALUES: list[Any] = [
    b"x",
    bytearray(b"x"),
    memoryview(b"x"),
    "Zoé",
    1,
    -1,
    2.5,
    1e22,
    None,
    True,
    {},
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_values_are_stored_or_refused_as_redis_py_does(value: Any) -> None:
    # redis-py 5.0 refuses a bytearray, later versions accept it.
    known = bytes(value) if isinstance(value, bytearray) else value
    try:
        expected = bytes(redis.Connection().encoder.encode(known))
    except redis.DataError:
        with pytest.raises(InvalidArgument):
            stored(value)
    else:
        data = stored(value)
        assert (data.encode() if isinstance(data, str) else data) == expected


class OpenTeraTests(RedisTestCase):
    def setUp(self) -> None:
        super().setUp()
        names._warned.update({"RedisClient", "RedisRPCClient", "LoggingClient"})
        self.config = {
            "hostname": "127.0.0.1",
            "port": self.server.port,
            "db": 0,
            "username": "",
            "password": "",
        }

    def client(self) -> RedisClient:
        client = RedisClient(self.config)
        self.addCleanup(self.disconnect_plain)
        self.addCleanup(client.redisClose)
        return client

    @staticmethod
    def disconnect_plain() -> None:
        """Close redis-py's connections, which the process keeps for its next client."""
        for pool in plain_redis._pools.values():
            pool.disconnect()

    async def module(self, kind: type[OnlineModule] = OnlineModule) -> OnlineModule:
        module = kind(SimpleNamespace(redis_config=self.config))
        self.addCleanup(module.redisClose)
        await module.made.wait(1)
        return module

    async def test_a_module_closed_during_its_start_logs_no_error(self) -> None:
        module = await self.module()
        building: list[Deferred[Any]] = [Deferred()]
        self.patch(module, "build_interface", lambda: building[0])
        module.redisConnectionMade()
        await module.redisClose()
        building.pop().errback(BusUnavailable("the bus was stopped"))
        gc.collect()  # reports errors that nobody handled

    async def test_variables_are_read_and_written_in_threads(self) -> None:
        client = self.client()

        def use() -> None:
            assert client.redisSet("a", "Zoé", ex=timedelta(minutes=2)) is True
            assert 100 < self.redis.ttl("a") <= 120
            assert client.redisSet("a", "Zoé", ex=100) is True
            assert 0 < self.redis.ttl("a") <= 100
            assert client.redisGet("a") == "Zoé".encode()
            assert client.redisSet("n", 5) is True
            assert client.redisGet("n") == b"5"
            assert client.redisDelete("a") == 1
            assert client.redisGet("a") is None
            value: Any
            for value in (None, True, {}, [], uuid.UUID(UUID)):
                with pytest.raises(InvalidArgument, match=f"not {type(value).__name__}"):
                    client.redisSet("a", value)
                for use_key in (client.redisGet, client.redisDelete):
                    with pytest.raises(
                        InvalidArgument, match=f"a key must be .*{type(value).__name__}"
                    ):
                        use_key(value)
                with pytest.raises(InvalidArgument, match="a key must be "):
                    client.redisSet(value, "1")
            assert client.redisGet("a") is None
            key: Any
            for key in (5, 0.5, b"bytes"):
                assert client.redisSet(key, "1") is True
                assert self.redis.get(key) == client.redisGet(key) == b"1"
                assert client.redisDelete(key) == 1
            assert client.publish("nobody", b"x") == 0

        await deferToThread(use)
        assert self.redis.ttl("n") == -1
        assert client.getConfig() is self.config

    async def test_the_reactor_thread_refuses_reads_and_queues_writes(self) -> None:
        client = self.client()
        await client.subscribe("t")  # the reactor runs
        with pytest.raises(InReactorThread, match=r"await self\.bus\.variables\.get"):
            client.redisGet("a")
        await client.redisSet("a", "1", ex=100)
        assert 0 < self.redis.ttl("a") <= 100
        assert await client.publish("t", "x") == 1
        assert await client.redisDelete("a") == 1
        rpc = RedisRPCClient(self.config)
        with pytest.raises(InReactorThread):
            rpc.call("A", "b")

    async def test_callbacks_get_pattern_channel_and_the_bytes(self) -> None:
        client = self.client()
        got, other = Collector(), Collector()
        await client.subscribe_pattern_with_callback("t.*", lambda *args: other(args))
        await client.subscribe_pattern_with_callback("t.*", lambda *args: got(args))
        self.redis.publish("t.1", b"\xff1")
        assert await got.wait(1) == [("t.*", "t.1", b"\xff1")]
        assert other.items == []
        await client.unsubscribe_pattern_with_callback("t.*", lambda *_: None)
        assert self.redis.publish("t.1", b"") == 0
        await client.unsubscribe("never subscribed")

    async def test_a_program_may_override_the_message_handler(self) -> None:
        got = Collector()

        class Own(RedisClient):
            def redisConnectionMade(self) -> None:
                self.subscribe("t").addCallback(lambda _: got("subscribed"))

            def redisMessageReceived(self, pattern: str, channel: str, message: bytes) -> None:
                got((pattern, channel, message))

        client = Own(self.config)
        self.addCleanup(client.redisClose)
        await got.wait(1)
        self.redis.publish("t", b"1")
        assert (await got.wait(2))[1] == ("t", "t", b"1")

    async def test_a_callback_that_fails_is_logged(self) -> None:
        client = self.client()
        got = Collector()

        @inlineCallbacks
        def fails(*args: Any) -> Any:
            yield None
            got(args)
            raise ZeroDivisionError

        await client.subscribe_pattern_with_callback("t", fails)
        self.redis.publish("t", b"1")
        await got.wait(1)
        await client.subscribe("another")
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1

    async def test_a_module_answers_calls_and_gets_its_messages(self) -> None:
        module = await self.module()
        event = UserEvent(user_uuid=UUID)

        def call() -> None:
            client = self.server.client()
            caller = ExistingCaller(client)
            reply = caller.call(f"module.{NAME}.rpc", "add", 1, 2, 3)
            assert reply is not None
            assert (reply["status"], reply["return_value"]) == ("OK", 6)
            reply = caller.call(f"module.{NAME}.rpc", "nothing")
            assert reply is not None
            assert (reply["status"], reply["return_value"]) == ("Error", None)
            caller.close()
            client.close()
            rpc = RedisRPCClient(self.config, timeout=60)
            assert rpc.call(NAME, "add", 4, 5) == 9
            assert rpc.call(NAME, "nothing") is None
            assert rpc.call("Nobody", "add") is None
            assert rpc.call_service("Nobody", "add") is None
            rpc._bus.close()

        await deferToThread(call)
        message = module.create_tera_message(create_module_message_topic_from_name_of(NAME))
        message.data.add().Pack(event)
        module.send_module_message(message)
        module.send_event_message(event, module.event_topic_name())
        ((pattern, channel, payload),) = await module.messages.wait(1)
        assert pattern == channel == f"module.{NAME}.messages" == module.source_name()
        received = TeraModuleMessage.FromString(payload)
        assert received.head.source == f"module.{NAME}"
        assert unpack(received.data[0]) == event

    async def test_a_procedure_blocking_the_reactor_fails_with_a_reason(self) -> None:
        await self.module()
        rpc = RedisRPCClient(self.config)
        self.addCleanup(deferToThread, rpc._bus.close)
        assert await deferToThread(rpc.call, NAME, "reads") is None
        (error,) = self.flushLoggedErrors(InReactorThread)
        assert "deferToThread" in error.getErrorMessage()

    async def test_a_module_that_answers_calls_itself_gets_them(self) -> None:
        module = await self.module(OwnRpcModule)
        await until(self.subscribed_to(f"module.{NAME}.rpc"), bool)
        self.redis.publish(f"module.{NAME}.rpc", b"call")
        (*_, (pattern, channel, payload)) = await module.messages.wait(2)
        assert (pattern, channel, payload) == (f"module.{NAME}.rpc", f"module.{NAME}.rpc", b"call")

    async def test_an_overridden_rpc_method_can_call_the_original(self) -> None:
        module = await self.module(CountingModule)
        await until(self.subscribed_to(f"module.{NAME}.rpc"), bool)
        rpc = RedisRPCClient(self.config)
        self.addCleanup(deferToThread, rpc._bus.close)
        assert await deferToThread(rpc.call, NAME, "add", 2, 3) == 5
        assert await deferToThread(rpc.call, NAME, "nothing") is None
        calls = [request for request in module.messages.items if request]  # the others were probes
        assert len(calls) == 2

    async def test_a_handshake_is_read_before_redis_is_connected(self) -> None:
        got = Collector()
        config = self.config

        class Edge(Protocol, RedisClient):
            def __init__(self) -> None:
                RedisClient.__init__(self, config)
                at_end(self.redisClose)

            def dataReceived(self, data: bytes) -> None:
                got("handshake")

            def redisConnectionMade(self) -> None:
                got("redis")

            def connectionLost(self, reason: Any = None) -> None:
                got("lost")

        at_end = self.addCleanup
        await self.client().subscribe("t")  # the link is ready
        factory: Any = Factory.forProtocol(Edge)
        port: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        with socket.create_connection(("127.0.0.1", port.getHost().port), GUARD) as connection:
            connection.sendall(b"GET /")
            assert await got.wait(2) == ["handshake", "redis"]
        await got.wait(3)

    async def test_redis_attribute_is_a_redis_py_client(self) -> None:
        client = self.client()

        def use() -> None:
            client.redis.rpush("log.info", b"1", b"2")
            assert client.redis.llen("log.info") == 2
            assert client.redis.lpop("log.info") == b"1"
            assert client.redis.set("a", "Zoé", ex=100) is True
            assert client.redis.get("a") == "Zoé".encode()
            assert client.redis is client.redis
            with client.redis.pipeline() as pipeline:
                assert pipeline.get("a").delete("a").execute() == ["Zoé".encode(), 1]

        await deferToThread(use)

    async def test_redis_attribute_can_be_assigned(self) -> None:
        client = self.client()
        client.redis = self.redis
        assert client.redis is self.redis

    async def test_redis_attribute_is_refused_in_the_reactor_thread(self) -> None:
        client = self.client()
        await client.subscribe("t")  # the reactor runs
        with pytest.raises(InReactorThread, match=r"await self\.bus\.link\.execute"):
            client.redis.get("a")
        with pytest.raises(InReactorThread, match="deferToThread"):
            client.redis.pipeline().get("a").execute()

    async def test_redis_attributes_of_a_process_share_connections(self) -> None:
        pools = {id(self.client().redis.connection_pool) for _ in range(5)}
        assert len(pools) == 1

    async def test_blocking_calls_in_the_reactor_warn_once_for_each_place(self) -> None:
        self.patch(threads.blocking_calls, "are_allowed", True)
        self.patch(threads.blocking_calls, "places", set())
        log = log_of(self)
        client = self.client()
        await client.subscribe("t")  # the reactor runs
        for _ in range(3):
            assert client.redisSet("a", "1", ex=100) is True
            assert client.redisGet("a") == b"1"
            assert client.redisDelete("a") == 1
        assert client.redis.get("a") is None
        assert await client.publish("t", "x") == 1
        warnings_ = [text for text in log.items if "blocks the reactor" in text]
        assert len(warnings_) == 4
        assert all(text.startswith(f"{__file__}:") for text in warnings_)

    async def test_blocking_rpc_in_the_reactor_returns_the_value(self) -> None:
        self.patch(threads.blocking_calls, "are_allowed", True)
        client = self.client()
        await client.subscribe("t")  # the reactor runs
        server = ExistingServer(self.server.client(), "service.S.rpc", add=lambda a, b: a + b)
        self.addCleanup(deferToThread, server.close)
        rpc = RedisRPCClient(self.config)
        assert rpc.call_service("S", "add", 1, 2) == 3
        assert rpc.call("Nobody", "add") is None
        rpc.timeout = 0.05
        assert rpc.call_service("S", "nothing") is None

    async def test_blocking_rpc_in_the_reactor_drops_forged_replies(self) -> None:
        self.patch(threads.blocking_calls, "are_allowed", True)
        client = self.client()
        await client.subscribe("t")  # the reactor runs
        redis = self.server.client()
        self.addCleanup(redis.close)

        def balance() -> int:
            """Have other programs send forged replies first."""
            channels: Any = redis.pubsub_channels("RedisRPCClient.*")
            for channel in channels:
                for pattern in ("service.Deputy.rpc", "service.Bank.rpc"):
                    forged = Request("balance", "", 0, 0.0, ())
                    assert redis.publish(channel, encode_reply(forged, pattern, "forged"))
            return 5

        server = ExistingServer(self.server.client(), "service.Bank.rpc", balance=balance)
        self.addCleanup(deferToThread, server.close)
        rpc = RedisRPCClient(self.config, timeout=60)
        assert rpc.call_service("Bank", "balance") == 5

    async def test_a_login_event_is_on_the_list_of_its_level(self) -> None:
        module = await self.module()
        module.logger.send_login_event(
            "sender", LogEvent.LOGLEVEL_ERROR, LoginEvent.LOGIN_TYPE_TOKEN,
            LoginEvent.LOGIN_STATUS_SUCCESS, "client", "1.0", "127.0.0.1", "Linux", "6",
            user_uuid=UUID, participant_uuid=None, server_endpoint="/login", message="text",
        )  # fmt: skip
        await until(lambda: deferToThread(self.redis.llen, "log.error"), bool)
        payload: Any = self.redis.lrange("log.error", 0, -1)[0]
        event = TeraEvent.FromString(payload)
        assert event.header.topic == "log.error"
        logged = unpack(event.events[0])
        assert isinstance(logged, LoginEvent)
        assert logged.log_header.level == LogEvent.LOGLEVEL_ERROR
        assert (logged.log_header.sender, logged.log_header.message) == ("sender", "text")
        assert (logged.user_uuid, logged.participant_uuid) == (UUID, "")
        assert (logged.login_type, logged.server_endpoint) == (
            LoginEvent.LOGIN_TYPE_TOKEN,
            "/login",
        )

    def subscribed_to(self, topic: str) -> Any:
        async def count() -> int:
            receivers: int = await deferToThread(self.redis.publish, topic, b"")
            return receivers

        return count

    async def test_a_persons_websockets_are_closed_as_existing_ones(self) -> None:
        module = await self.module()
        got = Collector()
        await module.bus.subscribe(f"module.TeraServer.TwistedModule.events.{UUID}", got)
        module.send_user_disconnect_module_message(UUID)
        (delivery,) = await got.wait(1)
        message = TeraModuleMessage.FromString(delivery.payload)
        command = ServerCommand(type=ServerCommand.CMD_CLIENT_DISCONNECT)
        assert unpack(message.data[0]) == command
        capitals = "ABCDEFAB-2222-3333-4444-555555555555"
        for topic in topics.disconnect_commands(capitals):
            await module.bus.subscribe(topic, got)
        module.send_device_disconnect_module_message(capitals)
        for delivery in (await got.wait(3))[1:]:
            sent = TeraModuleMessage.FromString(delivery.payload)
            assert sent.head.dest == delivery.topic
            assert unpack(sent.data[0]) == command

    async def test_a_service_listens_under_its_key_and_its_uuid(self) -> None:
        config = SimpleNamespace(redis_config=self.config, service_config={"name": "S"})
        info = {"service_key": "S", "service_uuid": UUID}
        service = ListeningService(config, info)
        self.addCleanup(service.redisClose)
        await service.ready.wait(1)
        rpc = RedisRPCClient(self.config)
        self.addCleanup(deferToThread, rpc._bus.close)
        await until(self.subscribed_to("service.S.rpc"), bool)
        for name in ("S", UUID):
            assert await deferToThread(rpc.call_service, name, "who") == "me"
        assert await deferToThread(rpc.call_service, "S", "session_type_config", 1) == {}
        service.send_tera_message(UserEvent(), "service.S", "module.A.events")
        service.send_event_message(UserEvent(user_uuid="1"), "module.A.events")
        await service.messages.wait(2)
        event = TeraEvent.FromString(service.messages.items[1][2])
        assert unpack(event.events[0]) == UserEvent(user_uuid="1")

    async def test_a_service_takes_its_uuid_from_its_configuration(self) -> None:
        config = SimpleNamespace(redis_config=self.config, service_config={"ServiceUUID": UUID})
        service = ListeningService(config, {"service_key": "S"})
        self.addCleanup(service.redisClose)
        await service.ready.wait(1)
        assert service.service_uuid == UUID
        topic = self.subscribed("service.S.events")
        service.send_service_event_message(UserEvent(user_uuid=UUID))
        event = TeraEvent.FromString(await message(topic))
        assert unpack(event.events[0]) == UserEvent(user_uuid=UUID)
        config.service_config = {}
        with pytest.raises(InvalidArgument, match="ServiceUUID of service_config"):
            ListeningService(config, {"service_key": "S"})

    async def test_log_messages_of_a_module_reach_the_lists(self) -> None:
        module = await self.module()
        module.logger.log_warning(NAME, "text", 5)
        await until(lambda: deferToThread(self.redis.llen, "log.warning"), bool)
        payload: Any = self.redis.lrange("log.warning", 0, -1)[0]
        event = TeraEvent.FromString(payload)
        logged = unpack(event.events[0])
        assert isinstance(logged, LogEvent)
        assert (logged.sender, logged.message) == (NAME, "('text', 5)")

    async def test_log_messages_of_threads_use_the_bounded_queue(self) -> None:
        module = await self.module()
        module.logger.log_info(NAME, "first")
        await until(lambda: deferToThread(self.redis.llen, "log.info"), bool)
        publisher = module.logger._publisher
        assert publisher is not None
        thread = Thread(target=module.logger.log_info, args=(NAME, "while the reactor is busy"))
        thread.start()
        thread.join(GUARD)
        assert len(publisher._waiting) == 1
        await publisher.flush()

    async def test_subscriptions_survive_a_break_that_is_reported(self) -> None:
        lost = Collector()
        self.patch(OnlineModule, "redisConnectionLost", lambda _, reason: lost(reason))
        module = await self.module()
        self.redis.client_kill_filter(_type="pubsub")
        await lost.wait(1)
        await module.bus.connected()
        topic = create_module_event_topic_from_name(ModuleNames.USER_MANAGER_MODULE_NAME)
        self.redis.publish(topic, b"x")
        assert (await module.events.wait(1))[0] == (topic, topic, b"x")
        assert len(module.made.items) == 1

    async def test_subscribing_fails_after_the_fork_of_a_used_object(self) -> None:
        process = Process(sys.executable, "-c", FORKED, str(self.server.port), fork=True)
        self.addCleanup(process.kill)
        assert await process.ended() == 0
        assert "this process was forked after the bus was used" in process.output
        assert "child ended: 0" in process.output

    async def test_a_process_has_two_connections_however_many_objects(self) -> None:
        module = await self.module()
        clients = [self.client() for _ in range(5)]
        for client in clients:
            await client.redisSet("a", "1")
        module.logger.log_info("x", "y")
        connected = {
            connection["name"] for connection in self.redis.client_list() if connection["name"]
        }
        assert connected == {"OnlineModule.client", "OnlineModule.subscriber"}


class InstallTests(RedisTestCase):
    async def run_with_opentera(self, code: str, version: str | None = "1.3.1") -> Process:
        """Run a program beside a package with OpenTera's module names; return it ended."""
        folder = folder_of(self)
        for name in ("", "redis", "modules", "logging") if version != "missing" else ():
            (folder / "opentera" / name).mkdir()
            (folder / "opentera" / name / "__init__.py").touch()
        if version != "missing":
            for name in ("RedisClient", "Other"):
                (folder / "opentera/redis" / f"{name}.py").write_text(f"name = {name!r}")
        if version not in {None, "missing"}:
            (folder / "opentera.dist-info").mkdir()
            about = f"Metadata-Version: 2.1\nName: opentera\nVersion: {version}\n"
            (folder / "opentera.dist-info" / "METADATA").write_text(about)
        process = Process(
            *(sys.executable, "-W", "default::UserWarning", "-c", code),
            environment={"PYTHONPATH": f"{ENVIRONMENT['PYTHONPATH']}{os.pathsep}{folder}"},
        )
        self.addCleanup(process.kill)
        await process.ended()
        return process

    async def test_install_replaces_the_classes_of_opentera(self) -> None:
        process = await self.run_with_opentera(MOVED)
        assert process.output == "Other True\n"

    async def test_install_warns_about_an_untested_version(self) -> None:
        for version, found in (("1.4.0", "1.4.0"), (None, "of an unknown version")):
            process = await self.run_with_opentera(MOVED, version)
            assert f"tested with OpenTera 1.3.1, but found {found}" in process.output
            assert "Other True\n" in process.output

    async def test_install_after_the_import_is_refused(self) -> None:
        process = await self.run_with_opentera(LATE)
        assert "InstalledTooLate: opentera.redis.RedisClient: already imported" in process.output

    async def test_install_without_opentera_names_the_remedy(self) -> None:
        process = await self.run_with_opentera(MOVED, "missing")
        assert "pip install --no-deps opentera==1.3.1" in process.output


def test_requirements_omit_this_packages_dependencies() -> None:
    listed = ["Twisted==25.5.0", "Flask==3.1.2", "pyOpenSSL==25.3.0", 'a==1; sys_platform == "b"']
    assert [*remaining(listed)] == ["Flask==3.1.2", 'a==1; sys_platform == "b"']


def create_module_message_topic_from_name_of(name: str) -> str:
    return f"module.{name}.messages"


def test_topics_and_names_equal_those_of_existing_programs() -> None:
    name = ModuleNames.USER_MANAGER_MODULE_NAME
    assert create_module_message_topic_from_name(name) == (
        "module.TeraServer.UserManagerModule.messages"
    )
    assert create_module_event_topic_from_name(name) == "module.TeraServer.UserManagerModule.events"
    assert create_module_event_topic_from_name(ModuleNames.DATABASE_MODULE_NAME, "user") == (
        "module.TeraServer.DatabaseModule.events.user"
    )
    assert RedisVars.build_service_rpc_topic("S") == "service.S.rpc"
    assert RedisVars.build_service_message_topic("S") == "service.S.messages"
    assert RedisVars.build_service_event_topic("S") == "service.S.events"
    assert RedisVars.RedisVar_UserTokenAPIKey == "UserTokenAPIKey"


def test_a_better_name_is_suggested_once() -> None:
    names._warned.discard("X")
    with pytest.warns(DeprecationWarning, match="X: prefer Y"):
        names.prefer("X", "Y")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        names.prefer("X", "Y")


class EarlyTests(RedisTestCase):
    def test_commands_before_the_reactor_runs(self) -> None:
        where = sync_commands.address({"hostname": "127.0.0.1", "port": self.server.port, "db": 2})
        assert sync_commands.execute(where, "SET", "a", b"\xff") == b"OK"
        assert sync_commands.execute(where, "GET", "a") == b"\xff"
        assert self.redis.get("a") is None
        self.redis.select(2)
        assert self.redis.get("a") == b"\xff"
        sync_commands.execute(where, "RPUSH", "l", "x")
        with pytest.raises(WrongType):
            sync_commands.execute(where, "GET", "l")

    def test_a_password_is_used(self) -> None:
        server = Server("--requirepass", "sesame")
        self.addCleanup(server.stop)
        config = {"hostname": "127.0.0.1", "port": server.port, "db": 0, "username": ""}
        where = sync_commands.address({**config, "password": "sesame"})
        assert sync_commands.execute(where, "PING") == b"PONG"
        with pytest.raises(AuthenticationFailed):
            sync_commands.execute(sync_commands.address({**config, "password": "wrong"}), "PING")

    def test_a_missing_redis_is_a_named_error(self) -> None:
        where = sync_commands.address({"hostname": "127.0.0.1", "port": free_port(), "db": 0})
        with pytest.raises(BusUnavailable, match="no Redis at"):
            sync_commands.execute(where, "PING")
