"""Python values to the arguments of a request, and back.

Source: docs/reference/wire.md.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from opentera_twisted._internal.timeouts import shown
from opentera_twisted.errors import InvalidArgument
from opentera_twisted.messages import Value

ArgumentValue = bool | int | float | str | bytes
"""What an argument of a call can be."""

TYPES: Final[tuple[type, ...]] = (bool, int, float, str, bytes)

_INT64 = range(-(2**63), 2**63)
_UINT64 = range(2**64)


def accepts(kinds: Collection[type], value: object) -> bool:
    """Whether a value is of one of these types; an int also serves as a float."""
    kind = type(value)
    return kind in kinds or (kind is int and float in kinds)


def set_value(target: Value, value: Any) -> None:
    """Put one Python value into an argument.

    Raises:
        InvalidArgument: it is of no type that an argument can have, or out of range.
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
            raise InvalidArgument(f"{shown(value)} does not fit 64 bits: -2**63 to 2**64 - 1")
    elif kind is bool:
        target.bool_value = value
    elif kind is float:
        target.double_value = value
    elif kind is bytes:
        target.bytes_value = value
    else:
        set_value(target, _plain(value))


def get_value(source: Value) -> ArgumentValue | None:
    """The Python value of one argument, or None when it holds none."""
    member = source.WhichOneof("arg_value")
    return None if member is None else getattr(source, member)


def _plain(value: Any) -> ArgumentValue:
    """The same value in one of the five types: of a subclass, or of a numpy scalar."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    # The base type's own conversion: a subclass may present itself as something else.
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
        f"an argument of a call is bool, int, float, str or bytes, not {type(value).__name__}"
    )
