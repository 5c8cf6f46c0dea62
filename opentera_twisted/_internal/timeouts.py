"""Numbers of seconds that a caller gives: checked before anything is sent or timed."""

from __future__ import annotations

from typing import Any, Final

from opentera_twisted.errors import InvalidArgument

LONGEST: Final = 2.0**31
"""Seconds that no timeout may reach: 68 years."""

_SHOWN: Final = 50
"""Characters of a wrong value in an error."""


def check_timeout(value: Any, what: str = "a timeout") -> None:
    """Accept a finite number of seconds above 0.

    Raises:
        InvalidArgument: it is something else, or `LONGEST` or more.
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 < value < LONGEST:
        raise InvalidArgument(
            f"{what} is a number of seconds above 0 and below {LONGEST:.0f}, not {shown(value)}"
        )


def shown(value: Any) -> str:
    """Write a value for an error; an integer may have more digits than Python writes."""
    try:
        text = repr(value)
    except ValueError:
        return f"such a large {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
