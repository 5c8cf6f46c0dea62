"""The trace context in a request: what is written, what is read, and what others see."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)

from opentera_twisted.messages import RPCMessage
from opentera_twisted.messages.decoding import TRACE_FIELDS
from opentera_twisted.messages.decoding import decode as decode_payload
from opentera_twisted.rpc.wire import decode_request, encode_request
from opentera_twisted.tracing.request_field import LONGEST, decode, encode

REQUEST = encode_request("add", "RedisRPCClient.x", 7, [1, "two", b"\xff"])


def context_of(trace_id: int, span_id: int, **state: str) -> Context:
    flags = TraceFlags(TraceFlags.SAMPLED)
    span = SpanContext(trace_id, span_id, False, flags, TraceState(list(state.items())))
    return set_span_in_context(NonRecordingSpan(span), Context())


def ids(context: Context) -> tuple[int, int, dict[str, str]]:
    span = get_current_span(context).get_span_context()
    return span.trace_id, span.span_id, dict(span.trace_state)


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1))
def test_a_context_arrives_as_it_was(trace_id: int, span_id: int) -> None:
    encoded = encode(context_of(trace_id, span_id, vendor="x"))
    assert ids(decode(REQUEST + encoded)) == (trace_id, span_id, {"vendor": "x"})


def test_the_fields_hold_the_headers_of_w3c() -> None:
    assert TRACE_FIELDS == {"traceparent": 50_000, "tracestate": 50_001}
    header = b"00-000000000000000000000000000000ab-00000000000000cd-01"
    assert encode(context_of(0xAB, 0xCD)) == b"\x82\xb5\x18" + bytes([len(header)]) + header


def test_other_programs_read_the_same_request() -> None:
    traced = REQUEST + encode(context_of(1, 2, vendor="x"))
    assert decode_request(traced) == decode_request(REQUEST)
    message = RPCMessage.FromString(traced)
    assert [field.name for field, _ in message.ListFields()] == [
        field.name for field, _ in RPCMessage.FromString(REQUEST).ListFields()
    ]


def test_a_traced_request_is_shown_as_without_tracing() -> None:
    topic = "service.Sum.rpc"
    shown = decode_payload(topic, REQUEST)
    assert shown.form == "RPCMessage"
    traced = REQUEST + encode(context_of(1, 2, vendor="x"))
    assert decode_payload(topic, traced) == shown


def test_a_request_without_a_span_is_unchanged() -> None:
    assert encode(Context()) == b""
    assert ids(decode(REQUEST)) == (0, 0, {})


def test_a_long_field_is_neither_sent_nor_read() -> None:
    state = {f"vendor{number}": "x" * 200 for number in range(3)}
    assert ids(decode(REQUEST + encode(context_of(1, 2, **state)))) == (1, 2, {})
    long = b"x" * (LONGEST + 1)
    field = b"\x82\xb5\x18" + bytes([len(long) & 127 | 128, len(long) >> 7]) + long
    assert decode_request(REQUEST + field) is not None
    assert ids(decode(REQUEST + field)) == (0, 0, {})


@given(st.binary(max_size=100))
def test_any_bytes_decode(payload: bytes) -> None:
    decode(payload)
    decode(REQUEST + payload)
    decode(REQUEST + b"\x82\xb5\x18" + bytes([len(payload)]) + payload)
