"""Limit on the nesting of JSON: deeper values could exhaust the stack of a reader."""

from __future__ import annotations

from typing import Any, Final

MOST_NESTED: Final = 100
"""Maximum nesting of a call's result."""

_USUAL: Final = 8
"""Maximum nesting of nearly all replies."""

_STRUCTURE: Final = b'[]{}"'
_OTHERS: Final = bytes(set(range(256)).difference(_STRUCTURE))
_SQUARE: Final = bytes.maketrans(b"{}", b"[]")


def is_deep(value: Any, text: bytes) -> bool:
    """Return True if a value is nested deeper than `MOST_NESTED`.

    Args:
        value: JSON value.
        text: JSON text that contains the value.
    """
    return not _is_shallow(text) and _has_more(value, MOST_NESTED)


def _is_shallow(text: bytes) -> bool:
    """Check only the text, which is much faster than parsing it.

    Keep only brackets and unescaped quotes, and drop the innermost level in each round. Between a
    bracket inside a string and one outside is an odd number of quotes. One quote always remains, so
    that no bracket in a string closes a level.
    """
    if b"\\" in text:
        text = text.replace(rb"\\", b"").replace(rb"\"", b"")
    text = text.translate(_SQUARE, _OTHERS)
    if text.count(b"[") <= MOST_NESTED:
        return True
    for _ in range(_USUAL):
        text = text.replace(b'""', b"").replace(b"[]", b"")
    return not text


def _has_more(value: Any, levels: int) -> bool:
    """Measure the nesting level by level, without recursion."""
    inside = [value] if isinstance(value, (dict, list)) else []
    for _ in range(levels):
        inside = [
            item
            for container in inside
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, (dict, list))
        ]
        if not inside:
            return False
    return True
