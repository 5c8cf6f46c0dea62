"""Database events that say who may be connected no longer: deleted or disabled by OpenTera.

Source: docs/reference/wire.md; the database module of OpenTera's server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Final

from attrs import frozen
from google.protobuf.message import DecodeError

from opentera_twisted import topics
from opentera_twisted.messages import DatabaseEvent, TeraEvent
from opentera_twisted.messages.packing import unpack_all
from opentera_twisted.sessions import is_uuid
from opentera_twisted.topics import Kind

LARGEST_OBJECT: Final = 65_536
"""Characters of an object in an event; a longer one is ignored."""

TOPICS: Final[Mapping[str, Kind]] = {
    topics.module_events("TeraServer.DatabaseModule", kind): kind for kind in topics.KINDS
}
"""By topic of database events: whom they are about."""


@frozen
class Standing:
    """Outcome of a database event for somebody.

    Attributes:
        kind: of whom.
        uuid: of whom.
        is_revoked: deleted or disabled.
    """

    kind: Kind
    uuid: str
    is_revoked: bool


def standings(topic: str, payload: bytes) -> list[Standing]:
    """Read the events of a message; those that say nothing of the kind are left out.

    Args:
        topic: one of `TOPICS`.
        payload: of the message, whatever it is.
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
