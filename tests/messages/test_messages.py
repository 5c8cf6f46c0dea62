"""The messages: descriptors, bytes and JSON of existing programs."""

from __future__ import annotations

import hashlib
import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage

from opentera_twisted import messages
from opentera_twisted.messages import TeraEvent, TeraModuleMessage, UserEvent
from opentera_twisted.messages.envelopes import (
    module_message,
    pack,
    tera_event,
    unpack,
    unpack_all,
)
from opentera_twisted.messages.text import event_text
from tests.helpers.support import DATA
from tools.compile_protos import PROTO, generate

FILES = json.loads((DATA / "messages.json").read_text())["files"]
GOLDEN = json.loads((DATA / "golden.json").read_text())["vectors"]
EVENTS = [vector for vector in GOLDEN if "websocket_text_frame" in vector]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file["file"])
def test_descriptors_equal_those_of_existing_programs(file: dict[str, Any]) -> None:
    name = file["file"].removesuffix(".proto")
    module = importlib.import_module(f"opentera_twisted.messages.{name}_pb2")
    assert module.DESCRIPTOR.name == file["file"]
    digest = hashlib.sha256(module.DESCRIPTOR.serialized_pb).hexdigest()
    assert digest == file["serialized_sha256"]


def test_every_message_is_exported() -> None:
    declared = {order["message"] for file in FILES for order in file["declared_order"]}
    assert declared == set(messages.__all__)
    assert all(hasattr(messages, name) for name in declared)


def test_modules_are_generated_from_the_proto_files(tmp_path: Path) -> None:
    generate(tmp_path)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_text() for path in PROTO.glob("*_pb2.py*")}
    assert made == kept


@pytest.mark.parametrize("vector", EVENTS, ids=lambda vector: vector["name"])
def test_websockets_get_the_text_of_existing_gateways(vector: dict[str, Any]) -> None:
    event = TeraEvent.FromString(bytes.fromhex(vector["hex"]))
    assert event_text(event) == vector["websocket_text_frame"]
    assert event_text(event, list(unpack_all(event.events))) == vector["websocket_text_frame"]


@pytest.mark.parametrize("vector", EVENTS, ids=lambda vector: vector["name"])
def test_events_have_the_bytes_of_existing_programs(vector: dict[str, Any]) -> None:
    recorded = TeraEvent.FromString(bytes.fromhex(vector["hex"]))
    events = list(unpack_all(recorded.events))
    assert len(events) == len(recorded.events)
    made = tera_event(vector["topic"], events, recorded.header.time)
    assert made.SerializeToString() == bytes.fromhex(vector["hex"])


@pytest.mark.parametrize(
    "vector",
    [vector for vector in GOLDEN if vector["is"] == "TeraModuleMessage"],
    ids=lambda vector: vector["name"],
)
def test_module_messages_have_the_bytes_of_existing_programs(vector: dict[str, Any]) -> None:
    recorded = TeraModuleMessage.FromString(bytes.fromhex(vector["hex"]))
    made = module_message(
        recorded.head.source, vector["topic"], unpack_all(recorded.data), recorded.head.time
    )
    assert made.SerializeToString() == bytes.fromhex(vector["hex"])
    fields = json_format.MessageToDict(made, preserving_proto_field_name=True)
    assert fields == vector["fields"]


def test_packed_messages_are_unpacked() -> None:
    event = UserEvent(user_uuid="u", type=UserEvent.USER_UPDATED)
    packed = pack(event)
    assert packed.type_url == "type.googleapis.com/opentera.protobuf.UserEvent"
    assert unpack(packed) == event
    assert pack(packed) is packed


@pytest.mark.parametrize(
    "packed",
    [
        AnyMessage(type_url="type.googleapis.com/opentera.protobuf.Unknown"),
        AnyMessage(type_url="type.googleapis.com/opentera.protobuf.UserEvent", value=b"\xff"),
        AnyMessage(),
    ],
)
def test_an_unknown_message_unpacks_to_none(packed: AnyMessage) -> None:
    assert unpack(packed) is None
    assert list(unpack_all([packed])) == []


def test_the_earlier_module_of_envelopes_warns() -> None:
    with pytest.warns(DeprecationWarning, match=r"messages\.envelopes"):
        earlier = importlib.import_module("opentera_twisted.messages.packing")
    assert earlier.tera_event is tera_event
