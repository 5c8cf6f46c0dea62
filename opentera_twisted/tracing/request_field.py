"""The trace context in a request: fields that the message's type does not declare.

A program that does not know them ignores them, as protobuf demands. They hold the headers
``traceparent`` and ``tracestate`` of W3C Trace Context.

Source: docs/reference/wire.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from opentera_twisted.messages import RPCMessage
from opentera_twisted.messages.decoding import TRACE_FIELDS

LONGEST: Final = 512
"""Maximum length of a field's text in bytes; tracestate may be as long."""

_HEADERS: Final = {number: header for header, number in TRACE_FIELDS.items()}
_LENGTH_DELIMITED: Final = 2
_propagator: Final = TraceContextTextMapPropagator()


def encode(context: Context) -> bytes:
    """Encode a context as fields to append to a request; empty without a span."""
    headers: dict[str, str] = {}
    _propagator.inject(headers, context)
    return b"".join(
        _varint(TRACE_FIELDS[header] << 3 | _LENGTH_DELIMITED) + _varint(len(text)) + text
        for header, value in headers.items()
        if len(text := value.encode()) <= LONGEST
    )


def decode(request: bytes) -> Context:
    """Decode the context of a request; one without a span if there is none, or it is invalid."""
    return _propagator.extract(dict(_headers(request)), Context())


def _headers(request: bytes) -> Iterator[tuple[str, str]]:
    try:
        unknown = UnknownFieldSet(RPCMessage.FromString(request))
    except DecodeError:
        return
    for index in range(len(unknown)):
        field = unknown[index]
        header = _HEADERS.get(field.field_number)
        if header is not None and isinstance(field.data, bytes) and len(field.data) <= LONGEST:
            yield header, field.data.decode("ascii", "replace")


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
