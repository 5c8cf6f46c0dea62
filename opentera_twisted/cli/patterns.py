"""Patterns of topics, as Redis understands them."""

from __future__ import annotations

import re
from re import Pattern

from opentera_twisted.link import Name


def is_pattern(text: str) -> bool:
    """Whether it stands for more than the topic that is written so."""
    return any(one in text for one in "*?[\\")


def compile_name(name: Name) -> Pattern[bytes]:
    """What a subscription receives, as a regular expression of the whole topic.

    Source: Redis's ``stringmatchlen``.
    """
    if not name.is_pattern:
        return re.compile(re.escape(name.text), re.DOTALL)
    text, at, parts = name.text, 0, []
    while at < len(text):
        one = text[at : at + 1]
        at += 1
        if one == b"*":
            parts.append(b".*")
        elif one == b"?":
            parts.append(b".")
        elif one == b"[":
            part, at = _set(text, at)
            parts.append(part)
        else:
            if one == b"\\" and at < len(text):
                one = text[at : at + 1]
                at += 1
            parts.append(re.escape(one))
    return re.compile(b"".join(parts), re.DOTALL)


def _set(text: bytes, at: int) -> tuple[bytes, int]:
    """The set that begins behind ``[``, and where it ends; one that is not closed ends the text."""
    negated = text[at : at + 1] == b"^"
    at += negated
    allowed: set[int] = set()
    while at < len(text) and text[at] != ord("]"):
        if text[at] == ord("\\") and at + 1 < len(text):
            at += 1
            allowed.add(text[at])
            at += 1
        elif text[at + 1 : at + 2] == b"-" and at + 2 < len(text):
            low, high = sorted((text[at], text[at + 2]))
            allowed.update(range(low, high + 1))
            at += 3
        else:
            allowed.add(text[at])
            at += 1
    at += 1
    if negated:
        allowed = set(range(256)) - allowed
    if not allowed:
        return b"(?!)", at
    return b"[" + b"".join(b"\\x%02x" % one for one in sorted(allowed)) + b"]", at
