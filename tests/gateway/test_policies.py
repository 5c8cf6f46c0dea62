"""Identities, access policies and broadcasts, over real websockets."""

from __future__ import annotations

from collections.abc import Sized
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.message import Message
from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from zope.interface import implementer

from opentera_twisted import Identity, Procedures, topics
from opentera_twisted.errors import InvalidTopic
from opentera_twisted.gateway import (
    EVERYONE,
    NOBODY,
    Audience,
    DefaultPolicy,
    IAccessPolicy,
    IIdentityResolver,
    RpcIdentities,
    intake,
)
from opentera_twisted.messages import (
    DatabaseEvent,
    JoinSessionEvent,
    LogEvent,
    ParticipantEvent,
    StopSessionEvent,
    TeraModuleMessage,
    UserEvent,
)
from opentera_twisted.messages.envelopes import tera_event, unpack
from tests.gateway.test_gateway import REPORTS, GatewayTestCase
from tests.helpers.support import UUID, log_of, message, turn, until
from tests.helpers.websockets import HandshakeFailed, WebSocket, connect, connect_bytes, handshake

USERS = topics.module_events("TeraServer.UserManagerModule")
DATABASE = topics.module_events("TeraServer.DatabaseModule")


class BroadcastTests(GatewayTestCase):
    def publish(self, topic: str, *events: Message) -> int:
        return int(self.redis.publish(topic, tera_event(topic, events).SerializeToString()))

    async def names(self, client: WebSocket, number: int) -> list[str]:
        events = (await client.event(number))["events"]
        return [event["@type"].rpartition(".")[2] for event in events]

    async def test_each_client_sees_broadcasts_about_itself(self) -> None:
        port = await self.gateway()
        other = str(uuid4())
        clients = [await self.log_in(port), await self.log_in(port, uuid=other)]
        self.publish(USERS, UserEvent(user_uuid=UUID, user_fullname="me"))
        both = JoinSessionEvent(session_users=[UUID, other])
        self.publish(USERS, both, UserEvent(user_uuid=UUID), StopSessionEvent(session_uuid=UUID))
        assert await self.names(clients[0], 0) == ["UserEvent"]
        assert await self.names(clients[0], 1) == ["JoinSessionEvent", "UserEvent"]
        assert await self.names(clients[1], 0) == ["JoinSessionEvent"]

    async def test_another_kind_with_the_same_uuid_sees_nothing(self) -> None:
        port = await self.gateway()
        other = str(uuid4())
        device, user = await self.log_in(port, "device", other), await self.log_in(port)
        self.publish(USERS, UserEvent(user_uuid=other))  # as a user, not as a device
        self.publish(USERS, JoinSessionEvent(session_users=[UUID], session_devices=[other]))
        assert await self.names(user, 0) == ["JoinSessionEvent"]
        assert await self.names(device, 0) == ["JoinSessionEvent"]

    async def test_a_topic_opened_to_a_kind_is_seen_by_that_kind(self) -> None:
        topic = "service.A.events"
        port = await self.gateway(policy=DefaultPolicy([f"user:{topic}", f"user:{USERS}"]))
        other = str(uuid4())
        user, device = await self.log_in(port), await self.log_in(port, "device", other)
        assert self.publish(topic, StopSessionEvent()) == 1
        self.publish(USERS, UserEvent(user_uuid="another"))
        self.publish(topics.websocket_events("device", other), ParticipantEvent())
        assert await self.names(user, 0) == ["StopSessionEvent"]
        assert await self.names(user, 1) == ["UserEvent"]
        assert await self.names(device, 0) == ["ParticipantEvent"]

    async def test_no_policy_can_open_logs_or_database_events(self) -> None:
        class Open:
            def topics(self, identity: Identity) -> list[str]:
                return [DATABASE]

            def audience(self, topic: str, event: Message) -> Audience:
                return EVERYONE

        port = await self.gateway(policy=Open())
        client = await self.log_in(port)
        self.publish(DATABASE, DatabaseEvent())
        self.publish(DATABASE, LogEvent(message="hush"))
        self.publish(DATABASE, DatabaseEvent(), UserEvent(), LogEvent(message="hush"))
        assert await self.names(client, 0) == ["UserEvent"]
        assert "hush" not in client.messages.items[0]

    async def test_a_policy_declared_with_zope_still_serves(self) -> None:
        @implementer(IAccessPolicy)  # type: ignore[misc]
        class Declared:
            def topics(self, identity: Identity) -> list[str]:
                return [USERS]

            def audience(self, topic: str, event: Message) -> Audience:
                return EVERYONE

        @implementer(IIdentityResolver)  # type: ignore[misc]
        class Directory:
            async def resolve(self, kind: topics.Kind, uuid: str) -> Identity | None:
                return Identity(kind, uuid)

        port = await self.gateway(policy=Declared(), identities=Directory())
        client = await self.log_in(port)
        self.publish(USERS, UserEvent())
        assert await self.names(client, 0) == ["UserEvent"]

    async def test_a_policy_that_fails_denies(self) -> None:
        class Failing:
            def topics(self, identity: Identity) -> list[str]:
                return [USERS]

            def audience(self, topic: str, event: Message) -> Audience:
                if event == StopSessionEvent():
                    raise ValueError("hush")
                return EVERYONE

        port = await self.gateway(policy=Failing())
        client = await self.log_in(port)
        self.publish(USERS, StopSessionEvent())
        self.publish(USERS, UserEvent())
        assert await self.names(client, 0) == ["UserEvent"]
        assert len(self.flushLoggedErrors(ValueError)) == 1

    async def test_an_invalid_policy_answer_denies_and_is_logged(self) -> None:
        class Lying:
            def topics(self, identity: Identity) -> list[str]:
                return [USERS]

            def audience(self, topic: str, event: Any) -> Any:
                if event.user_fullname == "none":
                    return None
                return Audience(frozenset(["user"]) if event.user_fullname else set())  # type: ignore[arg-type]

        port = await self.gateway(policy=Lying())
        client = await self.log_in(port)
        for name in ("none", "", "user"):
            self.publish(USERS, UserEvent(user_fullname=name))
        assert (await client.event(0))["events"][0]["userFullname"] == "user"
        assert self.gate.dropped == 0, "it was an event"
        assert len(self.flushLoggedErrors(TypeError)) == 2

    async def test_a_policy_that_fails_to_forget_loses_no_report(self) -> None:
        class Failing(DefaultPolicy):
            def prepare(self, identity: Identity) -> Deferred[None]:
                return succeed(None)

            def forget(self, identity: Identity) -> None:
                raise ValueError("hush")

        port = await self.gateway(policy=Failing())
        reports = self.subscribed(REPORTS)
        client = await self.log_in(port)
        client.dropConnection(abort=True)
        await message(reports)  # the report of its login
        await message(reports)  # the report of its end
        assert not self.gate.factory.connections
        assert len(self.flushLoggedErrors(ValueError)) == 1

    async def test_failing_policy_topics_refuse_logins_keeping_keys(self) -> None:
        class Failing:
            def topics(self, identity: Identity) -> list[str]:
                if topics_of is None:
                    raise ValueError("hush")
                return topics_of

            def audience(self, topic: str, event: Message) -> Audience:
                return NOBODY

        topics_of: list[str] | None = None
        port = await self.gateway(policy=Failing())
        key = await self.keys.issue("user", UUID)
        with pytest.raises(HandshakeFailed, match="500"):
            await connect(port, f"/wss/user?id={key}")
        assert len(self.flushLoggedErrors(ValueError)) == 1
        topics_of = [USERS, ""]
        with pytest.raises(HandshakeFailed, match="500"):
            await connect(port, f"/wss/user?id={key}")
        assert len(self.flushLoggedErrors(InvalidTopic)) == 1
        topics_of = []
        await connect(port, f"/wss/user?id={key}")
        assert await self.subscribers() == 0

    async def test_a_command_closes_the_named_client_not_listeners(self) -> None:
        port = await self.gateway()
        command = topics.disconnect_command(UUID)
        listeners = []
        for uuid in (str(uuid4()), None, str(uuid4())):
            if uuid is None:
                named = await self.log_in(port)
                continue
            key = await self.keys.issue("user", uuid, topics=[command])
            listeners.append(await connect(port, f"/wss/user?id={key}"))
        assert await (await self.bus()).presence.disconnect("user", UUID) == 1
        assert (await named.closed)[0] == 4000
        for listener in listeners:
            self.publish(command, UserEvent(user_fullname="x"))
            assert (await listener.event(1))["events"][0]["userFullname"] == "x"

    async def test_a_disconnect_reaches_each_spelling_at_each_gateway(self) -> None:
        ports = [await self.gateway() for _ in range(2)]
        bus = await self.bus()
        spellings = (str.lower, str.upper, str.title)
        for asked in spellings:
            uuid = f"abcdef{str(uuid4())[6:]}"
            clients = [
                await self.log_in(port, uuid=spelling(uuid))
                for port in ports
                for spelling in spellings
            ]
            assert await bus.presence.disconnect("user", asked(uuid))
            for client in clients:
                assert (await client.closed)[0] == 4000

    async def test_broadcast_topics_are_subscribed_while_clients_exist(
        self,
    ) -> None:
        port = await self.gateway()
        clients = [await self.log_in(port, uuid=str(uuid4())) for _ in range(3)]
        assert self.redis.pubsub_numsub(USERS)[0][1] == 1
        for client in clients:
            client.sendClose()
            await client.closed
        await until(self.subscribers, lambda count: count == 0)

    async def subscribers(self) -> int:
        await turn()
        ((_, count),) = self.redis.pubsub_numsub(USERS)
        return int(count)


