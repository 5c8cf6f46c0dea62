"""Database events that revoke access: OpenTera deleted or disabled an identity.

Source: docs/reference/wire.md; the database module of OpenTera's server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Final

from attrs import frozen
from google.protobuf.message import DecodeError

from opentera_twisted import topics
from opentera_twisted.messages import DatabaseEvent, TeraEvent
from opentera_twisted.messages.envelopes import unpack_all
from opentera_twisted.sessions import is_uuid
from opentera_twisted.topics import Kind

LARGEST_OBJECT: Final = 65_536
"""Maximum length of an object in an event, in characters; longer ones are ignored."""


@cache
def topic_of(kind: Kind) -> str:
    """Return the topic of a kind's database events."""
    return topics.module_events("TeraServer.DatabaseModule", kind)


TOPICS: Final[Mapping[str, Kind]] = {topic_of(kind): kind for kind in topics.KINDS}
"""Kinds of identities by topic of their database events."""


@frozen
class Standing:
    """The effect of a database event on one identity.

    Attributes:
        kind: kind of the identity.
        uuid: UUID of the identity.
        is_revoked: True if it was deleted or disabled.
    """

    kind: Kind
    uuid: str
    is_revoked: bool


def standings(topic: str, payload: bytes) -> list[Standing]:
    """Read the effects of the events in a message; other events are skipped.

    Args:
        topic: one of `TOPICS`.
        payload: any payload.
    """
    try:
        return list(_standings(TOPICS[topic], TeraEvent.FromString(payload)))
    except (DecodeError, RecursionError):
        return []


def _standings(kind: Kind, message: TeraEvent) -> Iterator[Standing]:
    for event in unpack_all(message.events):
        if not isinstance(event, DatabaseEvent) or len(event.object_value) > LARGEST_OBJECT:
            continue
        try:
            fields = json.loads(event.object_value)
        except ValueError:
            continue
        uuid = fields.get(f"{kind}_uuid") if isinstance(fields, dict) else None
        if not isinstance(uuid, str) or not is_uuid(uuid):
            continue
        if event.type == DatabaseEvent.DB_DELETE:
            yield Standing(kind, uuid, is_revoked=True)
        elif event.type == DatabaseEvent.DB_UPDATE and f"{kind}_enabled" in fields:
            is_gone = fields.get("deleted_at") is not None or not fields[f"{kind}_enabled"]
            yield Standing(kind, uuid, is_revoked=is_gone)
