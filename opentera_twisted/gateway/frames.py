"""Events as finished websocket frames: encoded once, the same bytes for every client.

Source: wire contract, section 5; RFC 6455, section 5.2.
"""

from __future__ import annotations

import struct

from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError, Message

from opentera_twisted.messages import (
    LogEvent,
    LoginEvent,
    TeraEvent,
    TeraMessage,
    TeraModuleMessage,
)
from opentera_twisted.messages.packing import unpack, websocket_json

_FIN_TEXT = 0x81

_NEVER = (LogEvent, LoginEvent, TeraEvent, TeraMessage, TeraModuleMessage, Any)
"""Logs are for servers, whatever topic they come on; and envelopes could hide them."""


def text_frame(text: str) -> bytes:
    """One unfragmented, unmasked text frame."""
    payload = text.encode()
    length = len(payload)
    if length < 126:
        return struct.pack("!BB", _FIN_TEXT, length) + payload
    if length < 65_536:
        return struct.pack("!BBH", _FIN_TEXT, 126, length) + payload
    return struct.pack("!BBQ", _FIN_TEXT, 127, length) + payload


def decode_event(payload: bytes) -> TeraEvent | None:
    """The event in a message, or None when it is none."""
    try:
        return TeraEvent.FromString(payload)
    except DecodeError:
        return None


def event_frame(event: TeraEvent) -> bytes | None:
    """The frame of an event, less what no websocket may see; None when nothing is left."""
    visible = [packed for packed in event.events if _is_visible(unpack(packed))]
    if not visible:
        return None
    if len(visible) < len(event.events):
        event = TeraEvent(header=event.header, events=visible)
    return text_frame(websocket_json(event))


def _is_visible(event: Message | None) -> bool:
    return event is not None and not isinstance(event, _NEVER)
