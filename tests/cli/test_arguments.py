"""Conversion of command-line text to arguments, values and messages."""

from __future__ import annotations

from typing import Any

import pytest

from opentera_twisted import InvalidArgument
from opentera_twisted.cli.arguments import parse_argument, parse_bytes, parse_messages
from opentera_twisted.messages import TeraEvent, UserEvent


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("0", 0),
        ("-5", -5),
        ("18446744073709551615", 2**64 - 1),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ('"5"', "5"),
        ('"a b"', "a b"),
        ("hex:DEADBEEF", b"\xde\xad\xbe\xef"),
        ("hex:", b""),
        ("text", "text"),
        ("", ""),
        ("True", "True"),
        ("null", "null"),
        ("[1]", "[1]"),
        ('{"a": 1}', '{"a": 1}'),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("1e999", "1e999"),
        ("11111111-2222", "11111111-2222"),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_arguments_are_json_hexadecimal_or_the_text_itself(text: str, value: object) -> None:
    parsed = parse_argument(text)
    assert (type(parsed), parsed) == (type(value), value)


def test_values_are_text_or_hexadecimal() -> None:
    assert parse_bytes("é") == "é".encode()
    assert parse_bytes("hex:00ff") == b"\x00\xff"
    for wrong in ("hex:0", "hex:xy"):
        with pytest.raises(InvalidArgument, match="hex:DEADBEEF"):
            parse_bytes(wrong)


@pytest.mark.parametrize(
    "name", ["UserEvent", "opentera.protobuf.UserEvent",
             "type.googleapis.com/opentera.protobuf.UserEvent"]
)  # fmt: skip
def test_messages_are_objects_with_their_type(name: str) -> None:
    text = '{"@type": "%s", "userUuid": "u", "type": "USER_UPDATED"}' % name  # noqa: UP031
    event = UserEvent(user_uuid="u", type=UserEvent.USER_UPDATED)
    assert parse_messages(text) == [event]
    assert parse_messages(f"[{text}, {text}]") == [event, event]


def test_envelopes_hold_messages() -> None:
    (event,) = parse_messages(
        '{"@type": "TeraEvent", "header": {"topic": "t"}, "events": ['
        '{"@type": "type.googleapis.com/opentera.protobuf.UserEvent", "userUuid": "u"}]}'
    )
    assert isinstance(event, TeraEvent)
    assert event.events[0].value == UserEvent(user_uuid="u").SerializeToString()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[" * 900 + "]" * 900, "@type"),
        ("5", "@type"),
        ("{}", "@type"),
        ('{"@type": 5}', "@type"),
        ('{"@type": "Nothing"}', "known: ArchiveEvent"),
        ('{"@type": "UserEvent", "none": 1}', "none"),
        ('{"@type": "UserEvent", "type": "NONE"}', "NONE"),
        ('{"@type": "UserEvent", "userUuid": 5}', "userUuid"),
    ],
)
def test_an_invalid_message_is_explained(text: str, problem: str) -> None:
    with pytest.raises(InvalidArgument, match=problem):
        parse_messages(text)


def test_other_values_are_refused_as_arguments() -> None:
    kinds: set[Any] = {type(parse_argument(text)) for text in ("1", "a", "true", "1.0", "hex:")}
    assert kinds == {int, str, bool, float, bytes}
