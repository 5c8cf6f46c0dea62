"""A server's procedures as methods (``await sums.add(1, b=2)``), and as stubs for editors."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, Signature
from typing import Final

from twisted.internet.defer import Deferred

from opentera_twisted.errors import InvalidArgument
from opentera_twisted.rpc.argument_types import TYPES, ArgumentValue
from opentera_twisted.rpc.description import (
    ArgumentDescription,
    Description,
    ProcedureDescription,
)
from opentera_twisted.rpc.wire import Json

_ARGUMENT_TYPES: Final = frozenset({"None", *(kind.__name__ for kind in TYPES)})

# Names with another meaning in a stub.
_TAKEN: Final = _ARGUMENT_TYPES | {"Any", "Awaitable", "dict", "list", "self"}

_SIMPLE: Final = r"(?:None|bool|int|float|str|Any)"
_NESTED: Final = rf"(?:{_SIMPLE}|list\[{_SIMPLE}\]|dict\[str, {_SIMPLE}\])"
_PLAIN: Final = re.compile(rf"{_NESTED}(?: \| {_NESTED})*")

Call = Callable[[str, Sequence[ArgumentValue]], "Deferred[Json]"]


class Proxy:
    """A server's procedures as methods, with their declared names and types.

    A method checks its arguments before anything is sent. An invalid argument raises
    `InvalidArgument`, an unknown procedure ``AttributeError``.

    Args:
        description: the server's description.
        call: function that calls a procedure of the server.

    Example:
        >>> sums = await bus.proxy("service.Sum")
        >>> await sums.add(1, b=2)
        3
    """

    def __init__(self, description: Description, call: Call) -> None:
        self._description = description
        self._call = call

    def __getattr__(self, name: str) -> Callable[..., Deferred[Json]]:
        if name.startswith("__"):  # names used by Python, such as those of copy
            raise AttributeError(name)
        procedure = self._description.get(name)
        if procedure is None:
            raise AttributeError(f"{self._description.service} has no procedure {name!r}")

        def call(*arguments: ArgumentValue, **named: ArgumentValue) -> Deferred[Json]:
            return self._call(name, bind(procedure, arguments, named))

        call.__name__ = call.__qualname__ = name
        call.__doc__ = procedure.doc
        call.__signature__ = signature_of(procedure)  # type: ignore[attr-defined]
        return call

    def __dir__(self) -> list[str]:
        return sorted(procedure.name for procedure in self._description.procedures)

    def __repr__(self) -> str:
        count = len(self._description.procedures)
        return f"<{type(self).__name__} of {self._description.service!r}, procedures: {count}>"


def signature_of(procedure: ProcedureDescription) -> Signature | None:
    """Return a procedure's signature for ``help``, or None if Python cannot express it."""
    names = [procedure.name, *(argument.name.removeprefix("*") for argument in procedure.arguments)]
    if not all(map(_is_name, names)):
        return None
    if not all(argument.type_names <= _ARGUMENT_TYPES for argument in procedure.arguments):
        return None
    returns = procedure.returns or Signature.empty
    try:
        return Signature(list(map(_parameter, procedure.arguments)), return_annotation=returns)
    except ValueError:  # a duplicate name, or a required argument after one with a default
        return None


def _parameter(argument: ArgumentDescription) -> Parameter:
    if argument.is_rest:
        name = argument.name.removeprefix("*")
        return Parameter(name, Parameter.VAR_POSITIONAL, annotation=argument.type)
    default = Parameter.empty if argument.is_required else argument.default
    return Parameter(
        argument.name, Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=argument.type
    )