class IdentityTests(GatewayTestCase):
    async def report(self, pubsub: Any) -> Any:
        (event,) = map(unpack, TeraModuleMessage.FromString(await message(pubsub)).data)
        return event

    async def served(self, answer: Any) -> RpcIdentities:
        """Return a resolver and start the service that it calls."""
        bus = await self.bus()
        procedures = Procedures()

        @procedures.expose
        def identify(kind: str, uuid: str) -> Any:
            if isinstance(answer, Exception):
                raise answer
            assert (kind, uuid) == ("participant", UUID)
            return answer

        await bus.serve_service("Directory", procedures)
        return RpcIdentities(bus, "service.Directory")

    async def test_a_service_identifies_a_client(self) -> None:
        answer = {"name": "Zoé", "project": "P", "site": "S", "topics": ["service.A.events"]}
        port = await self.gateway(identities=await self.served(answer))
        reports = self.subscribed(REPORTS)
        await self.log_in(port, "participant")
        event = await self.report(reports)
        assert event.participant_name == "Zoé"
        assert event.participant_project_name == "P"
        assert event.participant_site_name == "S"
        assert self.redis.pubsub_numsub("service.A.events")[0][1] == 1

    async def test_details_of_the_key_fill_gaps_of_the_service(self) -> None:
        port = await self.gateway(identities=await self.served({}))
        reports = self.subscribed(REPORTS)
        key = await self.keys.issue("participant", UUID, name="Zoé", topics=["service.B.events"])
        await connect(port, f"/wss/participant?id={key}")
        assert (await self.report(reports)).participant_name == "Zoé"
        assert self.redis.pubsub_numsub("service.B.events")[0][1] == 1

    async def test_a_client_refused_by_the_service_is_refused(self) -> None:
        port = await self.gateway(identities=await self.served(None))
        with pytest.raises(HandshakeFailed, match="403"):
            await self.log_in(port, "participant")

    async def test_a_service_that_fails_means_try_later(self) -> None:
        for answer in (ValueError("hush"), 7, {"name": 7}, {"topics": "x"}, {"topics": [""]}):
            port = await self.gateway(identities=await self.served(answer))
            with pytest.raises(HandshakeFailed, match="503"):
                await self.log_in(port, "participant")
            self.flushLoggedErrors(ValueError)

    async def test_a_missing_service_means_503_and_keeps_the_key(self) -> None:
        port = await self.gateway(identities=RpcIdentities(await self.bus(), "service.Directory"))
        key = await self.keys.issue("participant", UUID)
        for _ in range(2):
            with pytest.raises(HandshakeFailed, match="503"):
                await connect(port, f"/wss/participant?id={key}")
        await self.served({})
        await connect(port, f"/wss/participant?id={key}")
        with pytest.raises(HandshakeFailed, match="403"):
            await connect(port, f"/wss/participant?id={key}")

    async def test_a_refusal_by_the_service_consumes_the_key(self) -> None:
        port = await self.gateway(identities=await self.served(None))
        key = await self.keys.issue("participant", UUID)
        with pytest.raises(HandshakeFailed, match="403"):
            await connect(port, f"/wss/participant?id={key}")
        assert not self.redis.exists(key)

    async def failed_logins(self) -> dict[str, int]:
        await turn()
        return dict(self.gate.logins)

    async def test_leaving_while_resolving_is_not_logged_as_an_error(self) -> None:
        asked: Deferred[None] = Deferred()

        class Slow:
            def resolve(self, kind: topics.Kind, uuid: str) -> Deferred[Identity | None]:
                asked.callback(None)
                return Deferred()

        port = await self.gateway(identities=Slow())
        key = await self.keys.issue("user", UUID)
        client = await connect_bytes(port)
        client.send(handshake(f"/wss/user?id={key}".encode()))
        await asked
        client.drop()
        assert await until(self.failed_logins, bool) == {"gone": 1}
        assert not self.flushLoggedErrors()
        assert await self.keys.redeem("user", key), "the key was returned"

    async def test_simultaneous_answers_about_logins_take_turns(self) -> None:
        self.patch(intake, "SHARE", 0.0)  # each turn serves one login
        asked: list[Deferred[None]] = []
        prepared: list[Deferred[None]] = []
        followed: list[str] = []

        class Slow:
            async def resolve(self, kind: topics.Kind, uuid: str) -> Identity | None:
                asked.append(Deferred())
                await asked[-1]
                return Identity(kind, uuid)

            def prepare(self, identity: Identity) -> Deferred[None]:
                prepared.append(Deferred())
                return prepared[-1]

            def forget(self, identity: Identity) -> None:
                pass

            def topics(self, identity: Identity) -> list[str]:
                followed.append(identity.uuid)
                return []

            def audience(self, topic: str, event: Message) -> Audience:
                return NOBODY

        async def length(of: Sized) -> int:
            await turn()
            return len(of)

        port = await self.gateway(identities=Slow(), policy=Slow())
        logins = [self.log_in(port, uuid=str(uuid4())) for _ in range(3)]
        clients = gatherResults(map(Deferred.fromCoroutine, logins))
        for answers, next_step in ((asked, prepared), (prepared, followed)):
            await until(partial(length, answers), lambda count: count == 3)
            for answer in list(answers):
                answer.callback(None)
            assert len(next_step) == 0
        assert len(await clients) == 3

    async def test_an_invalid_resolver_answer_means_503(self) -> None:
        answers: list[Any] = [
            {"name": "Zoé"},
            Identity("user", UUID, name=7),  # type: ignore[arg-type]
            Identity("user", UUID, topics="abc"),  # type: ignore[arg-type]
            Identity("user", UUID, topics=("service.A.events", "\ud800")),
            Identity("user", UUID, topics=("service.A.events", "")),
        ]

        class Lying:
            def resolve(self, kind: topics.Kind, uuid: str) -> Deferred[Identity | None]:
                return succeed(answers[0])

        port = await self.gateway(identities=Lying())
        key = await self.keys.issue("user", UUID)
        while answers:
            with pytest.raises(HandshakeFailed, match="503"):
                await connect(port, f"/wss/user?id={key}")
            del answers[0]
        answers.append(Identity("user", UUID))
        await connect(port, f"/wss/user?id={key}")
        assert self.redis.pubsub_numsub("service.A.events")[0][1] == 0

    async def test_a_resolver_may_be_a_coroutine_function(self) -> None:
        class Mine:
            async def resolve(self, kind: topics.Kind, uuid: str) -> Identity | None:
                await turn()
                return Identity(kind, uuid, name="Zoé")

        port = await self.gateway(identities=Mine())
        reports = self.subscribed(REPORTS)
        await self.log_in(port)
        event = await self.report(reports)
        assert (event.user_uuid, event.user_fullname) == (UUID, "Zoé")

    async def test_a_custom_resolver_names_the_client(self) -> None:
        class Mine:
            def resolve(self, kind: topics.Kind, uuid: str) -> Deferred[Identity | None]:
                if kind == "device":
                    return fail(KeyError(uuid))
                # Only the name is used: the key determines the identity.
                return succeed(Identity("device", str(uuid4()), name="Zoé"))

        port = await self.gateway(identities=Mine())
        reports = self.subscribed(REPORTS)
        await self.log_in(port)
        event = await self.report(reports)
        assert (event.user_uuid, event.user_fullname) == (UUID, "Zoé")
        log = log_of(self)
        with pytest.raises(HandshakeFailed, match="503"):
            await self.log_in(port, "device", str(uuid4()))
        assert any("refused with 503" in text for text in log.items)
        assert len(self.flushLoggedErrors(KeyError)) == 1
        # Failed logins leave no client behind.
        assert self.gate._admission._present == {("user", UUID): 1}
