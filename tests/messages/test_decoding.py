"""Decoding of payloads: recorded messages, requests, JSON, text and malformed bytes."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from opentera_twisted.messages import LogEvent, RPCMessage, TeraEvent, UserEvent, Value
from opentera_twisted.messages.decoding import DEEPEST, decode
from opentera_twisted.messages.envelopes import module_message, tera_event
from tests.helpers.support import DATA

VECTORS: list[dict[str, Any]] = json.loads((DATA / "golden.json").read_text())["vectors"]
GOLDEN = [vector for vector in VECTORS if "hex" in vector]


def test_recorded_messages_are_decoded_by_their_topic() -> None:
    assert GOLDEN
    forms = set()
    for message in GOLDEN:
        decoded = decode(message["topic"], bytes.fromhex(message["hex"]))
        forms.add(decoded.form)
        json.dumps(decoded.to_json())
        assert decoded.form != "bytes", message
    assert {"TeraEvent", "TeraModuleMessage", "RPCMessage"} <= forms


def test_an_envelope_is_recognised_on_any_topic() -> None:
    event = UserEvent(user_uuid="u", type=UserEvent.USER_CONNECTED)
    told = {"@type": "UserEvent", "userUuid": "u", "type": "USER_CONNECTED", "userFullname": ""}
    for topic in ("service.a.events", "module.a.messages", "anything"):
        decoded = decode(topic, tera_event("t", [event]).SerializeToString())
        assert (decoded.form, decoded.messages) == ("TeraEvent", (told,))
        assert decoded.head["topic"] == "t"
        decoded = decode(topic, module_message("s", "d", [event]).SerializeToString())
        assert (decoded.form, decoded.messages) == ("TeraModuleMessage", (told,))
        assert (decoded.head["source"], decoded.head["dest"]) == ("s", "d")


def test_a_request_has_its_arguments_as_values() -> None:
    request = RPCMessage(method="add", reply_to="r", id=7, timestamp=1.5)
    request.args.extend([Value(int_value=2), Value(bytes_value=b"\x01"), Value(bool_value=False)])
    decoded = decode("service.Sum.rpc", request.SerializeToString())
    assert decoded.form == "RPCMessage"
    assert decoded.head == {"method": "add", "replyTo": "r", "id": 7, "timestamp": 1.5}
    assert decoded.value == [2, {"hex": "01"}, False]


def test_a_request_may_have_a_trace_context_only() -> None:
    request = RPCMessage(method="add").SerializeToString()
    context = b"\x82\xb5\x18\x01a" + b"\x8a\xb5\x18\x01b"  # fields 50000 and 50001
    other = b"\x92\xb5\x18\x01c"  # field 50002
    for extra, form in ((context, "RPCMessage"), (other, "bytes"), (context + other, "bytes")):
        assert decode("service.Sum.rpc", request + extra).form == form
    argument = RPCMessage(method="add", args=[Value.FromString(context)])
    assert decode("service.Sum.rpc", argument.SerializeToString()).form == "bytes"


def test_other_payloads_are_json_text_or_bytes() -> None:
    assert decode("RedisRPCClient.x", b'{"status": "OK"}').to_json() == {
        "form": "json",
        "value": {"status": "OK"},
    }
    assert decode("t", "Zoé\n".encode()).to_json() == {"form": "text", "value": "Zoé\n"}
    assert decode("t", b"\x00\xff").to_json() == {"form": "bytes", "value": "00ff"}
    assert decode("service.a.events", b"\x1b[2J").form == "bytes"


def test_the_result_is_strict_json() -> None:
    assert decode("t", b'{"a": [NaN, -Infinity]}').value == {"a": ["nan", "-inf"]}
    request = RPCMessage(method="add", reply_to="r", timestamp=math.inf)
    request.args.extend([Value(double_value=math.nan)])
    decoded = decode("service.Sum.rpc", request.SerializeToString())
    assert (decoded.head["timestamp"], decoded.value) == ("inf", ["nan"])
    assert decode("t", b"[" * DEEPEST + b"]" * DEEPEST).form == "json"
    nested = decode("t", b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1))
    assert (nested.form, nested.value) == ("text", "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1))


def test_an_unknown_or_malformed_event_is_shown_as_hex() -> None:
    event = tera_event("t", [LogEvent(message="a")])
    event.events[0].type_url = "type.googleapis.com/opentera.protobuf.Tomorrow"
    event.events.add(type_url="type.googleapis.com/opentera.protobuf.UserEvent", value=b"\xff")
    # An envelope may hold an unknown message, which JSON cannot express.
    inner = TeraEvent()
    inner.events.add(type_url="type.googleapis.com/opentera.protobuf.Tomorrow", value=b"\x01")
    event.events.add(
        type_url="type.googleapis.com/opentera.protobuf.TeraEvent", value=inner.SerializeToString()
    )
    names = [
        (message["@type"], "hex" in message)
        for message in decode("t", event.SerializeToString()).messages
    ]
    assert names == [("Tomorrow", True), ("UserEvent", True), ("TeraEvent", True)]


@given(
    st.sampled_from(["service.a.events", "module.a.messages", "service.a.rpc", "t", "*"]),
    st.binary(max_size=200)
    | st.sampled_from([bytes.fromhex(recorded["hex"]) for recorded in GOLDEN]),
    st.integers(0, 300),
    st.binary(max_size=3),
)
def test_any_payload_is_decoded(topic: str, payload: bytes, at: int, put: bytes) -> None:
    mutated = payload[:at] + put + payload[at + 1 :]
    json.dumps(decode(topic, mutated).to_json(), allow_nan=False)
