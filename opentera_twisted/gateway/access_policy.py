"""The default access policy: clients see what concerns them, and topics opened to their kind.

Source: docs/reference/wire.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from google.protobuf.message import Message

from opentera_twisted import topics
from opentera_twisted.errors import InvalidArgument, InvalidTopic
from opentera_twisted.gateway.contracts import Audience
from opentera_twisted.messages import (
    ArchiveEvent,
    CreateSession,
    DatabaseEvent,
    DeviceEvent,
    JoinSessionEvent,
    JoinSessionReplyEvent,
    ParticipantEvent,
    Result,
    RPCMessage,
    ServerCommand,
    UserEvent,
    UserRegisterToEvent,
)
from opentera_twisted.sessions import Identity
from opentera_twisted.topics import KINDS, Kind


class DefaultPolicy:
    """The access policy of the wire contract, as far as it needs no database.

    A client sees events about itself, invitations of itself and its own archives. A server that
    knows shared projects can use its own policy.

    Args:
        broadcasts: topics for all clients of a kind, each ``KIND:TOPIC``.

    Raises:
        InvalidArgument: a broadcast is malformed.

    Example:
        >>> policy = DefaultPolicy(broadcasts=["user:service.Bell.events"])
        >>> gateway = Gateway(bus, policy=policy)
        >>> policy.audience("service.Bell.events", DeviceEvent()).includes("user", UUID)
        True
    """

    def __init__(self, broadcasts: Iterable[str] = ()) -> None:
        self._opened: dict[str, frozenset[Kind]] = {}
        for text in broadcasts:
            kind, topic = parse_broadcast(text)
            self._opened[topic] = self._opened.get(topic, frozenset()) | {kind}

    def topics(self, identity: Identity) -> Iterable[str]:
        """Return the contract's topics that may concern a client, and its broadcast topics."""
        yield _USER_MANAGER_EVENTS
        yield _FILE_TRANSFER_EVENTS
        for topic, kinds in self._opened.items():
            if identity.kind in kinds and topic not in {
                _USER_MANAGER_EVENTS,
                _FILE_TRANSFER_EVENTS,
            }:
                yield topic

    def audience(self, topic: str, event: Message) -> Audience:
        """Return the kinds that receive the topic, and the identities that the event concerns."""
        return Audience(self._opened.get(topic, frozenset()), concerned(event))


_USER_MANAGER_EVENTS: Final = topics.module_events(topics.USER_MANAGER_MODULE)
_FILE_TRANSFER_EVENTS: Final = topics.service_events("FileTransferService")


def concerned(event: Any) -> frozenset[tuple[Kind, str]]:
    """Return the identities that an event concerns and that may see it by the wire contract."""
    match event:
        case UserEvent():
            return frozenset({("user", event.user_uuid)})
        case ParticipantEvent():
            return frozenset({("participant", event.participant_uuid)})
        case DeviceEvent():
            return frozenset({("device", event.device_uuid)})
        case ArchiveEvent():
            return frozenset((kind, event.owner_uuid) for kind in KINDS)
        case JoinSessionEvent():
            invited = {
                "user": event.session_users,
                "participant": event.session_participants,
                "device": event.session_devices,
            }
            return frozenset((kind, uuid) for kind in KINDS for uuid in invited[kind])
    return frozenset()


def reaches_owner(topic: str, event: Any) -> bool:
    """Decide on an event of a client's own topic, as existing gateways do.

    Args:
        topic: ``websocket.<kind>.<uuid>.events``.
        event: an event that was published there.
    """
    kind = type(event)
    if kind in _FOR_PROGRAMS:
        return False
    if kind not in _FOR_SOME:
        return True
    _, client, rest = topic.split(".", 2)
    uuid = rest.removesuffix(".events")
    if isinstance(event, JoinSessionReplyEvent):
        return getattr(event, f"{client}_uuid", None) != uuid
    return (client, uuid) in concerned(event)


_FOR_PROGRAMS: Final[frozenset[type]] = frozenset(
    {CreateSession, DatabaseEvent, Result, RPCMessage, ServerCommand, UserRegisterToEvent}
)
_FOR_SOME: Final[frozenset[type]] = frozenset(
    {ArchiveEvent, JoinSessionEvent, JoinSessionReplyEvent}
)


def parse_broadcast(text: str) -> tuple[Kind, str]:
    """Read ``KIND:TOPIC``.

    Raises:
        InvalidArgument: the kind is unknown, or the topic does not carry events.
    """
    name, _, topic = text.partition(":")
    for kind in KINDS:
        if name == kind:
            break
    else:
        raise InvalidArgument(f"{text!r}: expected KIND:TOPIC with a kind of {', '.join(KINDS)}")
    try:
        carries = topics.parse(topic).channel
    except InvalidTopic as error:
        raise InvalidArgument(f"{text!r}: {error}") from None
    if carries != "events":
        raise InvalidArgument(
            f"{text!r}: {topic} carries {carries}, which are for programs; expected a topic of "
            "events, such as service.KEY.events"
        )
    return kind, topic
