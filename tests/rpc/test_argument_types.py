"""Arguments of calls: five types, with the same bytes as those of existing callers."""

from __future__ import annotations

import json
import math
from enum import IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from opentera_twisted import InvalidArgument
from opentera_twisted.messages import RPCMessage, Value
from opentera_twisted.rpc.argument_types import get_value
from opentera_twisted.rpc.wire import decode_request, encode_request
from tests.helpers.support import DATA

REQUESTS = [
    vector
    for vector in json.loads((DATA / "golden.json").read_text())["vectors"]
    if vector["is"] == "RPCMessage"
]

arguments = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.binary(),
)


def same(one: Any, other: Any) -> bool:
    """Compare values and types; NaN equals NaN."""
    return type(one) is type(other) and (
        one == other or (isinstance(one, float) and math.isnan(one) and math.isnan(other))
    )


@given(st.lists(arguments))
@example([0, -1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, False, 0.0, -0.0, "", b"", "hé"])
def test_any_arguments_survive_encoding(values: list[Any]) -> None:
    request = decode_request(encode_request("m", "r", 7, values))
    assert request is not None
    assert (request.method, request.reply_to, request.id) == ("m", "r", 7)
    assert len(request.arguments) == len(values)
    assert all(map(same, request.arguments, values))


@pytest.mark.parametrize("vector", REQUESTS, ids=lambda vector: vector["name"])
def test_requests_have_the_bytes_of_existing_callers(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    request = decode_request(data)
    assert request is not None
    values = [value for value in request.arguments if value is not None]
    made = RPCMessage.FromString(
        encode_request(request.method, request.reply_to, request.id, values)
    )
    made.timestamp = vector["fields"]["timestamp"]
    assert made.SerializeToString() == data


class Number(IntEnum):
    ONE = 1


class Word(StrEnum):
    A = "a"


class Shouting(str):
    __slots__ = ()

    def __str__(self) -> str:
        return self.upper()


class Scalar:
    """A stand-in for a numpy scalar."""

    shape = ()

    def __init__(self, value: object) -> None:
        self.value = value

    def item(self) -> object:
        return self.value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Number.ONE, 1),
        (Word.A, "a"),
        (Shouting("a"), "a"),
        (type("F", (float,), {})(1.5), 1.5),
        (type("B", (bytes,), {})(b"x"), b"x"),
        (Scalar(True), True),
        (Scalar(3), 3),
        (Scalar(0.5), 0.5),
    ],
)
def test_subclasses_and_numpy_scalars_are_sent_as_base_types(value: Any, expected: object) -> None:
    request = decode_request(encode_request("m", "r", 0, [value]))
    assert request is not None
    assert same(request.arguments[0], expected)


class Array:
    shape = (2,)

    def item(self) -> object:
        raise ValueError


@pytest.mark.parametrize(
    "value",
    [None, [], {}, (1,), 1j, object(), bytearray(b"x"), 2**64, -(2**63) - 1, "\ud800",
     Array(), Scalar(None), Scalar([1])],
)  # fmt: skip
def test_other_types_are_refused_naming_their_position(value: Any) -> None:
    with pytest.raises(InvalidArgument, match="argument 2 of add") as caught:
        encode_request("add", "r", 0, [1, value])
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)


def test_float_and_uint_are_read_and_an_unset_value_is_none() -> None:
    assert get_value(Value(float_value=1.5)) == 1.5
    assert get_value(Value(uint_value=2**64 - 1)) == 2**64 - 1
    assert get_value(Value()) is None


@given(st.binary())
def test_any_bytes_are_a_request_or_none(data: bytes) -> None:
    decode_request(data)
