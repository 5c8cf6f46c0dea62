"""Encoding of requests and replies, in the format of existing OpenTera programs.

Source: docs/reference/wire.md.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import time
from collections.abc import Mapping, Sequence
from enum import Enum
from secrets import randbits
from typing import Any, Final, NamedTuple
from uuid import UUID

import attrs
from google.protobuf.message import DecodeError

from opentera_twisted import topics
from opentera_twisted.errors import (
    ArgumentsRejected,
    BadReply,
    CallError,
    InvalidArgument,
    Overloaded,
    ProcedureFailed,
    UnknownProcedure,
)
from opentera_twisted.messages import RPCMessage
from opentera_twisted.rpc.argument_types import ArgumentValue, get_value, set_value
from opentera_twisted.rpc.nesting import MOST_NESTED, is_deep

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]
"""Types that a procedure can return."""

UNKNOWN_PROCEDURE: Final = "unknown_procedure"
INVALID_ARGUMENTS: Final = "invalid_arguments"
PROCEDURE_FAILED: Final = "procedure_failed"
OVERLOADED: Final = "overloaded"
BAD_REQUEST: Final = "bad_request"

CODES: Final = (UNKNOWN_PROCEDURE, INVALID_ARGUMENTS, PROCEDURE_FAILED, OVERLOADED, BAD_REQUEST)
"""Error codes of replies."""

_ERRORS: Final[Mapping[str, type[CallError]]] = {
    UNKNOWN_PROCEDURE: UnknownProcedure,
    INVALID_ARGUMENTS: ArgumentsRejected,
    BAD_REQUEST: ArgumentsRejected,
    OVERLOADED: Overloaded,
}


ID_BITS: Final = 53
"""Bits of a call id; every JSON reader preserves as many exactly."""

LONGEST_NAME: Final = 200
"""Maximum length of a procedure's name in an error, in characters."""

LONGEST_MESSAGE: Final = 10_000
"""Maximum length of an error message, in characters."""

LONGEST_PATTERN: Final = 1000
"""Maximum length of a pattern in a reply, in characters; topics of servers are shorter."""

# Servers, gateways and loggers listen on these; Redis publishes on names that begin with __.
_NOT_FOR_REPLIES: Final = ("module.", "service.", "websocket.", "log.", "__")


class Request(NamedTuple):
    """A request, as a server receives it.

    Attributes:
        method: name of the procedure.
        reply_to: topic of the reply; empty when the caller wants none.
        id: id chosen by the caller.
        timestamp: seconds since the epoch, by the caller's clock.
        arguments: the arguments; None for an argument without a value.
    """

    method: str
    reply_to: str
    id: int
    timestamp: float
    arguments: tuple[ArgumentValue | None, ...]


def new_id() -> int:
    """Choose an id that other programs cannot guess, so that they cannot reply to the call."""
    return randbits(ID_BITS)


def encode_request(
    method: str, reply_to: str, call_id: int, arguments: Sequence[ArgumentValue]
) -> bytes:
    """Encode a request.

    Raises:
        InvalidArgument: an argument cannot be sent; the message names it.
    """
    message = RPCMessage(method=method, reply_to=reply_to, id=call_id, timestamp=time.time())
    for position, argument in enumerate(arguments, start=1):
        try:
            set_value(message.args.add(), argument)
        except InvalidArgument as error:
            raise InvalidArgument(f"argument {position} of {method}: {error}") from None
    return message.SerializeToString()


def decode_request(payload: bytes) -> Request | None:
    """Decode a request, or return None if it is invalid."""
    try:
        message = RPCMessage.FromString(payload)
    except DecodeError:
        return None
    return Request(
        message.method,
        message.reply_to,
        message.id,
        message.timestamp,
        tuple(map(get_value, message.args)),
    )


def encode_reply(request: Request, topic: str, value: Any) -> bytes:
    """Encode a reply with a return value.

    NaN and infinities are written as existing OpenTera programs write them.

    Raises:
        TypeError, ValueError, RecursionError: the value is not JSON.
    """
    try:
        text = _encode(_reply(request, topic, "OK", value))
    except TypeError:  # perhaps a dictionary key, which the encoder does not convert
        text = _encode(_reply(request, topic, "OK", _with_plain_keys(value)))
    return text.encode()


def encode_error(request: Request, topic: str, code: str, message: str) -> bytes:
    """Encode an error reply; long texts are truncated."""
    named = request._replace(method=cut(request.method, LONGEST_NAME))
    reply = _reply(named, topic, "Error", None)
    reply["error"] = {"code": code, "message": cut(message, LONGEST_MESSAGE)}
    return _encode(reply).encode()


def cut(text: str, longest: int) -> str:
    """Truncate a text of another program."""
    return text if len(text) <= longest else f"{text[:longest]}…"


