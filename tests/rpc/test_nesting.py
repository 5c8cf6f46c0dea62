"""Nesting depth of the result of a call."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentera_twisted.rpc import nesting
from opentera_twisted.rpc.nesting import MOST_NESTED, is_deep

TEXTS = st.text('[]{}"\\,: aé', max_size=6)
VALUES = st.recursive(
    st.none() | TEXTS,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(TEXTS, inside, max_size=3),
    max_leaves=40,
)


def levels(value: Any) -> int:
    """Compute the depth by recursion."""
    if not isinstance(value, (dict, list)):
        return 0
    inside = value.values() if isinstance(value, dict) else value
    return 1 + max(map(levels, inside), default=0)


@given(VALUES, st.booleans(), st.integers(1, 4), st.integers(0, 4))
def test_depth_is_that_of_the_value(value: Any, escape: bool, most: int, usual: int) -> None:
    text = json.dumps({"id": 1, "return_value": value}, ensure_ascii=escape).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nesting, "MOST_NESTED", most)
        patch.setattr(nesting, "_USUAL", min(usual, most))
        assert is_deep(value, text) == (levels(value) > most)


@pytest.mark.parametrize("around", ["%s", '{"a": %s}', '["\\\\", %s, "]"]', '["[", %s]'])
def test_depth_is_exact_at_the_limit(around: str) -> None:
    for more in (0, 1):
        inside = MOST_NESTED - around.count("%s", 1) + more
        text = around % ("[" * inside + "]" * inside)
        value = json.loads(text)
        assert is_deep(value, text.encode()) == bool(more)


@pytest.mark.parametrize("character", ["]", '"', '\\"', "[", "\\\\"])
def test_texts_between_levels_do_not_hide_them(character: str) -> None:
    value: Any = []
    for _ in range(MOST_NESTED):
        value = [character, "", value, character]
    assert is_deep(value, json.dumps(value).encode())
