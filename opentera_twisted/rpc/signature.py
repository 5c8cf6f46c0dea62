"""Arguments of a function, as callers can pass them, from its signature.

A function that callers cannot call raises an error that says where it is and why.
"""

from __future__ import annotations

import functools
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any

from attrs import evolve, frozen

from opentera_twisted._internal.signatures import signature
from opentera_twisted.errors import InvalidArgument
from opentera_twisted.messages import Value
from opentera_twisted.rpc.argument_types import TYPES, ArgumentValue, accepts, set_value
from opentera_twisted.rpc.description import NO_DEFAULT


@frozen
class Parameter:
    """An argument of a procedure.

    Attributes:
        name: name in the signature.
        types: accepted types, of the five types of arguments.
        default: default, or ``NO_DEFAULT`` if callers must pass it.
    """

    name: str
    types: tuple[type, ...]
    default: Any = NO_DEFAULT

    @property
    def required(self) -> bool:
        """True if callers must pass it."""
        return self.default is NO_DEFAULT

    def accepts(self, value: ArgumentValue | None) -> bool:
        """Return True if a value has an accepted type; an int is also accepted as a float."""
        return accepts(self.types, value)

    def __str__(self) -> str:
        return " | ".join(kind.__name__ for kind in self.types)


def parameters(
    name: str, function: Callable[..., Any]
) -> tuple[tuple[Parameter, ...], Parameter | None]:
    """Read the positional arguments of a function, and the type of further ones."""
    place = f"{name} ({where(function)})"
    try:
        declared = signature(function).parameters.values()
    except ValueError:
        raise InvalidArgument(f"{place}: it has no readable signature") from None
    hints = _hints(function, declared, place)
    positional: list[Parameter] = []
    rest = None
    for parameter in declared:
        required = parameter.default is parameter.empty
        if parameter.kind is parameter.VAR_KEYWORD:
            continue  # callers cannot pass keyword arguments: it stays empty
        if parameter.kind is parameter.KEYWORD_ONLY:
            if required:
                raise InvalidArgument(
                    f"{place}: {parameter.name} can only be passed by keyword, but callers pass "
                    "arguments by position; give it a default"
                )
            continue
        kinds = _types(hints.get(parameter.name, parameter.empty), parameter, place)
        accepting = Parameter(parameter.name, kinds)
        if parameter.kind is parameter.VAR_POSITIONAL:
            rest = accepting
        elif required:
            positional.append(accepting)
        else:
            _check_default(accepting, parameter.default, place)
            positional.append(evolve(accepting, default=parameter.default))
    return tuple(positional), rest


def _hints(
    function: Callable[..., Any], parameters: Iterable[inspect.Parameter], place: str
) -> dict[str, Any]:
    """Read the type hints of the arguments; an unresolvable hint of the result does no harm."""
    annotations = {
        parameter.name: parameter.annotation
        for parameter in parameters
        if parameter.annotation is not parameter.empty
    }
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function):  # an object with __call__
        function = type(function).__call__
    names = getattr(inspect.unwrap(function), "__globals__", {})
    try:
        return typing.get_type_hints(types.SimpleNamespace(__annotations__=annotations), names)
    except (NameError, TypeError, SyntaxError) as error:
        raise InvalidArgument(f"{place}: cannot read its type hints: {error}") from None


def _types(hint: Any, parameter: inspect.Parameter, place: str) -> tuple[type, ...]:
    """List the types that a hint allows."""
    if hint is parameter.empty or hint is Any:
        return TYPES
    options = typing.get_args(hint) if _is_union(hint) else (hint,)
    kinds = tuple(option for option in options if option is not type(None))
    unknown = [option for option in kinds if option not in TYPES]
    if unknown or not kinds:
        raise InvalidArgument(
            f"{place}: {parameter.name} has the type hint {hint}; expected bool, int, float, "
            "str, bytes, or a union of these"
        )
    if type(None) in options and parameter.default is not None:
        raise InvalidArgument(
            f"{place}: {parameter.name} may be None, which callers cannot send; "
            "make None its default"
        )
    return kinds


def _check_default(parameter: Parameter, default: Any, place: str) -> None:
    """Check that a default is None, or a value that callers could send."""
    if default is None:
        return
    if not parameter.accepts(default):
        raise InvalidArgument(
            f"{place}: the default of {parameter.name} is a {type(default).__name__}, not "
            f"{parameter}"
        )
    try:
        set_value(Value(), default)
    except InvalidArgument as error:
        raise InvalidArgument(f"{place}: the default of {parameter.name}: {error}") from None
    if isinstance(default, float) and not math.isfinite(default):
        raise InvalidArgument(f"{place}: the default of {parameter.name} is not finite")


def returns(function: Callable[..., Any]) -> str:
    """Return the type hint of a result as text."""
    hint = signature(function, as_text=True).return_annotation
    if hint is inspect.Signature.empty:
        return ""
    return hint if isinstance(hint, str) else inspect.formatannotation(hint)


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in {typing.Union, types.UnionType}


def where(function: Callable[..., Any]) -> str:
    """Return the file and line of a function, for error messages."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)
