"""How callers share the places of a server's calls."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from opentera_twisted.rpc.limits import Places


def taken(places: Places, *callers: str) -> str:
    """Which of these got a place, each asked for one more call."""
    got = ""
    for caller in callers:
        if places.has_one_for(caller):
            places.take(caller)
            got += caller
    return got


def test_who_is_alone_may_have_all_places() -> None:
    places = Places(4)
    assert taken(places, *"aaaaa") == "aaaa"
    assert places.taken == 4


def test_half_full_nobody_gets_more_than_a_share() -> None:
    assert taken(Places(4), *"aabab") == "aabb"


def test_who_comes_when_all_is_taken_gets_none_until_one_leaves() -> None:
    places = Places(2)
    assert taken(places, *"aab") == "aa"
    places.leave("a")
    assert taken(places, *"ab") == "a"
    places.leave("a")
    assert taken(places, *"ba") == "b"


def test_what_cannot_be_stopped_keeps_a_place_that_is_no_callers() -> None:
    places = Places(2)
    places.take("a")
    places.keep()
    places.leave("a")
    assert taken(places, *"bb") == "b"
    places.give_up()
    assert taken(places, *"b") == "b"


@given(st.integers(1, 9), st.lists(st.sampled_from(["a", "b", "c", "-a", "-b", "-c"])))
def test_there_are_never_more_than_there_may_be_and_all_come_back(
    limit: int, steps: list[str]
) -> None:
    places = Places(limit)
    running: Counter[str] = Counter()
    for step in steps:
        caller = step[-1]
        if step == caller and places.has_one_for(caller):
            places.take(caller)
            running[caller] += 1
            shares = len(+running)
            assert 2 * running.total() <= limit or running[caller] * shares <= limit
        elif step != caller and running[caller]:
            places.leave(caller)
            running[caller] -= 1
        assert places.taken == running.total() <= limit
    for caller in running.elements():
        places.leave(caller)
    assert places.taken == 0
    assert taken(places, *"a" * limit) == "a" * limit
