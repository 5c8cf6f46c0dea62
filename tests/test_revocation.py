"""Revocation: people whom OpenTera deletes or disables, and their websockets."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed

from opentera_twisted import Identity, topics
from opentera_twisted.gateway.revoked import REMEMBERED, REMEMBERED_SECONDS, Revoked
from opentera_twisted.messages import (
    DatabaseEvent,
    DeviceEvent,
    ServerCommand,
    TeraModuleMessage,
)
from opentera_twisted.messages.envelopes import tera_event, unpack
from opentera_twisted.pubsub import Delivery
from opentera_twisted.revocation import LARGEST_OBJECT, TOPICS, Standing, standings
from opentera_twisted.user_manager import UserManager
from tests.gateway.test_gateway import GatewayTestCase
from tests.helpers.strategies import any_text
from tests.helpers.support import GUARD, UUID, log_of, message, turn, until
from tests.helpers.websockets import HandshakeFailed, connect

TOPIC_OF = {kind: topic for topic, kind in TOPICS.items()}


def database_event(kind: topics.Kind, event: Any, **fields: Any) -> tuple[str, bytes]:
    """Return a topic and a payload of the database module."""
    topic = TOPIC_OF[kind]
    value = json.dumps({f"id_{kind}": 1, f"{kind}_uuid": UUID, **fields})
    packed = DatabaseEvent(type=event, object_type=kind, object_value=value)
    return topic, tera_event(topic, [packed]).SerializeToString()


@pytest.mark.parametrize("kind", topics.KINDS)
def test_the_standing_that_a_database_event_gives(kind: topics.Kind) -> None:
    enabled, gone = f"{kind}_enabled", {"deleted_at": "2026-01-01T00:00:00"}
    for event, fields, expected in (
        (DatabaseEvent.DB_DELETE, {}, True),
        (DatabaseEvent.DB_UPDATE, {enabled: False}, True),
        (DatabaseEvent.DB_UPDATE, {enabled: True}, False),
        (DatabaseEvent.DB_UPDATE, {enabled: True, **gone}, True),
        (DatabaseEvent.DB_UPDATE, {enabled: True, "deleted_at": None}, False),
        (DatabaseEvent.DB_UPDATE, {}, None),
        (DatabaseEvent.DB_CREATE, {enabled: False}, None),
        (DatabaseEvent.DB_DELETE, {f"{kind}_uuid": 7}, None),
        (DatabaseEvent.DB_DELETE, {f"{kind}_uuid": "everybody"}, None),
        (DatabaseEvent.DB_DELETE, {"more": "x" * LARGEST_OBJECT}, None),
    ):
        found = standings(*database_event(kind, event, **fields))
        assert found == ([] if expected is None else [Standing(kind, UUID, expected)])


@given(st.binary() | any_text().map(lambda text: tera_event(
    "t", [DatabaseEvent(type=DatabaseEvent.DB_DELETE, object_value=text)]
).SerializeToString()))  # fmt: skip
def test_other_messages_revoke_nothing(payload: bytes) -> None:
    assert standings(TOPIC_OF["user"], payload) == []
    deep = DatabaseEvent(type=DatabaseEvent.DB_DELETE, object_value="[" * 60_000)
    assert standings(TOPIC_OF["user"], tera_event("t", [deep]).SerializeToString()) == []


def test_revoked_people_are_remembered_within_bounds() -> None:
    now = 0.0
    closed: list[tuple[str, str]] = []
    pubsub: Any = None
    revoked = Revoked(pubsub, lambda: now, lambda kind, uuid: closed.append((kind, uuid)))

    def received(event: Any, **fields: Any) -> None:
        topic, payload = database_event("user", event, **fields)
        revoked._received(Delivery(topic, None, payload))

    letters = "abcdefab-2222-3333-4444-55555555555F"
    received(DatabaseEvent.DB_DELETE, user_uuid=letters)
    assert closed == [("user", letters)]
    assert revoked.includes("user", letters.upper())
    assert revoked.includes("user", letters.lower())
    received(DatabaseEvent.DB_DELETE)
    assert revoked.includes("user", UUID)
    assert not revoked.includes("device", UUID)
    received(DatabaseEvent.DB_UPDATE, user_enabled=True)
    assert not revoked.includes("user", UUID)
    received(DatabaseEvent.DB_UPDATE, user_enabled=False)
    now = REMEMBERED_SECONDS
    assert not revoked.includes("user", UUID)
    for _ in range(REMEMBERED + 10):
        received(DatabaseEvent.DB_DELETE, user_uuid=str(uuid4()))
    assert len(revoked._since) == REMEMBERED


class RevokedClientTests(GatewayTestCase):
    async def test_deleted_and_disabled_clients_are_closed(self) -> None:
        port = await self.gateway()
        await self.subscribed_to_database()
        lower, upper = str.lower, str.upper
        gone = {"device_enabled": True, "deleted_at": "2026"}
        for kind, event, fields, of_client, of_event in (
            ("user", DatabaseEvent.DB_DELETE, {}, lower, upper),
            ("participant", DatabaseEvent.DB_UPDATE, {"participant_enabled": False}, upper, lower),
            ("device", DatabaseEvent.DB_UPDATE, gone, lower, lower),
        ):
            uuid = of_client(str(uuid4()))
            client = await self.log_in(port, kind, uuid)  # type: ignore[arg-type]
            other = await self.log_in(port, kind, str(uuid4()))  # type: ignore[arg-type]
            unused = await self.keys.issue(kind, uuid)  # type: ignore[arg-type]
            named = {f"{kind}_uuid": of_event(uuid), **fields}
            self.redis.publish(*database_event(kind, event, **named))  # type: ignore[arg-type]
            assert await client.closed == (4000, "CMD_CLIENT_DISCONNECT")
            with pytest.raises(HandshakeFailed, match="403"):
                await connect(port, f"/wss/{kind}?id={unused}")
            assert not other.closed.called

    async def test_a_person_deleted_during_a_login_is_closed(self) -> None:
        asked: Deferred[None] = Deferred()
        answered: Deferred[Identity] = Deferred()

        class Slow:
            def resolve(self, kind: topics.Kind, uuid: str) -> Deferred[Identity]:
                asked.callback(None)
                return answered

        port = await self.gateway(identities=Slow())
        await self.subscribed_to_database()
        opening = Deferred.fromCoroutine(self.log_in(port))
        await asked
        self.redis.publish(*database_event("user", DatabaseEvent.DB_DELETE))
        await until(self.is_revoked, bool)
        answered.callback(Identity("user", UUID))
        client = await opening
        assert await client.closed == (4000, "CMD_CLIENT_DISCONNECT")

    async def test_a_deleted_client_gets_its_earlier_events(self) -> None:
        port = await self.gateway()
        await self.subscribed_to_database()
        client = await self.log_in(port)
        own = topics.websocket_events("user", UUID)
        event = tera_event(own, [DeviceEvent(device_uuid=UUID)])
        with self.redis.pipeline() as together:  # in one read of the gateway
            together.publish(own, event.SerializeToString())
            together.publish(*database_event("user", DatabaseEvent.DB_DELETE))
            together.execute()
        assert await client.closed == (4000, "CMD_CLIENT_DISCONNECT")
        assert len(client.messages.items) == 1

    async def is_revoked(self) -> bool:
        await turn()
        return self.gate._revoked.includes("user", UUID)

    async def subscribed_to_database(self) -> None:
        async def ask() -> Any:
            await self.keys._link.execute("PING")
            return self.redis.pubsub_numsub(*TOPICS)

        await until(ask, lambda counts: all(count for _, count in counts))

    async def test_the_user_manager_tells_every_gateway_to_close_them(self) -> None:
        bus = await self.bus(self.gateway_url)
        manager = UserManager(bus)
        manager.startService()
        self.addCleanup(manager.stopService)
        await manager.serving()
        disabled = str(uuid4())
        commands = self.subscribed(*map(topics.disconnect_command, (UUID, disabled)))
        for uuid, enabled in ((UUID, True), (disabled, False)):
            fields = {"device_uuid": uuid, "device_enabled": enabled}
            self.redis.publish(*database_event("device", DatabaseEvent.DB_UPDATE, **fields))
        received = TeraModuleMessage.FromString(await message(commands))
        assert received.head.dest == topics.disconnect_command(disabled)
        (command,) = map(unpack, received.data)
        assert command == ServerCommand(type=ServerCommand.CMD_CLIENT_DISCONNECT)


class Strict:
    """A resolver that accepts users only."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def resolve(self, kind: topics.Kind, uuid: str) -> Any:

        self.asked.append(kind)
        return succeed(Identity(kind, uuid) if kind == "user" else None)


