"""Checks of timeouts and other numbers that a caller passes."""

from __future__ import annotations

from typing import Any, Final

from opentera_twisted.errors import InvalidArgument

LONGEST: Final = 2.0**31
"""Upper limit of timeouts in seconds: 68 years."""

_SHOWN: Final = 50
"""Maximum length of a wrong value in an error, in characters."""


def check_timeout(value: Any, what: str = "a timeout") -> None:
    """Accept a finite number of seconds above 0.

    Raises:
        InvalidArgument: it is something else, or at least `LONGEST`.
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 < value < LONGEST:
        raise InvalidArgument(
            f"{what} must be a number of seconds above 0 and below {LONGEST:.0f}, "
            f"not {shown(value)}"
        )


def check_positive(name: str, value: object) -> None:
    """Accept an integer above 0.

    Raises:
        InvalidArgument: it is something else.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidArgument(f"{name} must be an integer above 0, not {shown(value)}")


def shown(value: Any) -> str:
    """Write a value for an error; Python refuses to write very long integers."""
    try:
        text = repr(value)
    except ValueError:
        return f"such a large {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
