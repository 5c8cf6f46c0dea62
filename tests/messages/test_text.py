"""The text of events equals protobuf's own for any content."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from opentera_twisted import messages
from opentera_twisted.messages import TeraEvent
from opentera_twisted.messages import text as text_module
from opentera_twisted.messages.envelopes import pack
from opentera_twisted.messages.text import event_text
from tests.helpers.strategies import any_text

TYPES = [getattr(messages, name) for name in messages.__all__]

# Typical events for websockets.
PLAIN = (
    messages.ArchiveEvent, messages.DatabaseEvent, messages.DeviceEvent, messages.JoinSessionEvent,
    messages.JoinSessionReplyEvent, messages.LeaveSessionEvent, messages.ParticipantEvent,
    messages.StopSessionEvent, messages.UserEvent,
)  # fmt: skip

doubles = st.floats() | st.sampled_from([0.0, -0.0, 1e22, 1700000000.5])


def values(field: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for a field of any kind."""
    one: st.SearchStrategy[Any]
    if field.message_type is not None:
        one = filled(field.message_type._concrete_class)
    elif field.enum_type is not None:
        one = st.integers(-3, 20)
    elif field.type == field.TYPE_BYTES:
        one = st.binary()
    else:
        one = {
            field.CPPTYPE_STRING: any_text(),
            field.CPPTYPE_BOOL: st.booleans(),
            field.CPPTYPE_DOUBLE: doubles,
            field.CPPTYPE_FLOAT: st.floats(width=32),
            field.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
            field.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
            field.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
            field.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
        }[field.cpp_type]
    return st.lists(one, max_size=3) if text_module._is_repeated(field) else one


@st.composite
def filled(draw: st.DrawFn, kind: type[Message]) -> Message:
    """Return a message with some of its fields set."""
    message = kind()
    if kind.DESCRIPTOR.full_name == "google.protobuf.Any":
        return pack(messages.UserEvent(user_uuid=draw(any_text())))
    for field in kind.DESCRIPTOR.fields:
        if not draw(st.booleans()):
            continue
        value = draw(values(field))
        if text_module._is_repeated(field):
            getattr(message, field.name).extend(value)
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(value)
        else:
            setattr(message, field.name, value)
    return message


@given(st.data())
def test_the_text_equals_that_of_protobuf(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(TYPES), max_size=3))
    packed = [data.draw(filled(kind)) for kind in kinds]
    header: Any = data.draw(filled(type(TeraEvent().header)))
    event = TeraEvent(events=map(pack, packed))
    if data.draw(st.booleans()):
        event.header.CopyFrom(header)
    assert event_text(event, packed) == event_text(event)


@pytest.mark.parametrize("kind", PLAIN)
def test_common_events_take_the_fast_path(kind: type[Message]) -> None:
    text_module._writer(kind.DESCRIPTOR, "")


def test_other_events_take_the_slow_path() -> None:
    for kind in (messages.LoginEvent, messages.ServerCommand, messages.RPCMessage):
        with pytest.raises(text_module._NotPlain):
            text_module._writer(kind.DESCRIPTOR, "")


def test_a_field_with_the_name_of_a_keyword_takes_the_slow_path() -> None:
    file = FileDescriptorProto(name="keyword.proto", package="test")
    field = file.message_type.add(name="Keyword").field.add(name="from", number=1)
    field.type, field.label = field.TYPE_STRING, field.LABEL_OPTIONAL
    file.syntax = "proto3"
    pool = DescriptorPool()
    pool.Add(file)
    with pytest.raises(text_module._NotPlain):
        text_module._writer(pool.FindMessageTypeByName("test.Keyword"), "")
