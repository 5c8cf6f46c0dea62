"""Summaries of published messages for the console, for any payload."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from opentera_twisted.admin.summary import SHOWN_BYTES, summarize
from opentera_twisted.messages import TeraEvent, UserEvent
from opentera_twisted.messages.envelopes import module_message, tera_event
from opentera_twisted.rpc.wire import decode_request, encode_error, encode_reply, encode_request
from tests.helpers.support import UUID

RPC = "service.Sum.rpc"
TOPICS = [RPC, "service.A.events", "module.A.messages", "RedisRPCClient.x", "anything"]


def test_an_event() -> None:
    topic = f"websocket.user.{UUID}.events"
    payload = tera_event(topic, [UserEvent(user_fullname="Zoé"), UserEvent()], 1.5)
    found = summarize(topic, payload.SerializeToString())
    assert (found.form, found.line) == ("TeraEvent", "UserEvent, UserEvent")
    assert found.body["header"] == {"version": 1, "time": 1.5, "topic": topic}
    shown = {"@type": "UserEvent", "userFullname": "Zoé"}
    assert found.body["messages"][0].items() >= shown.items()


def test_a_module_message_may_hold_an_unknown_type() -> None:
    message = module_message("service.A", "module.B.messages", [UserEvent()])
    message.data.add(type_url="type.googleapis.com/other.Thing", value=b"\x01")
    found = summarize("module.B.messages", message.SerializeToString())
    assert (found.form, found.line) == ("TeraModuleMessage", "UserEvent, Thing")
    assert found.body["messages"][1]["hex"] == "01"


def test_a_request_and_its_replies() -> None:
    payload = encode_request("add", "RedisRPCClient.x", 7, (1, "é", b"\xff", True, 1e400))
    found = summarize(RPC, payload)
    assert found.form == "request"
    assert found.line == 'add(1, "é", {"hex": "ff"}, true, "inf")'
    assert found.body["arguments"] == [1, "é", {"hex": "ff"}, True, "inf"]
    request = decode_request(payload)
    assert request is not None
    reply = summarize("RedisRPCClient.x", encode_reply(request, RPC, [1]))
    assert (reply.form, reply.line, reply.body["return_value"]) == ("reply", "add: OK", [1])
    error = summarize("RedisRPCClient.x", encode_error(request, RPC, "overloaded", "later"))
    assert (error.form, error.line) == ("reply", "add: Error")


@pytest.mark.parametrize(
    ("payload", "form", "body"),
    [
        (b'{"a": 1}', "JSON", {"a": 1}),
        (b'{"a": NaN}', "JSON", {"a": "nan"}),
        (b"12", "text", "12"),
        ("é\n".encode(), "text", "é\n"),
        (b"\x00\x01", "bytes", {"hex": "0001", "bytes": 2}),
        (b"", "bytes", {"hex": "", "bytes": 0}),
        (b"\xff" * 999, "bytes", {"hex": "ff" * SHOWN_BYTES, "bytes": 999}),
    ],
)
def test_messages_on_other_topics_are_summarised(payload: bytes, form: str, body: Any) -> None:
    found = summarize("anything", payload)
    assert (found.form, found.body) == (form, body)


def test_a_payload_that_does_not_fit_its_topic_is_summarised() -> None:
    for topic in TOPICS:
        assert summarize(topic, b"hello").form == "text"


@given(st.sampled_from(TOPICS), st.binary(max_size=300))
@example("service.A.events", TeraEvent(events=[{"value": b"\xff"}]).SerializeToString())
@example("RedisRPCClient.x", b"[" * 100_000)
@example("anything", b"1" * 5000)
@example("anything", b"[" * 200 + b"]" * 200)
@example("RedisRPCClient.x", b"[" * 900 + b"]" * 900)
@example("RedisRPCClient.x", b'["status", "method"]')
def test_anything_can_be_read_and_is_strict_json_of_one_line(topic: str, payload: bytes) -> None:
    found = summarize(topic, payload)
    json.dumps(found.body, allow_nan=False, indent=2)  # the encoder that recurses in Python
    assert len(found.line.splitlines()) <= 1
