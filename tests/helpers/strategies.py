"""Strategies of hypothesis shared by tests."""

from __future__ import annotations

from hypothesis import strategies as st


def any_text(min_size: int = 0, max_size: int | None = None) -> st.SearchStrategy[str]:
    """Return text of all characters that UTF-8 encodes.

    ``st.text()`` draws the same, but tries each character in UTF-8 first: seven seconds in each
    process of a fresh checkout.
    """
    characters = st.characters(exclude_categories=["Cs"])
    return st.text(characters, min_size=min_size, max_size=max_size)
