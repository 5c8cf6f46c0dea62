"""The access policy that calls a service, with a real gateway and real websockets."""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.message import Message
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from opentera_twisted import Identity, ProcedureError, Procedures, SessionKeys, topics
from opentera_twisted.errors import InvalidArgument
from opentera_twisted.gateway import RpcAccess, rpc_access
from opentera_twisted.messages import (
    DatabaseEvent,
    DeviceEvent,
    ParticipantEvent,
    StopSessionEvent,
    UserEvent,
)
from opentera_twisted.messages.envelopes import tera_event
from opentera_twisted.testing import MemoryBus
from tests.gateway.test_gateway import GatewayTestCase
from tests.helpers.support import UUID, Collector, log_of, turn, until
from tests.helpers.websockets import HandshakeFailed, WebSocket, connect, leave

USERS = topics.module_events("TeraServer.UserManagerModule")
CHANGES = topics.module_events("TeraServer.DatabaseModule", "project")
OTHER, THIRD = str(uuid4()), str(uuid4())


class RpcAccessTests(GatewayTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.answers: dict[str, Any] = {}
        self.calls = Collector()
        self.patch(rpc_access, "SETTLING", 0.0)

    async def open(self, **options: Any) -> int:
        """Start a gateway whose policy calls the service of this test."""
        bus = await self.bus()
        procedures = Procedures()

        @procedures.expose
        def may_see(kind: str, uuid: str) -> Any:
            self.calls((kind, uuid))
            answer = self.answers.get(uuid)
            if isinstance(answer, Exception):
                raise answer
            return answer

        self.policy = RpcAccess(bus, "service.Directory", **options)
        self.service = await bus.serve_service("Directory", procedures)
        return await self.gateway(bus, policy=self.policy)

    def publish(self, *events: Message, topic: str = USERS) -> int:
        return int(self.redis.publish(topic, tera_event(topic, events).SerializeToString()))

    async def types(self, client: WebSocket, number: int) -> list[str]:
        events = (await client.event(number))["events"]
        return [event["@type"].rpartition(".")[2] for event in events]

    async def test_a_client_sees_events_of_people_the_service_names(self) -> None:
        port = await self.open()
        self.answers[UUID] = {"user": [OTHER], "participant": [OTHER], "device": [THIRD]}
        self.answers[OTHER] = None
        user = await self.log_in(port)
        other = await self.log_in(port, uuid=OTHER)
        assert self.calls.items == [("user", UUID), ("user", OTHER)]
        self.publish(UserEvent(user_uuid=OTHER), ParticipantEvent(participant_uuid=THIRD))
        self.publish(ParticipantEvent(participant_uuid=OTHER), DeviceEvent(device_uuid=OTHER))
        self.publish(DeviceEvent(device_uuid=THIRD), UserEvent(user_uuid=THIRD))
        self.publish(UserEvent(user_uuid=UUID))
        seen = [await self.types(user, number) for number in range(4)]
        assert seen == [["UserEvent"], ["ParticipantEvent"], ["DeviceEvent"], ["UserEvent"]]
        self.publish(StopSessionEvent())
        assert await self.types(other, 0) == ["UserEvent"]
        assert await self.types(other, 1) == ["StopSessionEvent"]

    async def test_a_database_event_renews_the_answers(self) -> None:
        port = await self.open()
        client = await self.log_in(port)
        self.answers[UUID] = {"participant": [OTHER]}
        assert self.publish(DatabaseEvent(object_type="project"), topic=CHANGES) == 1
        await self.sees(UUID, ParticipantEvent(participant_uuid=OTHER))
        self.answers[UUID] = {}
        self.publish(DatabaseEvent(object_type="project"), topic=CHANGES)
        await self.sees(UUID, ParticipantEvent(participant_uuid=OTHER), expected=False)
        self.publish(ParticipantEvent(participant_uuid=OTHER), UserEvent(user_uuid=UUID))
        assert await self.types(client, 0) == ["UserEvent"]

    async def sees(self, uuid: str, event: Message, *, expected: bool = True) -> None:
        """Wait until a user sees an event, or no longer sees it."""

        async def sees() -> bool:
            await turn()
            return self.policy.audience(USERS, event).includes("user", uuid)

        await until(sees, lambda one: one is expected)

    async def test_an_expired_answer_leaves_events_about_oneself(self) -> None:
        port = await self.open()
        self.answers[UUID] = {"participant": [OTHER]}
        client = await self.log_in(port)
        self.answers[UUID] = ValueError("hush")
        self.publish(DatabaseEvent(), topic=CHANGES)
        await self.sees(UUID, ParticipantEvent(participant_uuid=OTHER), expected=False)
        self.publish(ParticipantEvent(participant_uuid=OTHER), UserEvent(user_uuid=UUID))
        assert await self.types(client, 0) == ["UserEvent"]
        self.answers[UUID] = {"participant": [OTHER]}
        await self.sees(UUID, ParticipantEvent(participant_uuid=OTHER))
        self.flushLoggedErrors(ValueError)

    async def test_a_gap_of_the_link_renews_the_answers(self) -> None:
        port = await self.open()
        await self.log_in(port)
        self.answers[UUID] = {"participant": [OTHER]}
        self.redis.client_kill_filter(_type="pubsub")
        await self.sees(UUID, ParticipantEvent(participant_uuid=OTHER))

    async def test_a_missing_service_means_503_and_keeps_the_key(self) -> None:
        bus = await self.bus()
        port = await self.gateway(bus, policy=RpcAccess(bus, "service.Nobody"))
        key = await self.keys.issue("user", UUID)
        for _ in range(2):
            with pytest.raises(HandshakeFailed, match="503"):
                await connect(port, f"/wss/user?id={key}")
        assert await SessionKeys(bus).redeem("user", key) is not None
        assert self.redis.pubsub_numsub(CHANGES)[0][1] == 0

    async def test_an_answer_of_another_form_means_try_later(self) -> None:
        self.patch(rpc_access, "MOST_SEEN", 2)
        port = await self.open()
        wrong: list[Any] = [
            *(7, [], {"user": "a"}, {"user": [7]}, {"user": ["1", "2"], "device": ["3"]}),
            ValueError("hush"),
        ]
        for answer in wrong:
            self.answers[UUID] = answer
            with pytest.raises(HandshakeFailed, match="503"):
                await self.log_in(port)
        self.flushLoggedErrors(ValueError)
        self.answers[UUID] = {"user": ["1", "2"], "site": "more"}
        await self.log_in(port)

    async def come_and_go(self, port: int, uuid: str = UUID) -> None:
        """Log a user in and out, and wait until the gateway has noticed."""
        await leave(await self.log_in(port, uuid=uuid))

        async def is_gone() -> bool:
            await turn()
            return ("user", uuid) not in self.policy._clients

        await until(is_gone, bool)

    async def test_answers_are_kept_for_clients_that_left_until_a_change(self) -> None:
        port = await self.open()
        await self.log_in(port, uuid=OTHER)
        for calls in (2, 2):
            await self.come_and_go(port)
            assert len(self.calls.items) == calls
        self.publish(DatabaseEvent(), topic=CHANGES)
        await self.calls.wait(3)  # of the client that stayed
        await self.come_and_go(port)
        assert self.calls.items[2:] == [("user", OTHER), ("user", UUID)]

    async def test_kept_answers_are_bounded(self) -> None:
        self.patch(rpc_access, "MOST_KEPT", 1)
        port = await self.open()
        await self.log_in(port)
        for uuid in (OTHER, THIRD):
            await self.come_and_go(port, uuid)
        await self.log_in(port, uuid=THIRD)
        assert len(self.calls.items) == 3
        await self.log_in(port, uuid=OTHER)
        assert len(self.calls.items) == 4

    async def test_nothing_is_left_of_the_last_client(self) -> None:
        port = await self.open()
        self.answers[UUID] = {"user": [OTHER]}
        for _ in range(2):
            clients = [await self.log_in(port), await self.log_in(port)]
            assert self.redis.pubsub_numsub(CHANGES)[0][1] == 1
            for client in clients:
                await leave(client)

            async def subscribers() -> int:
                await turn()
                ((_, count),) = self.redis.pubsub_numsub(CHANGES)
                return int(count)

            await until(subscribers, lambda count: count == 0)
            assert not self.policy._answers
            assert not self.policy._seers
            assert not self.policy._clients

    async def test_opened_broadcasts_are_added(self) -> None:
        topic = "service.A.events"
        port = await self.open(broadcasts=[f"user:{topic}"])
        client = await self.log_in(port)
        self.publish(UserEvent(user_uuid=OTHER), topic=topic)
        assert await self.types(client, 0) == ["UserEvent"]


def test_an_invalid_server_name_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        RpcAccess(None, "Directory")  # type: ignore[arg-type]


class RenewalTests(SynchronousTestCase):
    """Renewal by a clock, on a bus in memory."""

    def setUp(self) -> None:
        self.bus = MemoryBus()
        self.calls: Counter[str] = Counter()
        self.answers: dict[str, Any] = {}
        self.policy = RpcAccess(self.bus, "service.Directory")
        procedures = Procedures()

        @procedures.expose
        def may_see(kind: str, uuid: str) -> Any:
            self.calls[uuid] += 1
            answer = self.answers.get(uuid, {"participant": [THIRD]})
            if isinstance(answer, Exception):
                raise answer
            return answer

        self.successResultOf(self.bus.serve_service("Directory", procedures))

    def log_in(self, *uuids: str) -> None:
        for uuid in uuids:
            self.successResultOf(self.policy.prepare(Identity("user", uuid)))

    def change(self) -> None:
        self.bus.deliver(CHANGES, DatabaseEvent())

    def sees(self, uuid: str) -> bool:
        event = ParticipantEvent(participant_uuid=THIRD)
        return self.policy.audience(USERS, event).includes("user", uuid)

    def test_changes_without_pause_do_not_defer_the_renewal(self) -> None:
        self.log_in(UUID)
        for _ in range(4):
            self.change()
            self.bus.clock.advance(0.5)
        assert self.calls[UUID] > 1

    def test_a_client_that_fails_is_retried_alone(self) -> None:
        warned = log_of(self)
        self.log_in(UUID, OTHER)
        self.answers[OTHER] = ProcedureError("no such row")
        self.change()
        self.bus.clock.pump([1.0] * 280)
        assert self.calls[UUID] == 2
        assert 10 < self.calls[OTHER] < 20
        assert len([line for line in warned.items if "did not answer may_see" in line]) == 1
        assert (self.sees(UUID), self.sees(OTHER)) == (True, False)
        self.bus.clock.pump([1.0] * 300)
        assert self.calls[UUID] == 3
        del self.answers[OTHER]
        self.bus.clock.pump([1.0] * 30)
        assert self.sees(OTHER)

    def test_a_kept_answer_ages_like_others(self) -> None:
        self.log_in(UUID, OTHER)
        self.policy.forget(Identity("user", OTHER))
        self.bus.clock.pump([1.0] * 301)
        self.log_in(OTHER)
        assert self.calls[OTHER] == 2

    def test_a_silent_service_leaves_no_old_answer(self) -> None:
        clients = [str(uuid4()) for _ in range(3 * rpc_access.MOST_CALLS)]
        self.log_in(*clients)
        self.answers.update(dict.fromkeys(clients, Deferred()))
        self.change()
        self.bus.clock.pump([1.0] * 8)
        assert not any(map(self.sees, clients))

    def test_a_long_renewal_is_followed_by_a_pause_as_long(self) -> None:
        self.log_in(UUID)
        slow: Deferred[Any] = Deferred()
        self.answers[UUID] = slow
        self.change()
        self.bus.clock.advance(1)
        self.bus.clock.advance(4)
        slow.callback(None)
        self.change()
        self.answers[UUID] = None
        self.bus.clock.pump([0.5] * 7)
        assert self.calls[UUID] == 2
        self.bus.clock.pump([0.5] * 2)
        assert self.calls[UUID] == 3
