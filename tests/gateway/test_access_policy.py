"""The default access policy: the audience of each broadcast event."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message

from opentera_twisted import Identity, topics
from opentera_twisted.errors import InvalidArgument
from opentera_twisted.gateway import EVERYONE, NOBODY, Audience, DefaultPolicy
from opentera_twisted.gateway.access_policy import reaches_owner
from opentera_twisted.messages import (
    ArchiveEvent,
    CreateSession,
    DatabaseEvent,
    DeviceEvent,
    JoinSessionEvent,
    JoinSessionReplyEvent,
    LeaveSessionEvent,
    ParticipantEvent,
    Result,
    RPCMessage,
    ServerCommand,
    StopSessionEvent,
    UserEvent,
    UserRegisterToEvent,
)

ME, OTHER = "11111111-2222-3333-4444-555555555555", "99999999-2222-3333-4444-555555555555"
USERS = topics.module_events("TeraServer.UserManagerModule")
FILES = topics.service_events("FileTransferService")


@pytest.mark.parametrize(
    ("event", "kinds"),
    [
        (UserEvent(user_uuid=ME), {"user"}),
        (UserEvent(user_uuid=OTHER), set()),
        (ParticipantEvent(participant_uuid=ME), {"participant"}),
        (DeviceEvent(device_uuid=ME), {"device"}),
        (ArchiveEvent(owner_uuid=ME), {"user", "participant", "device"}),
        (ArchiveEvent(owner_uuid=OTHER, archive_uuid=ME), set()),
        (JoinSessionEvent(session_users=[OTHER, ME]), {"user"}),
        (JoinSessionEvent(session_participants=[ME], session_devices=[OTHER]), {"participant"}),
        (JoinSessionEvent(session_devices=[ME]), {"device"}),
        (JoinSessionEvent(session_uuid=ME, service_uuid=ME), set()),
        (JoinSessionReplyEvent(user_uuid=ME), set()),
        (LeaveSessionEvent(leaving_users=[ME]), set()),
        (StopSessionEvent(session_uuid=ME), set()),
        (DatabaseEvent(), set()),
    ],
)
def test_a_client_sees_events_about_itself(event: Any, kinds: set[str]) -> None:
    audience = DefaultPolicy().audience(USERS, event)
    assert {kind for kind in topics.KINDS if audience.includes(kind, ME)} == kinds


@pytest.mark.parametrize("kind", topics.KINDS)
@pytest.mark.parametrize(
    ("event", "reaches"),
    [
        (UserEvent(user_uuid=OTHER), True),
        (ParticipantEvent(participant_uuid=OTHER), True),
        (DeviceEvent(device_uuid=OTHER), True),
        (StopSessionEvent(session_uuid=OTHER), True),
        (LeaveSessionEvent(session_uuid=OTHER, leaving_users=[OTHER]), True),
        (JoinSessionReplyEvent(user_uuid=OTHER, device_uuid=OTHER), True),
        (
            JoinSessionEvent(
                session_users=[ME], session_participants=[ME], session_devices=[OTHER, ME]
            ),
            True,
        ),
        (
            JoinSessionEvent(
                session_users=[OTHER], session_participants=[OTHER], session_devices=[OTHER]
            ),
            False,
        ),
        (JoinSessionReplyEvent(user_uuid=ME, participant_uuid=ME, device_uuid=ME), False),
        (ArchiveEvent(owner_uuid=ME), True),
        (ArchiveEvent(owner_uuid=OTHER, archive_uuid=ME), False),
        (DatabaseEvent(), False),
        (CreateSession(), False),
        (Result(), False),
        (ServerCommand(), False),
        (UserRegisterToEvent(), False),
        (RPCMessage(), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Message) else str(value),
)
def test_the_own_topic_delivers_as_existing_gateways_do(
    kind: topics.Kind, event: Any, reaches: bool
) -> None:
    assert reaches_owner(topics.websocket_events(kind, ME), event) is reaches


def test_an_invitation_of_another_kind_does_not_reach_the_owner() -> None:
    event = JoinSessionEvent(session_users=[ME])
    assert not reaches_owner(topics.websocket_events("device", ME), event)
    reply = JoinSessionReplyEvent(user_uuid=ME)
    assert reaches_owner(topics.websocket_events("device", ME), reply)


def test_a_topic_is_opened_to_a_kind() -> None:
    policy = DefaultPolicy(["user:service.A.events", "device:service.A.events", f"user:{USERS}"])
    assert set(policy.topics(Identity("user", ME))) == {USERS, FILES, "service.A.events"}
    assert set(policy.topics(Identity("device", ME))) == {USERS, FILES, "service.A.events"}
    assert set(policy.topics(Identity("participant", ME))) == {USERS, FILES}
    opened = policy.audience("service.A.events", StopSessionEvent())
    assert [kind for kind in topics.KINDS if opened.includes(kind, ME)] == ["user", "device"]
    assert policy.audience("service.B.events", StopSessionEvent()) == NOBODY
    assert policy.audience(USERS, UserEvent(user_uuid=OTHER)).includes("user", ME)


@pytest.mark.parametrize(
    "text",
    [
        "", "user", "user:", "admin:service.A.events", "service.A.events", "user:news",
        "user:service.A.rpc", "user:module.A.messages", "user:UserTokenAPIKey",
    ],
)  # fmt: skip
def test_only_topics_of_events_are_opened(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"KIND:TOPIC|is not a topic|are for programs"):
        DefaultPolicy([text])


def test_everyone_and_nobody() -> None:
    assert all(EVERYONE.includes(kind, ME) for kind in topics.KINDS)
    assert not any(NOBODY.includes(kind, ME) for kind in topics.KINDS)
    assert Audience(members=frozenset({("user", ME)})).includes("user", ME)
