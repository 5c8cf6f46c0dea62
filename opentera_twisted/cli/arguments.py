"""Parsing of command-line values, and options that several commands share."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import click
from google.protobuf import json_format
from google.protobuf.message import Message

from opentera_twisted import messages
from opentera_twisted.errors import InvalidArgument
from opentera_twisted.messages import TeraEvent, TeraModuleMessage
from opentera_twisted.messages.envelopes import TYPE_URL_PREFIX
from opentera_twisted.rpc import ArgumentValue

_HEX = "hex:"

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object per line."
)


def types_option(subject: str) -> Callable[[Any], Any]:
    """Make the option ``--type`` of a command that prints messages.

    Args:
        subject: noun for the help text: ``Event`` or ``Message``.
    """
    return click.option(
        "--type",
        "types",
        multiple=True,
        type=click.Choice(messages.__all__, case_sensitive=False),
        metavar="NAME",
        help=f"{subject} type to print, such as UserEvent; repeatable. Default: all.",
    )


def parse_argument(text: str) -> ArgumentValue:
    """Parse an argument of a call: a JSON bool, int, float or string, ``hex:DEADBEEF``, or text."""
    if text.startswith(_HEX):
        return parse_hex(text)
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):  # deeply nested JSON is no scalar either
        return text
    if isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return text


def parse_bytes(text: str) -> bytes:
    """Parse a value or a payload: ``hex:DEADBEEF``, or text in UTF-8."""
    return parse_hex(text) if text.startswith(_HEX) else text.encode(errors="surrogateescape")


def parse_hex(text: str) -> bytes:
    """Parse ``hex:DEADBEEF``."""
    try:
        return bytes.fromhex(text.removeprefix(_HEX))
    except ValueError:
        raise InvalidArgument(f"{text} is not hexadecimal; expected hex:DEADBEEF") from None


def parse_messages(text: str) -> list[Message]:
    """Parse protobuf messages from JSON: an object with ``@type``, or a list of these.

    Raises:
        InvalidArgument: the text is not such JSON, or a message has wrong fields.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidArgument(f"not JSON: {error}") from None
    except RecursionError:
        raise InvalidArgument("JSON is nested too deeply") from None
    return [_message(item) for item in (value if isinstance(value, list) else [value])]


def is_envelope(message: Message) -> bool:
    """Return True for a message that is published as it is, not inside a TeraEvent."""
    return isinstance(message, (TeraEvent, TeraModuleMessage))


def _message(value: Any) -> Message:
    name = value.get("@type") if isinstance(value, dict) else None
    if not isinstance(name, str):
        raise InvalidArgument(
            'expected a JSON object with its type, such as {"@type": "UserEvent", …}; '
            "use --raw to publish text as it is"
        )
    short = name.removeprefix(TYPE_URL_PREFIX).removeprefix("opentera.protobuf.")
    if short not in messages.__all__:
        raise InvalidArgument(f"unknown message {name}; known: {', '.join(messages.__all__)}")
    message: Message = getattr(messages, short)()
    fields = {key: field for key, field in value.items() if key != "@type"}
    try:
        return json_format.ParseDict(fields, message)
    except json_format.ParseError as error:
        raise InvalidArgument(f"{short}: {error}") from None


def _no_constant(text: str) -> None:
    raise ValueError(text)
