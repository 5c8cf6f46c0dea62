"""Recognition and decoding of any payload, for display; tolerant, without exceptions."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from attrs import Factory, frozen
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from opentera_twisted import topics
from opentera_twisted.errors import InvalidTopic
from opentera_twisted.messages.envelopes import TYPE_URL_PREFIX, unpack
from opentera_twisted.messages.RPCMessage_pb2 import RPCMessage, Value
from opentera_twisted.messages.TeraEvent_pb2 import TeraEvent
from opentera_twisted.messages.TeraModuleMessage_pb2 import TeraModuleMessage
from opentera_twisted.messages.text import WRITE_EMPTY

Json = Mapping[str, Any]

DEEPEST: Final = 50
"""Maximum nesting of JSON; a deeper value is treated as text."""

TRACE_FIELDS: Final = {"traceparent": 50_000, "tracestate": 50_001}
"""Numbers of a traced request's extra fields, of those that protobuf reserves for organizations."""


@frozen
class Decoded:
    """A payload as strict JSON, with bytes in hexadecimal and infinities as text.

    Attributes:
        form: ``TeraEvent``, ``TeraModuleMessage``, ``RPCMessage``, ``json``, ``text`` or ``bytes``.
        head: head of an envelope, or the fields of a request except its arguments.
        messages: messages of an envelope, each an object with its ``@type``.
        value: JSON value, text, bytes in hexadecimal, or the arguments of a request.
    """

    form: str
    head: Json = Factory(dict)
    messages: tuple[Json, ...] = ()
    value: Any = None

    def to_json(self) -> dict[str, Any]:
        """Convert it to one object without empty parts."""
        found: dict[str, Any] = {"form": self.form}
        if self.head:
            found["head"] = dict(self.head)
        if self.form in {"TeraEvent", "TeraModuleMessage"}:
            found["messages"] = [dict(message) for message in self.messages]
        else:
            found["value"] = self.value
        return found


def decode(topic: str, payload: bytes) -> Decoded:
    """Decode a payload; try the forms in the order that fits its topic.

    Other bytes often parse as a protobuf message. So a message counts only if it has its head and
    no unknown fields, except a request's trace context.
    """
    for attempt in _ATTEMPTS.get(_carries(topic), _ATTEMPTS[None]):
        try:
            decoded = attempt(payload)
        except Exception:  # noqa: BLE001, S112 (protobuf fails in many ways on malformed nesting)
            continue
        if decoded is not None:
            return decoded
    return Decoded("bytes", value=payload.hex())


def strict(value: Any, depth: int = DEEPEST) -> Any:
    """Convert a value to strict JSON: infinities become text.

    Raises:
        ValueError: it is nested too deeply.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if not isinstance(value, (dict, list)):
        return value
    if depth == 0:
        raise ValueError("JSON is nested too deeply")
    if isinstance(value, list):
        return [strict(item, depth - 1) for item in value]
    return {name: strict(item, depth - 1) for name, item in value.items()}


def _carries(topic: str) -> topics.Channel | None:
    try:
        return topics.parse(topic).channel
    except InvalidTopic:
        return None


def _event(payload: bytes) -> Decoded | None:
    event = TeraEvent()
    if not _parse(event, payload) or not event.HasField("header"):
        return None
    return Decoded("TeraEvent", _object(event.header), _messages(event.events))


def _module_message(payload: bytes) -> Decoded | None:
    message = TeraModuleMessage()
    if not _parse(message, payload) or not message.HasField("head"):
        return None
    return Decoded("TeraModuleMessage", _object(message.head), _messages(message.data))


def _request(payload: bytes) -> Decoded | None:
    request = RPCMessage.FromString(payload)
    extra = UnknownFieldSet(request)
    numbers = {extra[index].field_number for index in range(len(extra))}
    if not numbers <= set(TRACE_FIELDS.values()) or not all(map(_is_known, request.args)):
        return None
    if not request.method:
        return None
    head = {
        "method": request.method,
        "replyTo": request.reply_to,
        "id": request.id,
        "timestamp": strict(request.timestamp),
    }
    return Decoded("RPCMessage", head, value=[_argument(value) for value in request.args])


def _json(payload: bytes) -> Decoded | None:
    value = json.loads(payload.decode())
    # A single number or word is text.
    return Decoded("json", value=strict(value)) if isinstance(value, (dict, list)) else None


def _text(payload: bytes) -> Decoded | None:
    text = payload.decode()
    is_text = all(character.isprintable() or character in "\n\r\t" for character in text)
    return Decoded("text", value=text) if is_text else None


_Attempt = Callable[[bytes], Decoded | None]
_ATTEMPTS: Final[Mapping[topics.Channel | None, tuple[_Attempt, ...]]] = {
    "events": (_event, _module_message, _json, _text),
    "messages": (_module_message, _event, _json, _text),
    "rpc": (_request, _json, _text),
    None: (_json, _event, _module_message, _text),
}


def _parse(message: Message, payload: bytes) -> bool:
    """Parse a message; return False for unknown fields or other bytes."""
    try:
        message.ParseFromString(payload)
    except DecodeError:
        return False
    return _is_known(message)


def _is_known(message: Message) -> bool:
    """Return False for unknown fields, which are discarded."""
    size = message.ByteSize()
    message.DiscardUnknownFields()
    return message.ByteSize() == size


def _messages(packed: Iterable[Packed]) -> tuple[Json, ...]:
    return tuple(map(_message, packed))


def _message(packed: Packed) -> Json:
    name = packed.TypeName().removeprefix("opentera.protobuf.")
    message = unpack(packed)
    if message is not None:
        try:
            return {"@type": name, **_object(message)}
        except Exception:  # noqa: BLE001, S110 (an Any in it may have any type)
            pass
    return {
        "@type": name or packed.type_url.removeprefix(TYPE_URL_PREFIX),
        "hex": packed.value.hex(),
    }


def _object(message: Message) -> Json:
    options: dict[str, Any] = {WRITE_EMPTY: True}
    found: Json = json_format.MessageToDict(message, **options)
    return found


def _argument(value: Value) -> Any:
    which = value.WhichOneof("arg_value")
    if which is None:
        return None
    found = getattr(value, which)
    return {"hex": found.hex()} if isinstance(found, bytes) else strict(found)