class KindOfKeyTests(GatewayTestCase):
    """Keys of existing servers, which carry no kind."""

    def existing_key(self, uuid: str = UUID) -> str:
        key = (uuid4().hex * 4)[:128]
        self.redis.set(key, uuid, ex=60)
        return key

    async def refused(self, port: int, kind: str, key: str) -> None:
        with pytest.raises(HandshakeFailed, match="403"):
            await connect(port, f"/wss/{kind}?id={key}")
        assert self.redis.get(key) == UUID.encode()
        assert 0 < self.redis.ttl(key) <= 60

    async def test_a_key_is_kept_when_its_uuid_is_open_as_another_kind(self) -> None:
        port = await self.gateway()
        await connect(port, f"/wss/user?id={self.existing_key()}")
        await self.gate._presence.reported()
        key = self.existing_key()
        for kind in ("device", "participant"):
            await self.refused(port, kind, key)
        await connect(port, f"/wss/user?id={key}")
        bound = await self.keys.issue("device", UUID)
        with pytest.raises(HandshakeFailed, match="403"):
            await connect(port, f"/wss/device?id={bound}")
        assert self.redis.exists(bound)

    async def test_a_key_is_kept_while_open_at_an_existing_gateway(self) -> None:
        port = await self.gateway()
        existing = self.redis.pubsub()
        self.addCleanup(existing.close)
        existing.psubscribe(topics.websocket_events("user", UUID))
        existing.get_message(timeout=GUARD)
        key = self.existing_key()
        await self.refused(port, "device", key)
        await connect(port, f"/wss/user?id={key}")

    async def test_a_key_is_kept_when_the_service_rejects_its_kind(self) -> None:
        identities: Any = Strict()
        port = await self.gateway(identities=identities)
        key = self.existing_key()
        with pytest.raises(HandshakeFailed, match="403"):
            await connect(port, f"/wss/device?id={key}")

        async def given_back() -> Any:
            await self.keys._link.execute("PING")
            return self.redis.get(key)

        assert await until(given_back, bool) == UUID.encode()
        await connect(port, f"/wss/user?id={key}")
        assert identities.asked == ["device", "user"]


class SecretVariableTests(GatewayTestCase):
    async def test_a_login_consumes_no_job_or_authorization_code(self) -> None:
        port = await self.gateway()
        log = log_of(self)
        secret = "value-of-ServiceTokenAPIKey"
        code = f"service_auth_code_{uuid4()}"
        token = json.dumps({"uuid": UUID, "user_token": secret, "websocket_url": "wss://x"})
        job = json.dumps({"service_key": secret, "uuid": UUID})
        for name, value, ttl in (
            (str(uuid4()), job, 60),  # a job: names in a queue are UUIDs
            (uuid4().hex, job, 60),
            (code, token, None),  # rewritten at login without an expiry
            (code + "0", token, 300),
            ("f" * 128, token, None),
            ("e" * 128, secret, 60),
            ("user." + "k" * 43, token, None),
        ):
            self.redis.set(name, value, ex=ttl)
            for kind in topics.KINDS:
                with pytest.raises(HandshakeFailed, match="403") as refused:
                    await connect(port, f"/wss/{kind}?id={name}")
                assert secret not in str(refused.value)
            assert self.redis.get(name) == value.encode()
            assert (self.redis.ttl(name) > 0) is (ttl is not None)
        assert not any(secret in text for text in log.items)
