"""What a payload is and says, for people and programs that look on: tolerant, and never raising."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from attrs import Factory, frozen
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import DecodeError, Message

from opentera_twisted import topics
from opentera_twisted.errors import InvalidTopic
from opentera_twisted.messages.packing import TYPE_URL_PREFIX, unpack
from opentera_twisted.messages.RPCMessage_pb2 import RPCMessage, Value
from opentera_twisted.messages.TeraEvent_pb2 import TeraEvent
from opentera_twisted.messages.TeraModuleMessage_pb2 import TeraModuleMessage
from opentera_twisted.messages.text import WRITE_EMPTY

Json = Mapping[str, Any]

DEEPEST: Final = 50
"""Levels of JSON that is taken as such; what is nested more deeply is text."""


@frozen
class Decoded:
    """A payload as objects of strict JSON: bytes in hexadecimal, and no infinity.

    Attributes:
        form: ``TeraEvent``, ``TeraModuleMessage``, ``RPCMessage``, ``json``, ``text`` or ``bytes``.
        head: of the envelope, or what a request says beside its arguments.
        messages: of an envelope, each an object with its ``@type``.
        value: of JSON, of text, of bytes in hexadecimal, or a request's arguments.
    """

    form: str
    head: Json = Factory(dict)
    messages: tuple[Json, ...] = ()
    value: Any = None

    def to_json(self) -> dict[str, Any]:
        """As one object, less what is not there."""
        found: dict[str, Any] = {"form": self.form}
        if self.head:
            found["head"] = dict(self.head)
        if self.form in {"TeraEvent", "TeraModuleMessage"}:
            found["messages"] = [dict(message) for message in self.messages]
        else:
            found["value"] = self.value
        return found


def decode(topic: str, payload: bytes) -> Decoded:
    """Say what a payload is, tried in the order of what its topic carries.

    Bytes that are no message often parse as one: it counts only when nothing in it is unknown and
    its head is there.
    """
    for attempt in _ATTEMPTS.get(_carries(topic), _ATTEMPTS[None]):
        try:
            decoded = attempt(payload)
        except Exception:  # noqa: BLE001, S112 (protobuf fails in many ways on nested junk)
            continue
        if decoded is not None:
            return decoded
    return Decoded("bytes", value=payload.hex())


def strict(value: Any, depth: int = DEEPEST) -> Any:
    """The same as strict JSON can hold it: no infinity, and nothing that is nested deeply.

    Raises:
        ValueError: it is nested more deeply.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if not isinstance(value, (dict, list)):
        return value
    if depth == 0:
        raise ValueError("JSON that is nested too deeply")
    if isinstance(value, list):
        return [strict(one, depth - 1) for one in value]
    return {name: strict(one, depth - 1) for name, one in value.items()}


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
    request = RPCMessage()
    if not _parse(request, payload) or not request.method:
        return None
    head = {
        "method": request.method,
        "replyTo": request.reply_to,
        "id": request.id,
        "timestamp": strict(request.timestamp),
    }
    return Decoded("RPCMessage", head, value=[_argument(one) for one in request.args])


def _json(payload: bytes) -> Decoded | None:
    value = json.loads(payload.decode())
    # A number or a word is text of its own.
    return Decoded("json", value=strict(value)) if isinstance(value, (dict, list)) else None


def _text(payload: bytes) -> Decoded | None:
    text = payload.decode()
    is_text = all(one.isprintable() or one in "\n\r\t" for one in text)
    return Decoded("text", value=text) if is_text else None


_Attempt = Callable[[bytes], Decoded | None]
_ATTEMPTS: Final[Mapping[topics.Channel | None, tuple[_Attempt, ...]]] = {
    "events": (_event, _module_message, _json, _text),
    "messages": (_module_message, _event, _json, _text),
    "rpc": (_request, _json, _text),
    None: (_json, _event, _module_message, _text),
}


def _parse(message: Message, payload: bytes) -> bool:
    """Whether it is that message, and nothing else."""
    try:
        message.ParseFromString(payload)
    except DecodeError:
        return False
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
        except Exception:  # noqa: BLE001, S110 (an Any in it may be of any type, or none)
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
