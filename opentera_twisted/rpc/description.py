"""What a server says of itself: its procedures, their arguments and what they are for.

    {"service", "version", "doc",
     "procedures": [{"name", "doc", "arguments": [{"name", "type", "default"?}], "returns"}]}

Types are named as in Python (``int``, ``str | None``); ``*values`` is the name of any number of
further arguments. A default of bytes is an object: ``{"hex": "00ff"}``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from attrs import frozen

from opentera_twisted.errors import BadReply
from opentera_twisted.rpc.values import TYPES, ArgumentValue, accepts

DESCRIBE: Final = "opentera.describe"
"""The procedure by which every server of ours says it."""


class NoDefault(Enum):
    """The type of ``NO_DEFAULT``, which stays the same object in copies and other processes."""

    NO_DEFAULT = "no default"


NO_DEFAULT: Final = NoDefault.NO_DEFAULT

_BY_NAME: Final[Mapping[str, type]] = {kind.__name__: kind for kind in TYPES}


@frozen
class ArgumentDescription:
    """One argument of a procedure.

    Attributes:
        name: as in the signature; ``*name`` for any number of further ones.
        type: named as in Python, such as ``int`` or ``str | None``.
        default: its default, or ``NO_DEFAULT``.
    """

    name: str
    type: str
    default: Any = NO_DEFAULT

    @property
    def is_rest(self) -> bool:
        """Whether it stands for any number of further arguments."""
        return self.name.startswith("*")

    @property
    def is_required(self) -> bool:
        """Whether it has to be given."""
        return self.default is NO_DEFAULT and not self.is_rest

    @property
    def type_names(self) -> frozenset[str]:
        """The names of the types in its type: one, or those of a union."""
        return frozenset(name.strip() for name in self.type.split("|"))

    def accepts(self, value: object) -> bool:
        """Whether a value is of its type; an int also serves as a float."""
        return accepts({_BY_NAME[name] for name in self.type_names & _BY_NAME.keys()}, value)


@frozen
class ProcedureDescription:
    """One procedure.

    Attributes:
        name: by which it is called.
        doc: what it is for.
        arguments: by position.
        returns: the type of its result, named as in Python; empty when it is not declared.
    """

    name: str
    doc: str
    arguments: tuple[ArgumentDescription, ...]
    returns: str


@frozen
class Description:
    """A service or module.

    Attributes:
        service: its key or name.
        version: of it.
        doc: what it is for.
        procedures: what can be called.
    """

    service: str
    version: str
    doc: str
    procedures: tuple[ProcedureDescription, ...]

    def get(self, name: str) -> ProcedureDescription | None:
        """The procedure of that name, or None."""
        return next((one for one in self.procedures if one.name == name), None)


def to_json(description: Description) -> dict[str, Any]:
    """A description as it is sent."""
    return {
        "service": description.service,
        "version": description.version,
        "doc": description.doc,
        "procedures": [
            {
                "name": procedure.name,
                "doc": procedure.doc,
                "arguments": [_argument_to_json(one) for one in procedure.arguments],
                "returns": procedure.returns,
            }
            for procedure in description.procedures
        ],
    }


def from_json(value: Any, topic: str) -> Description:
    """A description as it came.

    Raises:
        BadReply: it is none.
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
        raise BadReply(f"{topic} describes itself in another form", topic=topic) from None


def _argument_to_json(argument: ArgumentDescription) -> dict[str, Any]:
    sent: dict[str, Any] = {"name": argument.name, "type": argument.type}
    if argument.default is not NO_DEFAULT:
        default = argument.default
        sent["default"] = {"hex": default.hex()} if isinstance(default, bytes) else default
    return sent


def _argument_from_json(value: Mapping[str, Any]) -> ArgumentDescription:
    default: ArgumentValue | object | None = value.get("default", NO_DEFAULT)
    if isinstance(default, dict):
        default = bytes.fromhex(default["hex"])
    elif isinstance(default, list) or (isinstance(default, float) and not math.isfinite(default)):
        raise ValueError("no default of an argument")
    return ArgumentDescription(_text(value, "name"), _text(value, "type"), default)


def _text(value: Mapping[str, Any], name: str) -> str:
    """Read a text; nothing else is made one, as it may be nested too deep for that."""
    text = value[name]
    if not isinstance(text, str):
        raise TypeError(f"{name} is no text")
    return text
