"""Methods of an object that other programs may call.

Only functions in the bodies of the user's classes are found. The object's attributes are not read,
since they may contain any callable; no descriptor runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

from opentera_twisted._internal.signatures import signature
from opentera_twisted.errors import InvalidArgument
from opentera_twisted.rpc.signature import where


def own_methods(target: object) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Find the public methods of an object, by name.

    The user's classes are the object's class and its bases in the same top-level package. A name
    that any other base defines is skipped, such as ``stopService`` of a Twisted service, even if a
    user's class overrides it.

    Raises:
        InvalidArgument: the target is a class, or a method is a lambda or a function of another
            package.
    """
    if isinstance(target, type):
        raise InvalidArgument(f"{target!r} is a class; expected an object of it")
    kind = type(target)
    found: dict[str, Any] = {}
    of_others: set[str] = set()
    for base in kind.__mro__:
        if _package(base) == _package(kind):
            found = {**vars(base), **found}
        else:
            of_others.update(vars(base))
    for name, member in sorted(found.items()):
        is_wrapped = isinstance(member, (staticmethod, classmethod))
        function = member.__func__ if is_wrapped else member
        if name.startswith("_") or name in of_others or not isinstance(function, FunctionType):
            continue
        if function.__name__ == "<lambda>":
            raise InvalidArgument(
                f"{kind.__name__}.{name} is a lambda ({where(function)}); "
                "define it with def, and type hints"
            )
        module = inspect.unwrap(function).__module__
        if module is not None and module.partition(".")[0] != _package(kind):  # None: of no file
            raise InvalidArgument(
                f"{kind.__name__}.{name} is a function of {function.__module__} "
                f"({where(function)}); define a method that calls it, or begin its name with _"
            )
        yield name, member.__get__(target, kind)


def own_doc(target: object) -> str:
    """Read the documentation of an object's class, or of the nearest user's base that has one."""
    kind = type(target)
    own = [base for base in kind.__mro__ if _package(base) == _package(kind)]
    docs = (vars(base).get("__doc__") for base in own)
    return next((inspect.cleandoc(doc) for doc in docs if isinstance(doc, str)), "")


def without_hint(method: Callable[..., Any]) -> list[str]:
    """List the arguments of a method that have no type hint."""
    return [
        parameter.name
        for parameter in signature(method).parameters.values()
        if parameter.annotation is parameter.empty
        and parameter.kind not in {parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD}
    ]


def _package(defined: type) -> str:
    return defined.__module__.partition(".")[0]
