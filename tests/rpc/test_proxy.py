"""Proxies: arguments by name and position, checked before anything is sent; and stubs."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from opentera_twisted import InvalidArgument, Procedures
from opentera_twisted.rpc.description import (
    ArgumentDescription,
    Description,
    ProcedureDescription,
)
from opentera_twisted.rpc.proxy import Proxy, bind, signature_of, stub

procedures = Procedures(version="1.2", doc='Tries "everything".')


@procedures.expose
def plain(a: int, b: float = 0.5, c: str | None = None, d: bytes = b"x") -> int:
    '''Plain, with """quotes""".

    And more.
    '''
    return a


@procedures.expose
def rest(a: int, *more: str) -> list[str]:
    return list(more)


@procedures.expose
def self_named(list: int, a: bytes = b"x") -> dict[str, int] | None:  # noqa: A002
    """Ends with a "quote"."""


@procedures.expose
def odd_result(a: int) -> tuple[int, ...]:
    """Returns what a stub has no import for."""
    return (a,)


@procedures.expose(name="not a name")
def odd() -> None: ...


DESCRIPTION = procedures.describe("Try.It")


def bound(name: str, *arguments: Any, **named: Any) -> list[Any]:
    procedure = DESCRIPTION.get(name)
    assert procedure is not None
    return bind(procedure, arguments, named)


def test_arguments_are_ordered() -> None:
    assert bound("plain", 1) == [1]
    assert bound("plain", 1, 2.0, "c") == [1, 2.0, "c"]
    assert bound("plain", b=2, a=1) == [1, 2]
    assert bound("plain", 1, c="c") == [1, 0.5, "c"]
    assert bound("plain", 1, c="c", d=b"d") == [1, 0.5, "c", b"d"]
    assert bound("rest", 1, "x", "y") == [1, "x", "y"]
    assert bound("rest", a=1) == [1]


@pytest.mark.parametrize(
    ("name", "arguments", "named", "problem"),
    [
        ("plain", [], {}, "a is missing"),
        ("plain", [], {"b": 1.0}, "a is missing"),
        ("plain", [1], {"a": 2}, "duplicate arguments: a"),
        ("plain", [1], {"z": 2, "y": 1}, "has no argument: y, z"),
        ("plain", [1], {"d": b"d"}, "c must be passed too"),
        ("plain", [1, 2.0, "c", b"d", 5], {}, "takes at most 4 arguments, got 5"),
        ("plain", [True], {}, "a must be int, got bool"),
        ("plain", [1, "x"], {}, "b must be float, got str"),
        ("plain", [1, 1.0, None], {}, r"c must be str \| None, got NoneType"),
        ("rest", [1, 2], {}, r"\*more must be str, got int"),
    ],
)
def test_mistakes_are_raised_before_anything_is_sent(
    name: str, arguments: list[Any], named: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InvalidArgument, match=problem):
        bound(name, *arguments, **named)


def test_procedures_are_methods() -> None:
    called: list[Any] = []

    def call(name: str, arguments: Any) -> Deferred[Any]:
        called.append((name, arguments))
        return succeed(None)

    proxy = Proxy(DESCRIPTION, call)
    proxy.plain(1, b=2)
    assert called == [("plain", [1, 2])]
    assert proxy.plain.__doc__ == DESCRIPTION.procedures[0].doc
    assert "plain" in dir(proxy)
    assert repr(proxy) == "<Proxy of 'Try.It', procedures: 5>"
    with pytest.raises(AttributeError, match=r"Try\.It has no procedure 'nothing'"):
        proxy.nothing  # noqa: B018


def test_methods_show_the_signatures_of_their_procedures() -> None:
    proxy = Proxy(DESCRIPTION, lambda *_: succeed(None))
    plain = inspect.signature(proxy.plain)
    assert str(plain) == (
        "(a: 'int', b: 'float' = 0.5, c: 'str | None' = None, d: 'bytes' = b'x') -> 'int'"
    )
    assert str(inspect.signature(proxy.rest)) == "(a: 'int', *more: 'str') -> 'list[str]'"


@pytest.mark.parametrize("names", [("a", "a"), ("*a", "b"), ("a b",), ("lambda",)])
def test_a_signature_python_cannot_express_stays_callable(
    names: tuple[str, ...],
) -> None:
    arguments = tuple(ArgumentDescription(name, "int") for name in names)
    odd = ProcedureDescription("odd", "", arguments, "")
    called: list[str] = []

    def call(name: str, _: Any) -> Deferred[Any]:
        called.append(name)
        return succeed(None)

    proxy = Proxy(Description("A", "", "", (odd,)), call)
    proxy.odd(1, 2) if len(names) > 1 else proxy.odd(1)
    assert called == ["odd"]
    assert signature_of(odd) is None


def test_a_stub_has_the_types_and_passes_mypy(tmp_path: Path) -> None:
    text = stub(DESCRIPTION)
    assert "def plain(self, a: int, b: float = ..., c: str | None = ..., d: bytes = ...)" in text
    assert "-> Awaitable[list[str]]:" in text
    assert "# 'not a name' has no Python signature" in text
    path = tmp_path / "try_it.py"
    use = "async def main(x: TryIt) -> int:\n    return await x.plain(1, c='x')\n"
    path.write_text(f"{text}\n\n{use}")
    check = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", str(path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert check.returncode == 0, check.stdout + text
