"""What is published, for the console's list: one line of it, and all of it below."""

from __future__ import annotations

import json
from typing import Any, Final

from attrs import frozen

from opentera_twisted.messages.decoding import Decoded, decode
from opentera_twisted.topics import REPLY_CHANNELS

SHOWN_BYTES: Final = 256
"""Bytes of what is neither a message nor text that are shown, in hexadecimal."""

LONGEST: Final = 200
"""Characters of the line."""


@frozen
class Summary:
    """A payload, made readable.

    Attributes:
        form: ``TeraEvent``, ``TeraModuleMessage``, ``request``, ``reply``, ``JSON``, ``text`` or
            ``bytes``.
        line: types of messages, the procedure that is called, the text's beginning.
        body: all of it, as JSON can hold it.
    """

    form: str
    line: str
    body: Any


def summarize(topic: str, payload: bytes) -> Summary:
    """Make a payload readable.

    Args:
        topic: on which it was published.
        payload: the bytes.
    """
    decoded = decode(topic, payload)
    value = decoded.value
    match decoded.form:
        case "TeraEvent" | "TeraModuleMessage":
            return _envelope(decoded)
        case "RPCMessage":
            text = ", ".join(json.dumps(one, ensure_ascii=False) for one in value)
            line = _short(f"{decoded.head['method']}({_short(text)})")
            return Summary("request", line, {**decoded.head, "arguments": value})
        case "json" if topic.startswith(REPLY_CHANNELS) and _is_reply(value):
            return Summary("reply", _short(f"{value['method']}: {value['status']}"), value)
        case "json":
            return Summary("JSON", _short(payload.decode()), value)
        case "text" if value:
            return Summary("text", _short(value), value)
    shown = {"hex": payload[:SHOWN_BYTES].hex(), "bytes": len(payload)}
    return Summary("bytes", f"{len(payload)} bytes", shown)


def _is_reply(value: Any) -> bool:
    return isinstance(value, dict) and {"method", "status"} <= value.keys()


def _envelope(decoded: Decoded) -> Summary:
    names: list[str] = []
    messages: list[dict[str, Any]] = []
    for one in decoded.messages:
        message = dict(one)
        names.append(message["@type"].rpartition(".")[2] or "?")
        if message.keys() == {"@type", "hex"}:  # nobody knows it
            message["hex"] = message["hex"][: 2 * SHOWN_BYTES]
        messages.append(message)
    body = {"header": dict(decoded.head), "messages": messages}
    return Summary(decoded.form, _short(", ".join(names)), body)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
