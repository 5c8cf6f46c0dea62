"""Declarations of procedures, and matching arguments."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any, Optional, Union

import pytest
from twisted.application.service import Service

from opentera_twisted import BadReply, InvalidArgument, Procedures
from opentera_twisted._internal.callbacks import accepts
from opentera_twisted.rpc.description import NO_DEFAULT, from_json, to_json
from opentera_twisted.rpc.procedures import ArgumentsMismatch


def declared(function: Callable[..., Any], **options: Any) -> Any:
    """Return the procedure of a function."""
    procedures = Procedures()
    procedures.expose(**options)(function)
    (procedure,) = procedures
    return procedure


def anything(a, b=2):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    "Takes anything."
    return a


def typed(a: int, b: float = 1.0, c: Optional[str] = None, *d: Union[bytes, str]) -> None:  # noqa: UP007, UP045
    pass


def exact(a: bool | int) -> None:
    pass


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (anything, [1]),
        (anything, [b"x", "y"]),
        (typed, [1]),
        (typed, [1, 2.5]),
        (typed, [1, 2]),
        (typed, [1, 2, "c", b"d", "e"]),
        (exact, [True]),
        (exact, [1]),
    ],
)
def test_arguments_that_fit(function: Callable[..., Any], arguments: list[Any]) -> None:
    declared(function).check(arguments)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (anything, [], "anything takes 1 to 2 arguments, got 0: a is missing"),
        (anything, [1, 2, 3], "anything takes 1 to 2 arguments, got 3"),
        (typed, [], "typed takes at least 1 argument, got 0: a is missing"),
        (typed, [True], "argument 1 (a) of typed must be int, got bool"),
        (typed, ["1"], "argument 1 (a) of typed must be int, got str"),
        (typed, [1, True], "argument 2 (b) of typed must be float, got bool"),
        (typed, [1, 2, 3], "argument 3 (c) of typed must be str, got int"),
        (typed, [1, 2, "", "", 5], "argument 5 (d) of typed must be bytes | str, got int"),
        (exact, [1.0], "argument 1 (a) of exact must be bool | int, got float"),
        (exact, [], "exact takes 1 argument, got 0: a is missing"),
        (exact, [None], "argument 1 (a) of exact has no value"),
    ],
)
def test_arguments_that_do_not_fit(
    function: Callable[..., Any], arguments: list[Any], message: str
) -> None:
    with pytest.raises(ArgumentsMismatch) as caught:
        declared(function).check(arguments)
    assert str(caught.value) == message


def test_names_documentation_and_options() -> None:
    procedure = declared(anything)
    assert (procedure.name, procedure.doc) == ("anything", "Takes anything.")
    procedure = declared(anything, name="other", thread=True, timeout=30)
    assert (procedure.name, procedure.thread, procedure.timeout) == ("other", True, 30)


def test_the_decorator_gives_back_the_function() -> None:
    assert Procedures().expose(anything) is anything


def takes_list(a: list[int]) -> None: ...


def takes_none(a: int | None) -> None: ...


def late(text: str) -> Callable[..., Any]:
    """Make a function with the type hint `Unknown`, whose module evaluates its type hints.

    Python does so at the definition, and from 3.14 on at their first use.
    """
    names: dict[str, Any] = {}
    code = text if sys.version_info >= (3, 14) else text.replace("Unknown", "'Unknown'")
    exec(compile(code, __file__, "exec", dont_inherit=True), names)
    function: Callable[..., Any] = names["f"]
    return function


def takes_nothing(a: None) -> None: ...


def takes_unknown(a: Unknown) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def wrong_default(a: int = "1") -> None: ...  # type: ignore[assignment]


def takes_keyword(*, a: int) -> None: ...


async def coroutine() -> None: ...


@pytest.mark.parametrize(
    ("function", "options", "problem"),
    [
        (takes_list, {}, "a has the type hint list"),
        (takes_none, {}, "a may be None"),
        (takes_nothing, {}, "a has the type hint"),
        (takes_unknown, {}, "Unknown"),
        (late("def f(a: Unknown): ..."), {}, "Unknown"),
        (wrong_default, {}, "the default of a is a str, not int"),
        (takes_keyword, {}, "a can only be passed by keyword"),
        (anything, {"name": "opentera.x"}, "reserved"),
        (anything, {"name": ""}, "name"),
        (anything, {"name": "a" * 201}, "200 characters"),
        (anything, {"timeout": 0}, "timeout"),
        (anything, {"timeout": True}, "timeout"),
        (coroutine, {"thread": True}, "coroutine"),
        (3, {}, "function"),
    ],
)
def test_declarations_that_cannot_work_are_refused(
    function: Any, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InvalidArgument, match=problem):
        declared(function, **options)


def test_a_refusal_names_the_location_of_the_function() -> None:
    with pytest.raises(InvalidArgument, match=r"test_procedures\.py:\d+"):
        declared(takes_list)


def test_a_hint_for_type_checkers_alone_does_no_harm() -> None:
    assert declared(late("def f() -> Unknown: ...")).returns == "Unknown"
    assert accepts(late("def f(delivery: Unknown): ..."), 1)


def test_a_name_can_be_declared_once() -> None:
    procedures = Procedures()
    procedures.expose(anything)
    with pytest.raises(InvalidArgument, match="already"):
        procedures.expose(anything)


class Calculator:
    """Calculates."""

    factor = 2

    def double(self, a: int) -> int:
        """Twice as much."""
        return self.factor * a

    async def half(self, a: float) -> float:
        return a / self.factor

    def _secret(self) -> None: ...


def test_the_public_methods_of_an_object_are_its_procedures() -> None:
    procedures = Procedures.of(Calculator(), version="2")
    assert {procedure.name for procedure in procedures} == {"double", "half"}
    assert (procedures.version, procedures.doc) == ("2", "Calculates.")
    double = procedures.get("double")
    assert double is not None
    assert (double.function(4), double.doc) == (8, "Twice as much.")


class Descriptor:
    """A property that must not run: those of databases have side effects."""

    def __get__(self, target: object, kind: type) -> Any:
        raise AssertionError("it was run")


class Base:
    def inherited(self) -> int:
        return 1

    def hidden(self) -> int:
        return 1


class Rehab(Base):
    """Offers add."""

    row = Descriptor()
    system = os.system
    hidden = None  # type: ignore[assignment]

    def __init__(self) -> None:
        self.notify = os.system
        self.shadowed = os.system  # type: ignore[assignment]

    def add(self, a: int, b: int) -> int:
        return a + b

    def shadowed(self) -> str:
        return "of the class"

    @staticmethod
    def static(a: int) -> int:
        return a

    @classmethod
    def of_class(cls) -> str:
        return cls.__name__

    @cached_property
    def database(self) -> Any:
        raise AssertionError("it was run")

    @property
    def plain(self) -> Any:
        raise AssertionError("it was run")

    def __getattr__(self, name: str) -> Any:
        raise AssertionError("the property was read")


def test_other_callables_stay_private() -> None:
    offered = {procedure.name: procedure for procedure in Procedures.of(Rehab())}
    assert offered.keys() == {"add", "inherited", "of_class", "shadowed", "static"}
    assert offered["static"].function(3) == 3
    assert offered["of_class"].function() == "Rehab"
    assert offered["shadowed"].function() == "of the class"
    assert Procedures.of(Rehab()).doc == "Offers add."


def test_methods_of_frameworks_stay_private_even_when_overridden() -> None:
    class Served(Service):
        def add(self, a: int) -> int:
            return a

        def stopService(self) -> None: ...

    class Thread(threading.Thread):
        def add(self, a: int) -> int:
            return a

        def run(self) -> None: ...

    for kind in (Served, Thread):
        procedures = Procedures.of(kind())
        assert [procedure.name for procedure in procedures] == ["add"]
        assert procedures.doc == ""


def test_arguments_without_a_hint_are_warned_about() -> None:
    class Loose:
        def show(self, a, *b, c=1, **d) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002, ANN003

    with pytest.warns(
        UserWarning, match=r"Loose\.show \(.*test_procedures\.py:\d+\): .* a, b, so"
    ) as warned:
        Procedures.of(Loose())
    assert warned[0].filename == __file__


def test_lambdas_are_refused() -> None:
    class Short:
        double = lambda self, a: a  # noqa: E731

    with pytest.raises(InvalidArgument, match=r"Short\.double is a lambda \(.*\.py:\d+\)"):
        Procedures.of(Short())
    with pytest.raises(InvalidArgument, match=r"a lambda has no name \(.*\.py:\d+\)"):
        Procedures().expose(lambda: 1)
    Procedures().expose(name="one")(lambda: 1)


def test_a_class_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="is a class"):
        Procedures.of(Calculator)


def test_an_object_without_public_methods_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="no public methods"):
        Procedures.of(object())


def test_a_description_survives_a_round_trip() -> None:
    procedures = Procedures(version="1", doc="Tries.")
    for function in (anything, typed, exact):
        procedures.expose(function)

    @procedures.expose
    def data(a: bytes = b"\x00\xff", b: bytes | str = "x") -> list[str]:
        return []

    description = procedures.describe("Try")
    assert from_json(json.loads(json.dumps(to_json(description))), "t") == description
    shown = {procedure.name: procedure for procedure in description.procedures}
    arguments = [
        (argument.name, argument.type, argument.default) for argument in shown["typed"].arguments
    ]
    assert arguments == [
        ("a", "int", NO_DEFAULT),
        ("b", "float", 1.0),
        ("c", "str | None", None),
        ("*d", "bytes | str", NO_DEFAULT),
    ]
    assert shown["data"].returns == "list[str]"
    assert shown["data"].arguments[0].default == b"\x00\xff"


def with_default(default: Any) -> dict[str, Any]:
    argument = {"name": "a", "type": "float", "default": default}
    procedure = {"name": "p", "doc": "", "arguments": [argument], "returns": ""}
    return {"service": "x", "version": "", "doc": "", "procedures": [procedure]}


def test_a_default_is_an_argument() -> None:
    (procedure,) = from_json(with_default(1.5), "t").procedures
    assert procedure.arguments[0].default == 1.5


@pytest.mark.parametrize(
    "value",
    [
        *(None, 1, {}, {"service": "x"}, {"procedures": 1}, []),
        *(with_default(default) for default in ([], [[1]], {}, {"hex": "x"}, math.nan, math.inf)),
    ],
)
def test_an_invalid_description_is_a_bad_reply(value: Any) -> None:
    with pytest.raises(BadReply):
        from_json(value, "t")


@pytest.mark.parametrize("member", [shutil.rmtree, staticmethod(shutil.rmtree)])
def test_a_function_of_another_package_is_not_offered(member: Any) -> None:
    kind = type("Kind", (Calculator,), {"remove": member})
    with pytest.raises(InvalidArgument, match=r"Kind\.remove is a function of shutil .*shutil\.py"):
        Procedures.of(kind())
    assert Procedures.of(type("Kind", (Calculator,), {"_remove": member})()).get("half")


def test_methods_of_a_class_without_a_module_are_offered() -> None:
    namespace: dict[str, Any] = {}
    exec("class Sum:\n    def add(self, a: int) -> int: return a", namespace)
    assert Procedures.of(namespace["Sum"]()).get("add")
