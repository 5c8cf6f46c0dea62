"""``contrib/redis.acl``: each user's rules are sufficient and minimal."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
import redis
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from opentera_twisted import (
    Bus,
    CommandFailed,
    Identity,
    PermissionDenied,
    Procedures,
    SessionKeys,
    topics,
)
from opentera_twisted.embedded.process import find_server
from opentera_twisted.gateway import DefaultPolicy, Gateway, RpcIdentities
from opentera_twisted.gateway.presence import presence_event
from opentera_twisted.holders import GATEWAYS, HELD, REPORTS
from opentera_twisted.logs import LogPublisher
from opentera_twisted.messages import JoinSessionEvent, StopSessionEvent, UserEvent
from opentera_twisted.messages.envelopes import module_message
from opentera_twisted.messages.templates import template
from opentera_twisted.presence_lease import Lease
from opentera_twisted.user_manager import UserManager, registry
from opentera_twisted.variables import LogList, Secret
from tests.gateway.recovery.client import Client
from tests.helpers.support import (
    GATEWAY,
    GUARD,
    PASSWORD,
    READER,
    ROOT,
    SERVICE,
    UUID,
    Collector,
    RedisTestCase,
    acl,
    service_additions,
    start_with_acl,
    until,
)
from tests.helpers.websockets import connect

DATABASE = 1
TRIAL = "trial"
_ARGUMENT = re.compile(rb'"((?:[^"\\]|\\.)*)"')


class Monitor:
    """Records every command that Redis executes, including those of scripts."""

    def __init__(self, port: int) -> None:
        self._commands: set[tuple[bytes, ...]] = set()
        self._socket = socket.create_connection(("127.0.0.1", port), GUARD)
        self._socket.sendall(b"MONITOR\r\n")
        self._lines = self._socket.makefile("rb")
        assert self._lines.readline() == b"+OK\r\n"
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        for line in self._lines:
            arguments = tuple(
                argument.decode("unicode_escape").encode("latin-1")
                for argument in _ARGUMENT.findall(line)
            )
            source = line.partition(b"[")[2].partition(b"]")[0].split()[1]
            if arguments[0].upper() == b"ECHO":
                return
            self._commands.add((source, *arguments))

    def stop(self, admin: redis.Redis) -> dict[bytes, list[tuple[bytes, ...]]]:
        """Return the commands by connection, and those of scripts under ``lua``."""
        admin.echo("end")
        self._thread.join(GUARD)
        self._lines.close()
        self._socket.close()
        found: dict[bytes, list[tuple[bytes, ...]]] = {}
        for source, *command in self._commands:
            found.setdefault(source, []).append(tuple(command))
        return found


def rules_of_the_file(user: str) -> list[str]:
    """Return the rules of a user of the file."""
    (line,) = re.findall(rf"^user {user} on (.*)$", acl(), re.MULTILINE)
    return [rule for rule in line.split() if not rule.startswith("#")]


class RightsTestCase(RedisTestCase):
    redis_user = GATEWAY

    def setUp(self) -> None:
        """Start an own server with an empty ACL log."""
        self.server = start_with_acl()
        self.addCleanup(self.server.stop)
        self.redis = self.server.client(db=DATABASE)
        self.addCleanup(self.redis.close)
        self.monitor = Monitor(self.server.port)
        self.monitored: dict[bytes, list[tuple[bytes, ...]]] | None = None
        self.addCleanup(self.end)

    def end(self) -> dict[bytes, list[tuple[bytes, ...]]]:
        if self.monitored is None:
            self.monitored = self.monitor.stop(self.redis)
        return self.monitored

    async def start(self, user: str) -> Bus:
        """Return a bus of a user of the file, in another database than the usual one."""
        return await self.bus(self.server.url_as(user).replace("/0", f"/{DATABASE}"), name="t")

    async def administrator(self) -> Bus:
        """Return a bus of another program with all rights."""
        return await self.bus(f"redis://127.0.0.1:{self.server.port}/{DATABASE}", name="other")

    def open_elsewhere(self, uuid: str) -> None:
        """Open a user's websocket at an existing gateway, which subscribes to a pattern."""
        existing = self.redis.pubsub()
        self.addCleanup(existing.close)
        existing.psubscribe(topics.websocket_events("user", uuid))
        existing.get_message(timeout=GUARD)

    def check(self, user: str) -> None:
        """Assert that nothing was refused, and that each rule was needed."""
        assert self.redis.acl_log() == []
        own = {
            client["addr"].encode() for client in self.redis.client_list() if client["user"] == user
        }
        assert len(own) == 2
        found = self.end()
        commands = [call for source in (*own, b"lua") for call in found.get(source, [])]
        allowed = rules_of_the_file(user)
        assert len(set(allowed)) == len(allowed)
        assert self.refused(allowed, commands) == []
        for rule in allowed:
            others = [kept for kept in allowed if kept != rule]
            assert self.refused(others, commands), f"{user} does not need {rule}"

    def refused(
        self, allowed: list[str], commands: list[tuple[bytes, ...]]
    ) -> list[tuple[bytes, ...]]:
        """Return the commands that these rules refuse."""
        self.redis.execute_command("ACL", "SETUSER", TRIAL, "reset", "on", "nopass", *allowed)
        with self.redis.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command("ACL", "DRYRUN", TRIAL, *command)
            answers = pipeline.execute(raise_on_error=False)
        return [
            command
            for command, answer in zip(commands, answers, strict=True)
            if answer != b"OK" and b"no permissions" in str(answer).encode()
        ]