def decode_reply(payload: bytes) -> Mapping[str, Any] | None:
    """Decode a reply, or return None; `return_value` rejects a deeply nested result."""
    try:
        try:
            reply = _decode(payload.decode())
        except RecursionError:
            reply = {**_decode(_without_value(payload.decode())), "return_value": _TOO_DEEP}
    except (ValueError, TypeError, RecursionError):
        return None
    if not isinstance(reply, dict):
        return None
    if is_deep(reply.get("return_value"), payload):
        reply["return_value"] = _TOO_DEEP
    return reply


def _without_value(text: str) -> str:
    """Remove the result of a reply that is too deep to parse, to identify its call.

    The result is the only list or object of a valid reply. The rest of any other text is not JSON.
    """
    start = text.find('"return_value"')
    end = max(text.rfind(bracket, 0, len(text.rstrip()) - 1) for bracket in "]}")
    before, after = text[:start].rstrip(), text[end + 1 :].lstrip()
    if before == "{":
        return before + after.removeprefix(",")
    return before.removesuffix(",") + after


def may_carry_replies(channel: str) -> bool:
    """Reject topics of the naming convention, and names that Redis uses.

    A reply there would publish a caller's data with the server's rights.
    """
    return not channel.startswith(_NOT_FOR_REPLIES)


def answers(reply: Mapping[str, Any], topic: str) -> bool:
    """Check that a reply names the topic of the call, or a pattern that matches it.

    Existing OpenTera programs name their subscribed pattern, which may be wider than the topic.
    """
    pattern = reply.get("pattern")
    if pattern == topic:
        return True
    if not isinstance(pattern, str) or len(pattern) > LONGEST_PATTERN:
        return False
    if not topics.is_pattern(pattern):
        return False
    matching = topics.compile_pattern(pattern.encode(errors="surrogatepass"))
    return matching.fullmatch(topics.encode(topic)) is not None


def return_value(reply: Mapping[str, Any], topic: str, procedure: str) -> Json:
    """Read the return value of a reply.

    Raises:
        ProcedureFailed, UnknownProcedure, ArgumentsRejected, Overloaded: the server reported it.
        BadReply: the reply has an invalid form.
    """
    status = reply.get("status")
    if status == "OK" and "return_value" in reply:
        value: Json = reply["return_value"]
        if value is _TOO_DEEP:
            raise BadReply(
                f"the result of {procedure} of {topic} is nested deeper than {MOST_NESTED} levels",
                topic=topic,
                procedure=procedure,
            )
        return value
    if status != "Error":
        raise BadReply(
            f"the reply of {topic} to {procedure} is neither OK nor Error",
            topic=topic,
            procedure=procedure,
        )
    error = reply.get("error")
    code, message = "", "the server gives no reason"  # from an existing OpenTera program
    if isinstance(error, dict):
        code, message = (_text(error.get(name)) for name in ("code", "message"))
    raise _ERRORS.get(code, ProcedureFailed)(
        f"{procedure} of {topic}: {cut(message, LONGEST_MESSAGE)}", topic=topic, procedure=procedure
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _reply(request: Request, topic: str, status: str, value: Any) -> dict[str, Any]:
    return {
        "method": request.method,
        "id": request.id,
        "pattern": topic,
        "status": status,
        "return_value": value,
    }


def _to_json(value: Any) -> Any:
    """Convert an object that the JSON encoder does not support."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if attrs.has(type(value)):
        return {field.name: getattr(value, field.name) for field in attrs.fields(type(value))}
    raise TypeError(f"{type(value).__name__} cannot be converted to JSON")


def _with_plain_keys(value: Any) -> Any:
    """Copy a value with keys that JSON supports; UUID, Enum and date keys become text.

    Raises:
        TypeError: a key, or a value, is not JSON.
        ValueError: two keys of one dictionary have the same text.
    """
    if isinstance(value, dict):
        plain = {_plain_key(key): _with_plain_keys(item) for key, item in value.items()}
        if len(plain) < len(value):
            raise ValueError("two keys of a dictionary have the same text")
        return plain
    if isinstance(value, (list, tuple)):
        return [_with_plain_keys(item) for item in value]
    if value is None or isinstance(value, (str, int, float)):
        return value
    return _with_plain_keys(_to_json(value))


def _plain_key(key: Any) -> str | int | float | None:
    if key is None or isinstance(key, (str, int, float)):
        return key
    if isinstance(key, Enum):
        return _plain_key(key.value)
    if isinstance(key, (UUID, dt.datetime, dt.date, dt.time)):
        return _plain_key(_to_json(key))
    raise TypeError(f"a dictionary key of type {type(key).__name__} cannot be converted to JSON")


_TOO_DEEP: Final = object()
_decode: Final = json.JSONDecoder().decode
_encode: Final = json.JSONEncoder(default=_to_json).encode
