"""Frames of a gateway as events, and malformed frames."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentera_twisted import messages
from opentera_twisted.client.events import BadFrame, Event, events_of, gap, read_frame
from opentera_twisted.messages import DatabaseEvent, JoinSessionEvent, LogEvent, UserEvent
from opentera_twisted.messages.envelopes import tera_event
from opentera_twisted.messages.text import event_text
from tests.helpers.strategies import any_text
from tests.helpers.support import DATA

PREFIX = "type.googleapis.com/opentera.protobuf."


def frame_of(events: Any, header: Any = None) -> bytes:
    message = {"@type": f"{PREFIX}TeraEvent", "header": header, "events": events}
    return json.dumps({"message": message}).encode()


def test_each_event_of_a_frame_is_one_object() -> None:
    sent = [
        UserEvent(user_fullname="Zoé ☃", type=UserEvent.USER_JOINED_SESSION),
        JoinSessionEvent(session_users=["a", "b"]),
        DatabaseEvent(object_type="user"),
        LogEvent(level=LogEvent.LOGLEVEL_INFO, timestamp=1.5),
    ]
    text = event_text(tera_event("a.topic", sent, 1_700_000_000.25), sent)
    events = events_of(read_frame(text.encode()))
    assert [event.name for event in events] == [type(message).__name__ for message in sent]
    assert [event.message for event in events] == sent
    assert {event.topic for event in events} == {"a.topic"}
    assert {event.time for event in events} == {datetime.fromtimestamp(1_700_000_000.25, UTC)}


def test_recorded_frames_of_existing_programs_are_read() -> None:
    golden = json.loads((DATA / "golden.json").read_text())["vectors"]
    frames = [
        vector["websocket_text_frame"] for vector in golden if "websocket_text_frame" in vector
    ]
    assert frames
    for frame in frames:
        for event in events_of(read_frame(frame.encode())):
            assert event.name in messages.__all__
            assert event.message is not None


def test_types_that_are_unknown_have_data_and_no_message() -> None:
    frame = frame_of([{"@type": f"{PREFIX}NewEvent", "a": 1}, {"@type": "x/other.Event"}, {}])
    events = events_of(read_frame(frame))
    assert [event.name for event in events] == ["NewEvent", "other.Event", ""]
    assert [event.message for event in events] == [None] * 3
    assert events[0].data["a"] == 1


def test_fields_that_are_unknown_or_wrong_do_not_raise() -> None:
    kind = f"{PREFIX}UserEvent"
    known, wrong = events_of(
        read_frame(
            frame_of([{"@type": kind, "new": 1, "userUuid": "u"}, {"@type": kind, "type": []}])
        )
    )
    assert known.message == UserEvent(user_uuid="u")
    assert wrong.message is None


def test_a_message_outside_an_envelope_is_an_event() -> None:
    (event,) = events_of({"message": {"@type": f"{PREFIX}LogEvent", "message": "x"}})
    assert (event.name, event.topic, event.time) == ("LogEvent", None, None)


@pytest.mark.parametrize("time", [None, "1", True, 1e300, float("nan"), [], -1e18])
def test_an_invalid_time_is_omitted(time: Any) -> None:
    (event,) = events_of(read_frame(frame_of([{}], {"time": time, "topic": 1})))
    assert (event.time, event.topic) == (None, None)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff", b"Not allowed to send message", b"[]", b"{}", b'{"message": 1}', b"[" * 100_000],
)
def test_a_frame_without_an_event_is_a_bad_frame(payload: bytes) -> None:
    with pytest.raises(BadFrame):
        events_of(read_frame(payload))


@pytest.mark.parametrize("events", [None, {}, [1], [None]])
def test_events_must_be_a_list_of_objects(events: Any) -> None:
    with pytest.raises(BadFrame):
        events_of(read_frame(frame_of(events)))


def test_a_gap_is_an_event_of_its_own() -> None:
    marker = gap()
    assert marker.is_gap
    assert marker.message is None
    assert not Event("UserEvent", None, None, {}).is_gap


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | any_text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["@type", "a"]), inner),
)


@given(json_values, json_values)
def test_any_text_is_an_event_or_a_bad_frame(events: Any, header: Any) -> None:
    try:
        found = events_of(read_frame(frame_of(events, header)))
    except BadFrame:
        return
    for event in found:
        assert isinstance(event.name, str)
        _ = event.message
