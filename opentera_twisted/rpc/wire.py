"""Requests and replies of calls as bytes: what deployed callers and servers send.

Source: wire contract, section 4.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import time
from collections.abc import Mapping, Sequence
from enum import Enum
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
from opentera_twisted.rpc.values import ArgumentValue, get_value, set_value

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]
"""What a procedure can return."""

UNKNOWN_PROCEDURE: Final = "unknown_procedure"
INVALID_ARGUMENTS: Final = "invalid_arguments"
PROCEDURE_FAILED: Final = "procedure_failed"
OVERLOADED: Final = "overloaded"
BAD_REQUEST: Final = "bad_request"

CODES: Final = (UNKNOWN_PROCEDURE, INVALID_ARGUMENTS, PROCEDURE_FAILED, OVERLOADED, BAD_REQUEST)
"""Codes of errors in a reply."""

_ERRORS: Final[Mapping[str, type[CallError]]] = {
    UNKNOWN_PROCEDURE: UnknownProcedure,
    INVALID_ARGUMENTS: ArgumentsRejected,
    BAD_REQUEST: ArgumentsRejected,
    OVERLOADED: Overloaded,
}


LONGEST_PATTERN: Final = 1000
"""Characters of a pattern that a reply may name; no topic of a server is that long."""

# Servers, gateways and loggers listen there, and Redis itself publishes on what begins with __.
_NOT_FOR_REPLIES: Final = ("module.", "service.", "websocket.", "log.", "__")


class Request(NamedTuple):
    """A request as a server sees it.

    Attributes:
        method: the procedure's name.
        reply_to: the channel of the reply; empty when none is wanted.
        id: the caller's count.
        timestamp: seconds since the epoch, by the caller's clock.
        arguments: None stands for an argument without a value.
    """

    method: str
    reply_to: str
    id: int
    timestamp: float
    arguments: tuple[ArgumentValue | None, ...]


def encode_request(
    method: str, reply_to: str, call_id: int, arguments: Sequence[ArgumentValue]
) -> bytes:
    """The bytes of a request.

    Raises:
        InvalidArgument: naming the argument that cannot be sent.
    """
    message = RPCMessage(method=method, reply_to=reply_to, id=call_id, timestamp=time.time())
    for position, argument in enumerate(arguments, start=1):
        try:
            set_value(message.args.add(), argument)
        except InvalidArgument as error:
            raise InvalidArgument(f"argument {position} of {method}: {error}") from None
    return message.SerializeToString()


def decode_request(payload: bytes) -> Request | None:
    """The request in a message, or None when it is no request."""
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
    """The reply that a procedure returned a value.

    Raises:
        TypeError, ValueError, RecursionError: the value is not JSON.
    """
    return _encode(_reply(request, topic, "OK", value)).encode()


def encode_error(request: Request, topic: str, code: str, message: str) -> bytes:
    """The reply that a request gave no value, and why."""
    reply = _reply(request, topic, "Error", None)
    reply["error"] = {"code": code, "message": message}
    return _encode(reply).encode()


def decode_reply(payload: bytes) -> Mapping[str, Any] | None:
    """The object of a reply, or None when it is none."""
    try:
        reply = _decode(payload.decode())
    except (ValueError, RecursionError):
        return None
    return reply if isinstance(reply, dict) else None


def may_carry_replies(channel: str) -> bool:
    """Refuse channels of the naming convention, and Redis's own.

    A server that replied there would publish, with its own rights, what a caller has chosen.
    """
    return not channel.startswith(_NOT_FOR_REPLIES)


def answers(reply: Mapping[str, Any], topic: str) -> bool:
    """Check that a reply names the topic that was called, or a pattern that matches it.

    Existing servers name the pattern that they subscribed, which may be wider than the topic.
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
    """What the procedure returned.

    Raises:
        ProcedureFailed, UnknownProcedure, ArgumentsRejected, Overloaded: as the server says.
        BadReply: the reply is not in a reply's form.
    """
    status = reply.get("status")
    if status == "OK" and "return_value" in reply:
        value: Json = reply["return_value"]
        return value
    if status != "Error":
        raise BadReply(
            f"{topic} answered {procedure} with a reply that is neither OK nor Error",
            topic=topic,
            procedure=procedure,
        )
    error = reply.get("error")
    if not isinstance(error, dict):  # a deployed server
        error = {"message": "the server does not say why"}
    raise _ERRORS.get(str(error.get("code")), ProcedureFailed)(
        f"{procedure} of {topic}: {error.get('message', '')}", topic=topic, procedure=procedure
    )


def _reply(request: Request, topic: str, status: str, value: Any) -> dict[str, Any]:
    return {
        "method": request.method,
        "id": request.id,
        "pattern": topic,
        "status": status,
        "return_value": value,
    }


def _to_json(value: Any) -> Any:
    """What the JSON encoder asks for each object that it does not know."""
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
    raise TypeError(f"{type(value).__name__} is not JSON")


_decode: Final = json.JSONDecoder().decode
_encode: Final = json.JSONEncoder(allow_nan=False, default=_to_json).encode
