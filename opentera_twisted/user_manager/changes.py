"""Changes requested by a message to the module: presence, and joining and leaving sessions."""

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
from opentera_twisted.messages.envelopes import tera_event, unpack_all
from opentera_twisted.messages.templates import template
from opentera_twisted.sessions import is_uuid
from opentera_twisted.topics import Kind

EVENTS: Final = topics.module_events(topics.USER_MANAGER_MODULE)
"""Topic of the module's events."""

MOST_CHANGES: Final = 1000
"""Changes in one message; a message with more is dropped as a whole."""

What = Literal["online", "offline", "join", "leave", "stop"]


class NotAMessage(Exception):
    """The payload is not a message to the module, or requests too many changes."""


@frozen
class Change:
    """A change requested by one event in a message.

    Attributes:
        what: type of the change.
        kind: kind of the identity; empty when a session stops for all its members.
        uuid: UUID of the identity, or of the session that stops.
        detail: UUID of the session to join or leave; for ``online`` and ``offline``, the template
            of the event to publish.
    """

    what: What
    kind: Kind | Literal[""]
    uuid: str
    detail: str | bytes = ""

    @property
    def is_valid(self) -> bool:
        """Return True if all UUIDs are well-formed."""
        has_session = self.what in {"join", "leave"}
        return is_uuid(self.uuid) and (is_uuid(self.detail) or not has_session)


def changes(payload: bytes) -> list[Change]:
    """Parse the changes in a message, in order; skip events that do not concern the registry.

    Raises:
        NotAMessage: the payload is malformed, or requests too many changes.
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
    """Make the template of an event about an identity.

    Args:
        kind: kind of the identity.
        what: type of the event without the kind, such as ``JOINED_SESSION``.
        uuid: UUID of the identity; `NIL_UUID` is a placeholder that a script in Redis replaces.
        fields: further fields of the event.
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
            uuids = (message.user_uuid, message.participant_uuid, message.device_uuid)
            refusing = [[uuid] if uuid else [] for uuid in uuids]
            yield from _of_all("leave", refusing, message.session_uuid)
    else:
        yield from _of_presence(message)


def _of_all(
    what: Literal["join", "leave"], uuids: Iterable[Iterable[str]], session: str
) -> Iterator[Change]:
    for kind, of_kind in zip(topics.KINDS, uuids, strict=True):
        for uuid in of_kind:
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
