"""Limit the levels of lists and objects in JSON: more could exhaust the stack of a reader."""

from __future__ import annotations

from typing import Any, Final

MOST_NESTED: Final = 100
"""Levels that the result of a call may have."""

_USUAL: Final = 8
"""Levels of nearly all replies."""

_STRUCTURE: Final = b'[]{}"'
_OTHERS: Final = bytes(set(range(256)).difference(_STRUCTURE))
_SQUARE: Final = bytes.maketrans(b"{}", b"[]")


def is_deep(value: Any, text: bytes) -> bool:
    """Return whether a value has more than `MOST_NESTED` levels.

    Args:
        value: of JSON.
        text: the JSON that the value was read from, with all around it.
    """
    return not _is_shallow(text) and _has_more(value, MOST_NESTED)


def _is_shallow(text: bytes) -> bool:
    """Check the text alone, in much less time than reading it takes.

    Quotes and brackets remain, without the quotes that are escaped. Each round drops the innermost
    level. Between a bracket of a string and one outside of it is an odd number of quotes, which
    always leaves one: so no bracket of a string closes a level.
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
    """Measure a value level by level, without recursion."""
    inside = [value] if isinstance(value, (dict, list)) else []
    for _ in range(levels):
        inside = [
            one
            for container in inside
            for one in (container.values() if isinstance(container, dict) else container)
            if isinstance(one, (dict, list))
        ]
        if not inside:
            return False
    return True
