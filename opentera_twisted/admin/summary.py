"""Readable form of a message for the console: one line, and the whole body."""

from __future__ import annotations

import json
from typing import Any, Final

from attrs import frozen

from opentera_twisted.messages.decoding import Decoded, decode
from opentera_twisted.topics import REPLY_CHANNELS

SHOWN_BYTES: Final = 256
"""Bytes shown of an unknown payload, in hexadecimal."""

LONGEST: Final = 200
"""Characters of the line, at most."""


@frozen
class Summary:
    """A readable payload.

    Attributes:
        form: ``TeraEvent``, ``TeraModuleMessage``, ``request``, ``reply``, ``JSON``, ``text`` or
            ``bytes``.
        line: types of messages, the called procedure, or the start of the text.
        preview: start of an envelope's fields; empty for other forms, whose line shows the content.
        body: the whole payload, as JSON can represent it.
    """

    form: str
    line: str
    body: Any
    preview: str = ""


def summarize(topic: str, payload: bytes) -> Summary:
    """Make a payload readable."""
    decoded = decode(topic, payload)
    value = decoded.value
    match decoded.form:
        case "TeraEvent" | "TeraModuleMessage":
            return _envelope(decoded)
        case "RPCMessage":
            text = ", ".join(json.dumps(argument, ensure_ascii=False) for argument in value)
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
    fields_shown: list[str] = []
    messages: list[dict[str, Any]] = []
    for fields in decoded.messages:
        message = dict(fields)
        names.append(message["@type"].rpartition(".")[2] or "?")
        if message.keys() == {"@type", "hex"}:  # of an unknown type
            message["hex"] = message["hex"][: 2 * SHOWN_BYTES]
        messages.append(message)
        fields_shown += [
            f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
            # Topics have UUIDs already.
            for name, value in sorted(message.items(), key=lambda item: item[0].endswith("Uuid"))
            if name != "@type" and value != ""
        ]
    body = {"header": dict(decoded.head), "messages": messages}
    return Summary(decoded.form, _short(", ".join(names)), body, _short(", ".join(fields_shown)))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
