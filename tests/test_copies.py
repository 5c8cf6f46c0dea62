"""Every public exception and value survives pickle, copy and deepcopy."""

from __future__ import annotations

import copy
import inspect
import pickle
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from importlib import import_module
from types import ModuleType, NoneType, UnionType
from typing import Any, ForwardRef, Literal, Union, get_args, get_origin, get_type_hints
from urllib.parse import SplitResult, urlsplit

import attrs
import pytest

import opentera_twisted
from opentera_twisted import ProcedureError
from opentera_twisted.cli.doctor.rights import Purpose
from opentera_twisted.gateway.fanout import Following
from opentera_twisted.gateway.recovery.handover import KeptSessions
from opentera_twisted.gateway.recovery.session import Beginning
from opentera_twisted.link.factory import Probe
from opentera_twisted.program.settings import Settings
from opentera_twisted.rpc.description import ArgumentDescription
from opentera_twisted.rpc.procedures import Procedure

WAYS: list[Callable[[Any], Any]] = [
    lambda one: pickle.loads(pickle.dumps(one)),
    copy.copy,
    copy.deepcopy,
]

HOLD_OBJECTS = {Beginning, Following, KeptSessions, Probe, Procedure, Purpose, Settings}
"""Values with functions, frames or key files of one process."""


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(opentera_twisted.__path__, "opentera_twisted."):
        if not found.name.endswith(("__main__", ".packing")):  # packing warns
            yield import_module(found.name)


def is_value(kind: type) -> bool:
    """A value compared by content instead of identity."""
    if kind in HOLD_OBJECTS:
        return False
    is_named_tuple = issubclass(kind, tuple) and hasattr(kind, "_fields")
    is_compared = attrs.has(kind) and kind.__eq__ is not object.__eq__
    return issubclass(kind, Enum) or is_named_tuple or is_compared


PUBLIC = sorted(
    {
        kind
        for module in modules()
        for name, kind in vars(module).items()
        if inspect.isclass(kind) and kind.__module__ == module.__name__ and not name.startswith("_")
    },
    key=lambda kind: (kind.__module__, kind.__name__),
)
ERRORS = [kind for kind in PUBLIC if issubclass(kind, BaseException)]
VALUES = [kind for kind in PUBLIC if is_value(kind)]


def content(one: Any) -> Any:
    """Return the content of a value in types that Python compares."""
    if isinstance(one, BaseException):
        return type(one), str(one), content(one.args), content(vars(one))
    if attrs.has(type(one)):
        return type(one), {
            field.name: content(getattr(one, field.name)) for field in attrs.fields(type(one))
        }
    if isinstance(one, tuple):
        return type(one), [content(part) for part in one]
    if isinstance(one, dict):
        return {key: content(value) for key, value in one.items()}
    return "nan" if one != one else one  # noqa: PLR0124 (only nan is not itself)


EXAMPLES: dict[Any, Any] = {
    Any: "anything",
    ForwardRef("Json"): {"a": [1, None]},
    NoneType: None,
    bool: True,
    SplitResult: urlsplit("ws://gateway:1/wss/user"),
    bytes: b"\x00bytes",
    datetime: datetime(2026, 1, 2, tzinfo=UTC),
    float: 1.5,
    int: 40000,
    object: "an object",
    str: "websocket.user.text",
}

COLLECTIONS: dict[Any, Callable[[list[Any]], Any]] = {
    Mapping: lambda parts: dict([parts]),
    Sequence: tuple,
    frozenset: frozenset,
    tuple: tuple,
}


def example(hint: Any) -> Any:
    """Return an example of a type."""
    outer, inner = get_origin(hint), get_args(hint)
    if outer is Literal:
        return inner[0]
    if outer in {Union, UnionType}:
        return example(inner[0])
    if outer in COLLECTIONS:
        return COLLECTIONS[outer](
            [example(parameter) for parameter in inner if parameter is not Ellipsis]
        )
    if outer is type:
        return inner[0]
    if hint in EXAMPLES:
        return EXAMPLES[hint]
    return next(iter(hint)) if issubclass(hint, Enum) else made(hint)


def made(kind: type) -> Any:
    """Return an object of a class, with all arguments of its constructor."""
    constructor = kind.__new__ if issubclass(kind, tuple) else kind.__init__
    if not inspect.isfunction(constructor):  # an exception with Python's constructor
        return kind("the message")
    hints = get_type_hints(constructor if issubclass(kind, BaseException) else kind)
    names = inspect.signature(kind).parameters
    return kind(**{name: example(hints.get(name) or hints[f"_{name}"]) for name in names})


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_an_exception_survives(kind: type[BaseException]) -> None:
    error = made(kind)
    error.add_note("of the program")
    for way in WAYS:
        assert content(way(error)) == content(error)


def test_an_exception_of_a_program_survives() -> None:
    error = Refused(404, room="blue")
    for way in WAYS:
        assert content(way(error)) == content(error)


class Refused(ProcedureError):
    def __init__(self, status: int, *, room: str) -> None:
        super().__init__(f"{room}: {status}")
        self.room = room


@pytest.mark.parametrize("kind", VALUES, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_a_value_survives(kind: type) -> None:
    value = example(kind)
    for way in WAYS:
        assert content(way(value)) == content(value)


def test_a_missing_default_stays_missing() -> None:
    described = ArgumentDescription("a", "int")
    for way in WAYS:
        assert way(described).is_required


def test_public_constants_are_compared_by_value() -> None:
    constants = [
        f"{module.__name__}.{name}"
        for module in modules()
        for name, one in vars(module).items()
        if type(one) is object and not name.startswith("_")
    ]
    assert constants == []
