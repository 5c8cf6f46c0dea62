"""Parsing of the console page's JSON requests."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import frozen

from opentera_twisted import topics
from opentera_twisted.errors import InvalidArgument, InvalidTopic
from opentera_twisted.rpc import ArgumentValue

LONGEST_CALL: Final = 60.0
"""Maximum timeout in seconds of a call from the page."""

LONGEST_SHOWN: Final = 50
"""Characters of a name or a value in an error, at most."""


@frozen
class Call:
    """A procedure to call.

    Attributes:
        server: ``service.<key>`` or ``module.<name>``.
        procedure: name.
        arguments: positional arguments.
        timeout: seconds to wait for the reply.
    """

    server: str
    procedure: str
    arguments: tuple[ArgumentValue, ...]
    timeout: float


@frozen
class Key:
    """A session key to issue."""

    kind: topics.Kind
    uuid: str
    name: str | None


@frozen
class Disconnection:
    """An identity to disconnect."""

    kind: topics.Kind
    uuid: str


def parse_call(body: bytes) -> Call:
    """Parse ``{"server", "procedure", "arguments": [{"name", "type", "value"}], "timeout"}``.

    Raises:
        InvalidArgument: the request is malformed.
    """
    request = _object(body)
    server, procedure = _text(request, "server"), _text(request, "procedure")
    try:
        topics.rpc_of(server)
    except InvalidTopic as error:
        raise InvalidArgument(str(error)) from None
    arguments = request.get("arguments")
    if not isinstance(arguments, list):
        raise InvalidArgument("arguments must be a list")
    timeout = request.get("timeout", 10)
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise InvalidArgument("timeout must be a number of seconds")
    if not 0 < timeout <= LONGEST_CALL:
        raise InvalidArgument(f"timeout must be above 0 and at most {LONGEST_CALL:g} seconds")
    values = tuple(
        _argument(argument, f"argument {number}")
        for number, argument in enumerate(arguments, start=1)
    )
    return Call(server, procedure, values, timeout)


def parse_key(body: bytes) -> Key:
    """Parse ``{"kind", "uuid", "name"}``.

    Raises:
        InvalidArgument: the request is malformed.
    """
    request = _object(body)
    kind: Any = _text(request, "kind")
    if kind not in topics.KINDS:
        raise InvalidArgument(f"kind must be one of {', '.join(topics.KINDS)}")
    return Key(kind, _text(request, "uuid"), request.get("name") or None)


def parse_disconnection(body: bytes) -> Disconnection:
    """Parse ``{"kind", "uuid"}``.

    Raises:
        InvalidArgument: the request is malformed.
    """
    key = parse_key(body)
    return Disconnection(key.kind, key.uuid)


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidArgument("expected a JSON object")
    return value


def _text(request: Mapping[str, Any], name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str) or not value.strip():
        raise InvalidArgument(f"{name} is missing")
    return value.strip()


def _argument(argument: Any, which: str) -> ArgumentValue:
    """Parse an argument, an object with a type's name and the value as text.

    Args:
        argument: object from the page.
        which: description in errors, if the object has no name.
    """
    name = argument.get("name") if isinstance(argument, dict) else None
    if isinstance(name, str) and name.isprintable() and 0 < len(name) <= LONGEST_SHOWN:
        which = name
    if not isinstance(argument, dict) or not isinstance(argument.get("value"), str):
        raise InvalidArgument(f"{which} must be an object with a type, and a value as text")
    kind = argument.get("type")
    if not isinstance(kind, str) or kind not in _PARSERS:
        raise InvalidArgument(f"{which}: type must be one of {', '.join(_PARSERS)}")
    parse, expected = _PARSERS[kind]
    try:
        return parse(argument["value"])
    except (KeyError, ValueError):
        text = argument["value"]
        shown = text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"
        raise InvalidArgument(f"{which} must be {expected}, not {shown!r}") from None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


_PARSERS: Final[Mapping[str, tuple[Callable[[str], ArgumentValue], str]]] = {
    "bool": ({"true": True, "false": False}.__getitem__, "true or false"),
    "int": (int, "a whole number"),
    "float": (_finite, "a number"),
    "str": (str, "text"),
    "bytes": (bytes.fromhex, "hexadecimal, such as DEADBEEF"),
}
