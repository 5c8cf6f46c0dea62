"""A server's description of itself: its procedures and their arguments, types and purposes.

    {"service", "version", "doc",
     "procedures": [{"name", "doc", "arguments": [{"name", "type", "default"?}], "returns"}]}

Types have their Python names (``int``, ``str | None``). The name ``*values`` means any number of
further arguments. A bytes default is an object: ``{"hex": "00ff"}``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from attrs import asdict, frozen

from opentera_twisted.errors import BadReply
from opentera_twisted.rpc.argument_types import TYPES, ArgumentValue, accepts

DESCRIBE: Final = "opentera.describe"
"""Procedure with which every server of this package returns its description."""


class NoDefault(Enum):
    """Type of ``NO_DEFAULT``, which stays one object in copies and in other processes."""

    NO_DEFAULT = "no default"


NO_DEFAULT: Final = NoDefault.NO_DEFAULT

_BY_NAME: Final[Mapping[str, type]] = {kind.__name__: kind for kind in TYPES}


@frozen
class ArgumentDescription:
    """An argument of a procedure.

    Attributes:
        name: name in the signature; ``*name`` for any number of further arguments.
        type: Python name of its type, such as ``int`` or ``str | None``.
        default: its default, or ``NO_DEFAULT``.
    """

    name: str
    type: str
    default: Any = NO_DEFAULT

    @property
    def is_rest(self) -> bool:
        """True if it means any number of further arguments."""
        return self.name.startswith("*")

    @property
    def is_required(self) -> bool:
        """True if callers must pass it."""
        return self.default is NO_DEFAULT and not self.is_rest

    @property
    def type_names(self) -> frozenset[str]:
        """Names of its types: one, or those of a union."""
        return frozenset(name.strip() for name in self.type.split("|"))

    def accepts(self, value: object) -> bool:
        """Return True if a value has its type; an int is also accepted as a float."""
        return accepts({_BY_NAME[name] for name in self.type_names & _BY_NAME.keys()}, value)


@frozen
class ProcedureDescription:
    """A procedure.

    Attributes:
        name: name of the procedure.
        doc: documentation of the procedure.
        arguments: its arguments, by position.
        returns: Python name of the type of its result; empty when it is not declared.
    """

    name: str
    doc: str
    arguments: tuple[ArgumentDescription, ...]
    returns: str


@frozen
class Description:
    """A service or module.

    Attributes:
        service: key of the service, or name of the module.
        version: version of the service.
        doc: documentation of the service.
        procedures: its procedures.

    Example:
        >>> description = await bus.describe("service.Sum")
        >>> description.version
        '1.0'
        >>> [argument.name for argument in description.get("add").arguments]
        ['a', 'b']
    """

    service: str
    version: str
    doc: str
    procedures: tuple[ProcedureDescription, ...]

    def get(self, name: str) -> ProcedureDescription | None:
        """Get a procedure by name, or None."""
        return next((found for found in self.procedures if found.name == name), None)


def to_json(description: Description) -> dict[str, Any]:
    """Convert a description to JSON."""
    return asdict(
        description,
        filter=lambda _, value: value is not NO_DEFAULT,
        value_serializer=lambda _, __, value: (
            {"hex": value.hex()} if isinstance(value, bytes) else value
        ),
    )


def from_json(value: Any, topic: str) -> Description:
    """Read a description.

    Raises:
        BadReply: it has an invalid form.
    """
    try:
        return Description(
            _text(value, "service"),
            _text(value, "version"),
            _text(value, "doc"),
            tuple(
                ProcedureDescription(
                    _text(procedure, "name"),
                    _text(procedure, "doc"),
                    tuple(map(_argument_from_json, procedure["arguments"])),
                    _text(procedure, "returns"),
                )
                for procedure in value["procedures"]
            ),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        raise BadReply(f"the description of {topic} has an invalid form", topic=topic) from None


def _argument_from_json(value: Mapping[str, Any]) -> ArgumentDescription:
    default: ArgumentValue | object | None = value.get("default", NO_DEFAULT)
    if isinstance(default, dict):
        default = bytes.fromhex(default["hex"])
    elif isinstance(default, list) or (isinstance(default, float) and not math.isfinite(default)):
        raise ValueError("not a default of an argument")
    return ArgumentDescription(_text(value, "name"), _text(value, "type"), default)


def _text(value: Mapping[str, Any], name: str) -> str:
    """Read a string; do not convert other values, which may be nested too deep."""
    text = value[name]
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a string")
    return text