class GatewayRightsTests(RightsTestCase):
    async def test_a_gateway_needs_each_of_its_rights(self) -> None:
        other = await self.administrator()
        identities = Procedures()

        @identities.expose
        def identify(kind: str, uuid: str) -> dict[str, Any]:
            return {"name": "Zoé", "topics": ["module.Ours.events", "module.Ours.events.sub"]}

        await other.serve_service("Identities", identities)
        bus = await self.start(GATEWAY)
        manager = UserManager(bus)
        manager.startService()
        self.addCleanup(manager.stopService)
        await manager.serving()
        gateway = Gateway(
            bus,
            identities=RpcIdentities(bus, "service.Identities"),
            policy=DefaultPolicy(["user:service.Ours.events.sub"]),
        )
        gateway.startService()
        listening: Any = reactor
        port = listening.listenTCP(0, gateway.factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        number = port.getHost().port

        clients = []
        people = {kind: str(uuid4()) for kind in topics.KINDS}
        for kind, uuid in people.items():
            key = await SessionKeys(bus).issue(kind, uuid, name="Zoé")
            clients.append(await connect(number, f"/wss/{kind}?id={key}"))
        existing = "0123456789abcdef" * 8
        self.redis.set(existing, str(uuid4()), ex=60)
        clients.append(await connect(number, f"/wss/user?id={existing}"))

        await self.return_elsewhere(bus, number)

        async def ask(function: str, *arguments: Any) -> Any:
            return await other.call("TeraServer.UserManagerModule", function, *arguments)

        await until(lambda: ask("online_devices"), lambda online: online == [people["device"]])
        session = str(uuid4())
        for event in (
            JoinSessionEvent(session_uuid=session, session_users=[people["user"]]),
            StopSessionEvent(session_uuid=session),
        ):
            await other.send_module_message(REPORTS, event, source="test")
        for kind in topics.KINDS:
            await ask(f"busy_{kind}s")
            await ask(f"status_{kind}s")
        await ask("update_device_status", people["device"], "fine", 1.5)
        # A full log, which is trimmed.
        self.redis.rpush(registry.LOG, *["x"] * registry.LOG_LENGTH)
        await other.send_module_message(
            REPORTS, StopSessionEvent(session_uuid=str(uuid4())), source="t"
        )
        await until(
            lambda: deferToThread(self.redis.llen, registry.LOG),
            lambda length: length == registry.LOG_LENGTH,
        )
        # Another gateway, which died.
        gone = str(uuid4())
        going = presence_event(Identity("user", gone), connected=False)
        self.redis.zadd(GATEWAYS, {gone: 1})
        self.redis.hset(
            HELD + gone, f"user.{gone}", template(module_message("t", REPORTS, [going], 0.0))
        )
        reaper = Lease(bus.link)
        reaper.since = 0
        while await reaper.reap():
            pass
        assert await bus.presence.online("device") == [people["device"]]
        self.open_elsewhere(people["user"])
        for kind, client in zip(topics.KINDS, clients, strict=False):
            assert await bus.presence.disconnect(kind, people[kind])
            assert (await client.closed)[0] == 4000
        await gateway.stopService()
        assert (await clients[3].closed)[0] == 1001
        await until(lambda: ask("online_devices"), lambda online: online == [])
        await bus.link.execute("ROLE")  # sent where sentinels name the server
        self.check(GATEWAY)

    async def return_elsewhere(self, bus: Bus, port: int) -> None:
        """Have a gateway's client return to another gateway, which is started and stopped."""
        gateway = Gateway(bus)
        gateway.startService()
        listening: Any = reactor
        other = listening.listenTCP(0, gateway.factory, interface="127.0.0.1")
        self.addCleanup(other.stopListening)
        client = Client()
        await client.log_in(port, await SessionKeys(bus).issue("user", str(uuid4())))
        assert await client.come_back(other.getHost().port)
        await gateway.stopService()

    async def test_a_gateway_cannot_reach_the_servers_secrets(self) -> None:
        bus = await self.start(GATEWAY)
        for secret in Secret:
            self.redis.set(str(secret), "s")
            with pytest.raises(PermissionDenied):
                await bus.variables.get(str(secret))
        for command in (("KEYS", "*"), ("SCAN", "0"), ("CONFIG", "GET", "*"), ("MONITOR",)):
            with pytest.raises(PermissionDenied):
                await bus.link.execute(*command)


class ServiceRightsTests(RightsTestCase):
    async def test_a_service_needs_each_of_its_rights(self) -> None:
        other = await self.administrator()
        bus = await self.start(SERVICE)
        procedures = Procedures()

        @procedures.expose
        def add(a: int, b: int) -> int:
            return a + b

        await bus.serve_service("Sum", procedures, exclusive=True)
        await bus.serve_module("Sum.Module", procedures)
        assert await other.call_service("Sum", "add", 1, 2) == 3
        assert await bus.call("Sum.Module", "add", 1, 2) == 3
        self.redis.set("service.Sum", "{}")
        values = Collector()
        watch = await bus.variables.watch("service.Sum", lambda _, value: values(value))
        assert values.items == [b"{}"]
        await watch.cancel()
        got = Collector()
        one = await bus.subscribe(topics.websocket_events("user", UUID), got)
        many = await bus.subscribe_pattern("module.*", got)
        await bus.publish_event(topics.websocket_events("user", UUID), UserEvent())
        await got.wait(1)
        await one.cancel()
        await many.cancel()
        assert {service.server for service in await bus.services()} == {
            "service.Sum",
            "module.Sum.Module",
        }
        await bus.link.execute("ROLE")
        self.check(SERVICE)

    async def test_a_service_cannot_reach_session_keys_or_secrets(self) -> None:
        bus = await self.start(SERVICE)
        key = await SessionKeys(await self.administrator()).issue("user", UUID)
        for name in (key, str(Secret.USER_TOKEN), "0" * 128, "opentera.presence.gateways"):
            with pytest.raises(PermissionDenied):
                await bus.variables.get(name)
            with pytest.raises(PermissionDenied):
                await bus.variables.delete(name)
        with pytest.raises(PermissionDenied):
            await bus.link.execute("SCAN", "0")  # it shows the names of session keys

    async def test_the_rights_of_the_docs_are_sufficient_and_minimal(self) -> None:
        for purpose, added in service_additions().items():
            rules = added.replace("NAME*", "own.*").replace("TOPIC*", "own.*").split()
            work = WORK[purpose]
            with pytest.raises((CommandFailed, AssertionError)):
                await work(await self.start(SERVICE), self.redis)
            for left_out in ["", *rules]:
                self.redis.execute_command(
                    *("ACL", "SETUSER", SERVICE, "reset", "on", f">{PASSWORD}"),
                    *(rule for rule in rules_of_the_file(SERVICE)),
                    *(rule for rule in rules if rule != left_out),
                )
                bus = await self.start(SERVICE)
                if left_out and left_out not in rules_of_the_file(SERVICE):
                    # A script without the right to read presence returns no client.
                    with pytest.raises((CommandFailed, AssertionError)):
                        await work(bus, self.redis)
                else:
                    await work(bus, self.redis)
                self.redis.flushdb()
                self.redis.script_flush()


async def _has_own(bus: Bus, admin: redis.Redis) -> None:
    await bus.variables.set("own.a", "1")
    assert await bus.variables.compare_and_set("own.a", "1", "2")
    assert await bus.variables.compare_and_set("own.a", "2", "3")
    await bus.variables.delete("own.a")
    await bus.publish("own.topic", b"")


async def _issues(bus: Bus, admin: redis.Redis) -> None:
    for kind in topics.KINDS:
        key = await SessionKeys(bus).issue(kind, UUID)
        assert admin.get(key) == UUID.encode()
        with pytest.raises(PermissionDenied):
            await bus.variables.get(key)


async def _redeems(bus: Bus, admin: redis.Redis) -> None:
    for kind in topics.KINDS:
        for key in (f"{kind}.{'k' * 43}", "0123456789abcdef" * 8):
            admin.set(key, UUID, ex=60)
            assert await SessionKeys(bus).redeem(kind, key) == Identity(kind, UUID)


async def _asks_who_is_online(bus: Bus, admin: redis.Redis) -> None:
    gateway = str(uuid4())
    admin.zadd(GATEWAYS, {gateway: 2**50})
    admin.hset(HELD + gateway, f"user.{UUID}", "")
    assert await bus.presence.online("user") == [UUID]


async def _checks_tokens(bus: Bus, admin: redis.Redis) -> None:
    for secret in Secret:
        admin.set(secret, "s")
        assert await bus.variables.get(secret) == b"s"
        with pytest.raises(PermissionDenied):
            await bus.variables.set(secret, "forged")


async def _writes_logs(bus: Bus, admin: redis.Redis) -> None:
    publisher = LogPublisher(bus, "test")
    publisher.log(LogList.INFO, "hello")
    await publisher.flush()
    assert publisher.dropped == 0
    assert admin.llen(LogList.INFO) == 1


WORK: dict[str, Callable[[Bus, redis.Redis], Awaitable[None]]] = {
    "has its own variables and topics": _has_own,
    "issues session keys": _issues,
    "redeems session keys itself": _redeems,
    "reads presence": _asks_who_is_online,
    "checks the tokens of an OpenTera server": _checks_tokens,
    "writes to OpenTera's logs": _writes_logs,
}


class ReaderRightsTests(RightsTestCase):
    async def test_a_reader_needs_each_of_its_rights(self) -> None:
        other = await self.administrator()
        await other.serve_service("Sum", Procedures())
        bus = await self.start(READER)
        got = Collector()
        topic = topics.websocket_events("user", UUID)
        for name in (
            topic, "module.A.events", "module.A.events.b", "service.A.events", "service.A.events.b"
        ):  # fmt: skip
            await bus.subscribe(name, got)
        await bus.subscribe_pattern("module.*.events", got)
        await other.publish_event(topic, UserEvent())
        await got.wait(1)
        await (await bus.subscribe(topic, got)).cancel()
        await (await bus.subscribe_pattern("service.*.events", got)).cancel()
        one = await bus.subscribe(topics.websocket_events("device", UUID), got)
        await one.cancel()
        values = Collector()
        await bus.variables.watch("service.Sum", lambda _, value: values(value))
        gateway = str(uuid4())
        self.redis.zadd(GATEWAYS, {gateway: 2**50})
        self.redis.hset(HELD + gateway, f"user.{UUID}", "")
        assert await bus.presence.online("user") == [UUID]
        (sum_,) = await bus.services()
        assert (sum_.server, sum_.description) == ("service.Sum", None)
        await bus.link.execute("ROLE")
        self.redis.acl_log_reset()  # a request for its description is a call
        self.check(READER)

    async def test_a_reader_changes_nothing_and_sees_no_call(self) -> None:
        bus = await self.start(READER)
        for attempt in (
            lambda: bus.variables.set("service.Sum", "{}"),
            lambda: bus.variables.delete("service.Sum"),
            lambda: bus.publish("module.A.events", b""),
            lambda: bus.subscribe("service.Sum.rpc", print),
            lambda: bus.subscribe_pattern("*", print),
            lambda: bus.link.execute("SCAN", "0"),
        ):
            with pytest.raises(PermissionDenied):
                await attempt()


def test_the_unedited_file_is_refused() -> None:
    command = [find_server(), "--port", "0", "--aclfile", str(ROOT / "contrib" / "redis.acl")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=GUARD)
    assert done.returncode != 0
    for name in ("ADMINISTRATORS", "GATEWAYS", "SERVICES", "READERS"):
        assert f"#SHA256-OF-THE-{name}-PASSWORD" in (ROOT / "contrib" / "redis.acl").read_text()


def test_every_user_needs_a_password() -> None:
    file = (ROOT / "contrib" / "redis.acl").read_text()
    assert re.findall(r"^user (\S+) on #", file, re.MULTILINE) == [
        "default",
        GATEWAY,
        SERVICE,
        READER,
    ]
    assert len(file.splitlines()) == 4
    assert "nopass" not in file
