"""Patterns of topics match as in Redis."""

from __future__ import annotations

from functools import cache

import redis
from hypothesis import example, given
from hypothesis import strategies as st

from opentera_twisted.topics import compile_pattern, is_pattern
from tests.helpers.support import shared_server

TEXTS = st.text("ab.-]^[*?\\", min_size=1, max_size=8)


def matches_in_redis(pattern: str, topic: str) -> bool:
    """Return True if Redis matches a key of the topic's name."""
    asked = _client().pipeline(transaction=False)
    asked.flushall()
    asked.set(topic, "")
    asked.keys(pattern)
    found: bool = asked.execute()[-1] == [topic.encode()]
    return found


@cache
def _client() -> redis.Redis:
    return shared_server().client()


def matches(pattern: str, topic: str) -> bool:
    return compile_pattern(pattern.encode()).fullmatch(topic.encode()) is not None


@example("[b-a]", "a")
@example("[^b-a]", "a")
@example("[a", "a")
@example("a\\", "a\\")
@given(TEXTS, TEXTS)
def test_the_same_topics_as_redis(pattern: str, topic: str) -> None:
    assert matches(pattern, topic) == matches_in_redis(pattern, topic)


STARS = st.lists(st.sampled_from(["*", "**", "?", "a", "b", "ab", "[ab]"]), max_size=8)


@example("*ab*", "aab")
@given(STARS.map("".join).filter(bool), st.text("ab", min_size=1, max_size=8))
def test_several_stars_match_as_in_redis(pattern: str, topic: str) -> None:
    assert matches(pattern, topic) == matches_in_redis(pattern, topic)


def test_many_stars_end_matching_soon() -> None:
    assert not matches("*a" * 400 + "*c", "a" * 1000 + "b")
    assert matches("*a" * 400 + "*", "a" * 1000 + "b")


def test_topics_and_patterns_are_distinguished() -> None:
    assert not is_pattern("module.TeraServer.UserManagerModule.events")
    assert all(map(is_pattern, ("a*", "a?", "[ab]", "a\\*")))
