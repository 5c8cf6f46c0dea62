"""Events, as a client receives them, and the frames that carry them.

A gateway sends each ``TeraEvent`` as protobuf's JSON. This module reads the fields that every
client needs. It makes the protobuf message only on request.

Source: docs/reference/wire.md; https://protobuf.dev/programming-guides/json/.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

from attrs import frozen
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import Message

from opentera_twisted.messages.envelopes import TYPE_URL_PREFIX, new_message

GAP: Final = "gap"
"""Name of the event that marks a gap; no message type has it."""

_OWN: Final = "opentera.protobuf."
"""Package of OpenTera's own message types."""

_EVENT: Final = f"{TYPE_URL_PREFIX}{_OWN}TeraEvent"


@frozen(slots=False)
class Event:
    """One event of a gateway.

    Attributes:
        name: name of its type, such as ``UserEvent``; with its package unless that is OpenTera's.
        topic: the topic on which it was published; None when the gateway did not say.
        time: when it was published; None when the gateway did not say.
        data: its fields in protobuf's JSON: camelCase names, enum values by name, and ``@type``.

    Example:
        >>> event = Event("DeviceEvent", None, None, {"deviceName": "Robot"})
        >>> event.data["deviceName"]
        'Robot'
        >>> event.is_gap
        False
    """

    name: str
    topic: str | None
    time: datetime | None
    data: Mapping[str, Any]

    @property
    def is_gap(self) -> bool:
        """True for the marker of a gap: events may have been missed before it."""
        return self.name == GAP

    @cached_property
    def message(self) -> Message | None:
        """The protobuf message; None for a gap, an unknown type, or fields that do not fit it."""
        kind = self.data.get("@type")
        if not isinstance(kind, str):
            return None
        message = new_message(kind.rpartition("/")[2])
        fields = {name: value for name, value in self.data.items() if name != "@type"}
        if message is None or isinstance(message, Packed):
            return None
        try:
            return json_format.ParseDict(fields, message, ignore_unknown_fields=True)
        except (json_format.ParseError, ValueError, RecursionError):
            return None


def gap() -> Event:
    """Make the marker of a gap, dated now."""
    return Event(GAP, None, datetime.now(UTC), {})


class BadFrame(ValueError):
    """A frame without an event; the message says why, and repeats nothing of the frame."""


def read_frame(payload: bytes) -> Mapping[str, Any]:
    """Read the JSON object of a text frame.

    Raises:
        BadFrame: it is something else.
    """
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        raise BadFrame(f"{len(payload)} bytes that are not JSON") from None
    if not isinstance(value, dict):
        raise BadFrame("JSON that is not an object")
    return value


def events_of(frame: Mapping[str, Any]) -> list[Event]:
    """List the events in a frame.

    Each event of a ``TeraEvent`` is one; any other message is an event without topic and time.

    Raises:
        BadFrame: the frame contains no event.
    """
    message = frame.get("message")
    if not isinstance(message, dict):
        raise BadFrame("JSON without a message")
    if message.get("@type") != _EVENT:
        return [Event(_name(message), None, None, message)]
    header = message.get("header")
    events = message.get("events")
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
        raise BadFrame("a TeraEvent whose events are not a list of objects")
    topic = header.get("topic") if isinstance(header, dict) else None
    published = _time(header.get("time")) if isinstance(header, dict) else None
    if not isinstance(topic, str):
        topic = None
    return [Event(_name(event), topic, published, event) for event in events]


def _name(message: Mapping[str, Any]) -> str:
    kind = message.get("@type")
    return kind.rpartition("/")[2].removeprefix(_OWN) if isinstance(kind, str) else ""


def _time(value: object) -> datetime | None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError):
        return None
