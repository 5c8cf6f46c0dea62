"""What is published, made readable: as its topic says it should be read, else as text or bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, Final

from attrs import frozen
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import DecodeError

from opentera_twisted import topics
from opentera_twisted.errors import InvalidTopic
from opentera_twisted.messages import RPCMessage, TeraEvent, TeraModuleMessage
from opentera_twisted.messages.packing import unpack
from opentera_twisted.rpc.values import get_value
from opentera_twisted.rpc.wire import decode_reply

REPLIES: Final = "RedisRPCClient."
"""How the topics begin on which replies to calls come."""

SHOWN_BYTES: Final = 256
"""Bytes of what is neither a message nor text that are shown, in hexadecimal."""


@frozen
class Published:
    """A payload, made readable.

    Attributes:
        form: ``TeraEvent``, ``TeraModuleMessage``, ``request``, ``reply``, ``JSON``, ``text`` or
            ``bytes``.
        summary: one line: types of messages, the procedure that is called, the text's beginning.
        body: all of it, as JSON can hold it.
    """

    form: str
    summary: str
    body: Any


def read(topic: str, payload: bytes) -> Published:
    """Make a payload readable.

    Args:
        topic: on which it was published.
        payload: the bytes.
    """
    try:
        channel = topics.parse(topic).channel
    except InvalidTopic:
        channel = "replies" if topic.startswith(REPLIES) else ""  # type: ignore[assignment]
    try:
        match channel:
            case "events":
                event = TeraEvent.FromString(payload)
                return _envelope("TeraEvent", event.header, event.events)
            case "messages":
                message = TeraModuleMessage.FromString(payload)
                return _envelope("TeraModuleMessage", message.head, message.data)
            case "rpc":
                return _request(RPCMessage.FromString(payload))
            case "replies":
                return _reply(payload)
    except (DecodeError, ValueError, TypeError):
        pass  # it is not what it should be
    return _unknown(payload)


def _envelope(form: str, header: Any, packed: Iterable[Packed]) -> Published:
    names: list[str] = []
    parts: list[Any] = []
    for one in packed:
        name = one.TypeName().rpartition(".")[2] or "?"
        message = unpack(one)
        names.append(name)
        if message is None:
            parts.append({"@type": one.type_url, "hex": one.value[:SHOWN_BYTES].hex()})
        else:
            parts.append({"@type": name, **_to_dict(message)})
    if not header.ListFields():
        raise ValueError("an envelope has a header")
    return Published(form, ", ".join(names), {"header": _to_dict(header), "messages": parts})


def _to_dict(message: Any) -> dict[str, Any]:
    fields: dict[str, Any] = json_format.MessageToDict(message)
    return fields


def _request(message: RPCMessage) -> Published:
    if not message.method or not message.reply_to:
        raise ValueError("a request names a procedure, and where the reply goes")
    arguments = [_jsonable(get_value(value)) for value in message.args]
    text = ", ".join(json.dumps(one, ensure_ascii=False) for one in arguments)
    body = {
        "method": message.method,
        "arguments": arguments,
        "id": message.id,
        "replyTo": message.reply_to,
    }
    return Published("request", f"{message.method}({_short(text)})", body)


def _reply(payload: bytes) -> Published:
    reply = decode_reply(payload)
    if reply is None or "status" not in reply:
        raise ValueError("a reply has a status")
    return Published("reply", f"{reply.get('method')}: {reply['status']}", _jsonable(reply))


def _unknown(payload: bytes) -> Published:
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        text = ""
    if text and (text.isprintable() or not set(text) & _CONTROLS):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, (dict, list)):
            return Published("JSON", _short(text), _jsonable(value))
        return Published("text", _short(text), text)
    shown = payload[:SHOWN_BYTES]
    body = {"hex": shown.hex(), "bytes": len(payload)}
    return Published("bytes", f"{len(payload)} bytes", body)


_CONTROLS: Final = {chr(code) for code in range(32)} - {"\t", "\n", "\r"}


def _jsonable(value: Any) -> Any:
    """The same as strict JSON can hold it: bytes in hexadecimal, no infinity."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _jsonable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_jsonable(one) for one in value]
    return value


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else f"{line[:199]}…"
