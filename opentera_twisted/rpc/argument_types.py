"""Conversion of Python values to the arguments of a request, and back.

Source: docs/reference/wire.md.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from opentera_twisted._internal.timeouts import shown
from opentera_twisted.errors import InvalidArgument
from opentera_twisted.messages import Value

ArgumentValue = bool | int | float | str | bytes
"""Types of the arguments of a call."""

TYPES: Final[tuple[type, ...]] = (bool, int, float, str, bytes)

_INT64 = range(-(2**63), 2**63)
_UINT64 = range(2**64)


def accepts(kinds: Collection[type], value: object) -> bool:
    """Return True if a value has one of these types; an int is also accepted as a float."""
    kind = type(value)
    return kind in kinds or (kind is int and float in kinds)


def set_value(target: Value, value: Any) -> None:
    """Store a Python value in an argument.

    Raises:
        InvalidArgument: its type is not supported, or it is out of range.
    """
    kind = type(value)
    if kind is str:
        try:
            target.string_value = value
        except (UnicodeError, ValueError):
            raise InvalidArgument(f"{value!r} cannot be encoded in UTF-8") from None
    elif kind is int:
        if value in _INT64:
            target.int_value = value
        elif value in _UINT64:
            target.uint_value = value
        else:
            raise InvalidArgument(
                f"{shown(value)} does not fit in 64 bits; expected -2**63 to 2**64 - 1"
            )
    elif kind is bool:
        target.bool_value = value
    elif kind is float:
        target.double_value = value
    elif kind is bytes:
        target.bytes_value = value
    else:
        set_value(target, _plain(value))


def get_value(source: Value) -> ArgumentValue | None:
    """Read the Python value of an argument, or None if it has no value."""
    member = source.WhichOneof("arg_value")
    return None if member is None else getattr(source, member)


def _plain(value: Any) -> ArgumentValue:
    """Convert a value of a subclass, or a numpy scalar, to one of the five types."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    # Use the base type's conversion: a subclass may override its own.
    if isinstance(value, bool):
        return bool(value)
    if isinstance(value, int):
        return int.__index__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes):
        return bytes.__bytes__(value)
    raise InvalidArgument(
        f"an argument must be bool, int, float, str or bytes, not {type(value).__name__}"
    )
