"""What a message to the module would change: who came and went, who joined and left a session."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal

from attrs import frozen
from google.protobuf.message import DecodeError, Message

from opentera_twisted import topics
from opentera_twisted.holders import NIL_UUID
from opentera_twisted.messages import (
    DeviceEvent,
    JoinSessionEvent,
    JoinSessionReplyEvent,
    LeaveSessionEvent,
    ParticipantEvent,
    StopSessionEvent,
    TeraModuleMessage,
    UserEvent,
)
from opentera_twisted.messages.packing import tera_event, unpack_all
from opentera_twisted.messages.templates import template
from opentera_twisted.sessions import is_uuid
from opentera_twisted.topics import Kind

EVENTS: Final = topics.module_events(topics.USER_MANAGER_MODULE)
"""Where changes are published."""

MOST_CHANGES: Final = 1000
"""Changes of one message; what asks for more is refused as a whole."""

What = Literal["online", "offline", "join", "leave", "stop"]


class NotAMessage(Exception):
    """That is no message to the module, or asks for too much."""


@frozen
class Change:
    """What one event in a message would change.

    Attributes:
        what: is to happen.
        kind: of whom; empty when a session stops, for all who are in it.
        uuid: of whom, or of the session that stops.
        detail: the session that is joined or left; the event to publish when somebody comes or
            goes, a template.
    """

    what: What
    kind: Kind | Literal[""]
    uuid: str
    detail: str | bytes = ""

    @property
    def is_valid(self) -> bool:
        """Whether UUIDs are where they should be."""
        has_session = self.what in {"join", "leave"}
        return is_uuid(self.uuid) and (is_uuid(self.detail) or not has_session)


def changes(payload: bytes) -> list[Change]:
    """What a message changes, in order; events that are not for the registry are left out.

    Raises:
        NotAMessage: it is not of the form of a message.
    """
    try:
        message = TeraModuleMessage.FromString(payload)
    except DecodeError:
        raise NotAMessage from None
    found: list[Change] = []
    for event in unpack_all(message.data):
        found += _of_event(event)
        if len(found) > MOST_CHANGES:
            raise NotAMessage
    return found


def event(kind: Kind, what: str, uuid: str = NIL_UUID, **fields: str) -> bytes:
    """The template of an event about somebody.

    Args:
        kind: of whom.
        what: the event's type without the kind, such as ``JOINED_SESSION``.
        uuid: of whom; `NIL_UUID` stands for the UUID of whom only Redis knows.
        fields: of the event.
    """
    message = _EVENT_OF[kind](**{f"{kind}_uuid": uuid, **fields})
    message.type = message.EventType.Value(f"{kind.upper()}_{what}")
    return template(tera_event(EVENTS, [message]))


_EVENT_OF: Final[dict[Kind, Any]] = {
    "user": UserEvent,
    "participant": ParticipantEvent,
    "device": DeviceEvent,
}


def _of_event(message: Message) -> Iterator[Change]:
    if isinstance(message, JoinSessionEvent):
        invited = (message.session_users, message.session_participants, message.session_devices)
        yield from _of_all("join", invited, message.session_uuid)
    elif isinstance(message, LeaveSessionEvent):
        leaving = (message.leaving_users, message.leaving_participants, message.leaving_devices)
        yield from _of_all("leave", leaving, message.session_uuid)
    elif isinstance(message, StopSessionEvent):
        yield Change("stop", "", message.session_uuid)
    elif isinstance(message, JoinSessionReplyEvent):
        if message.join_reply != JoinSessionReplyEvent.REPLY_ACCEPTED:
            who = (message.user_uuid, message.participant_uuid, message.device_uuid)
            yield from _of_all("leave", [[one] if one else [] for one in who], message.session_uuid)
    else:
        yield from _of_presence(message)


def _of_all(
    what: Literal["join", "leave"], uuids: Iterable[Iterable[str]], session: str
) -> Iterator[Change]:
    for kind, those in zip(topics.KINDS, uuids, strict=True):
        for uuid in those:
            yield Change(what, kind, uuid, session)


def _of_presence(message: Any) -> Iterator[Change]:
    for kind, event_of in _EVENT_OF.items():
        if isinstance(message, event_of):
            came = message.EventType.Value(f"{kind.upper()}_CONNECTED")
            went = message.EventType.Value(f"{kind.upper()}_DISCONNECTED")
            if message.type in {came, went}:
                yield Change(
                    "online" if message.type == came else "offline",
                    kind,
                    getattr(message, f"{kind}_uuid"),
                    template(tera_event(EVENTS, [message])),
                )