def bind(
    procedure: ProcedureDescription,
    arguments: Sequence[ArgumentValue],
    named: Mapping[str, ArgumentValue],
) -> list[ArgumentValue]:
    """Put arguments in the order in which they are sent.

    Raises:
        InvalidArgument: an argument is missing, superfluous, duplicate, unknown or of another type.
    """
    positional = [argument for argument in procedure.arguments if not argument.is_rest]
    rest = next((argument for argument in procedure.arguments if argument.is_rest), None)
    names = [argument.name for argument in positional]
    given = dict(zip(names, arguments, strict=False))
    further = arguments[len(names) :]
    for problem, found in (
        ("has no argument", named.keys() - set(names)),
        ("has duplicate arguments", given.keys() & named.keys()),
    ):
        if found:
            raise InvalidArgument(f"{procedure.name} {problem}: {', '.join(sorted(found))}")
    if further and rest is None:
        raise InvalidArgument(
            f"{procedure.name} takes at most {len(names)} arguments, got {len(arguments)}"
        )
    given.update(named)
    last = max((position for position, name in enumerate(names) if name in given), default=-1)
    bound = [
        _checked(procedure, argument, _value(procedure, argument, given))
        for position, argument in enumerate(positional)
        if position <= last or argument.is_required
    ]
    return bound + [_checked(procedure, rest, value) for value in further if rest is not None]


def _value(
    procedure: ProcedureDescription,
    argument: ArgumentDescription,
    given: Mapping[str, ArgumentValue],
) -> ArgumentValue:
    """Return the value of an argument, or the default to send before further arguments."""
    if argument.name in given:
        return given[argument.name]
    if argument.is_required:
        raise InvalidArgument(f"{procedure.name}: {argument.name} is missing")
    if argument.default is None:
        raise InvalidArgument(
            f"{procedure.name}: {argument.name} must be passed too, because a later argument is "
            "passed and its default, None, cannot be sent"
        )
    default: ArgumentValue = argument.default
    return default


def _checked(
    procedure: ProcedureDescription, argument: ArgumentDescription, value: ArgumentValue
) -> ArgumentValue:
    if argument.accepts(value):
        return value
    raise InvalidArgument(
        f"{procedure.name}: {argument.name} must be {argument.type}, got {type(value).__name__}"
    )


def stub(description: Description) -> str:
    """Write a Python class with the procedures' signatures, to ``cast`` a proxy to.

    A procedure that Python cannot express becomes a comment.
    """
    name = "".join(
        character
        for character in description.service
        if character.isalnum() and character.isascii()
    )
    if not name.isidentifier() or keyword.iskeyword(name):
        name = "Service"
    lines = [
        f"{_literal(f'Procedures of {description.service} {description.version}'.strip())}",
        "",
        "from collections.abc import Awaitable",
        "from typing import Any, Protocol",
        "",
        "",
        f"class {name}(Protocol):",
        f"    {_literal(description.doc or description.service)}",
    ]
    for procedure in description.procedures:
        if signature_of(procedure) is None:
            lines += ["", f"    # {procedure.name!r} has no Python signature: use call_server"]
            continue
        arguments = "".join(f", {_signature(argument)}" for argument in procedure.arguments)
        lines += [
            "",
            f"    def {procedure.name}(self{arguments}) -> Awaitable[{_returned(procedure)}]:",
            f"        {_literal(procedure.doc or procedure.name)}",
            "        ...",
        ]
    return "\n".join(lines) + "\n"


def _literal(doc: str) -> str:
    """Write the first paragraph of a documentation as a Python string."""
    return repr(" ".join(doc.split("\n\n", maxsplit=1)[0].split()))


def _is_name(text: str) -> bool:
    return (
        text.isidentifier()
        and text.isascii()
        and not keyword.iskeyword(text)
        and text not in _TAKEN
    )


def _signature(argument: ArgumentDescription) -> str:
    default = "" if argument.is_required or argument.is_rest else " = ..."
    return f"{argument.name}: {argument.type}{default}"


def _returned(procedure: ProcedureDescription) -> str:
    """Return the type of a result if it is complete and needs no import, else Any."""
    return procedure.returns if _PLAIN.fullmatch(procedure.returns) else "Any"
