"""The events that are delivered: a text of exactly so many bytes, with one mark to count."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from opentera_twisted.messages import TeraEvent, UserEvent
from opentera_twisted.messages.envelopes import tera_event
from opentera_twisted.messages.text import event_text

MARK: Final = "~^|~|^^~||~^~^||^~~|^|||"
"""Mark that each event's text contains once; long and of rare characters, for fast search."""

SIZE: Final = 457
"""Bytes of a text: that of a UserEvent with names of usual length."""

_TIME: Final = 1_700_000_000.5


def text(envelope: TeraEvent) -> str:
    """Return the text that websockets receive."""
    return event_text(envelope)


def compact(envelope: TeraEvent) -> str:
    """The same without spaces: what is left of it where objects are sent and not texts."""
    return json.dumps(json.loads(text(envelope)), separators=(",", ":"))


def event(topic: str, size: int = SIZE, form: Callable[[TeraEvent], str] = text) -> TeraEvent:
    """An event that has so many bytes in that form."""
    shortest = len(form(_event(topic, "")))
    if size < shortest:
        raise ValueError(f"an event on {topic} takes {shortest} bytes at least, not {size}")
    return _event(topic, "x" * (size - shortest))


def _event(topic: str, padding: str) -> TeraEvent:
    connected = UserEvent(type=UserEvent.USER_CONNECTED, user_fullname=MARK + padding)
    return tera_event(topic, [connected], _TIME)
