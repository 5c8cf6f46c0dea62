"""Sharing of a server's slots among callers."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from opentera_twisted.rpc.limits import FairSlots


def taken(slots: FairSlots, *callers: str) -> str:
    """Request a slot for each caller; return those that got one."""
    got = ""
    for caller in callers:
        if slots.has_one_for(caller):
            slots.take(caller)
            got += caller
    return got


def test_a_single_caller_may_use_all_slots() -> None:
    slots = FairSlots(4)
    assert taken(slots, *"aaaaa") == "aaaa"
    assert slots.taken == 4


def test_above_half_load_each_caller_is_limited_to_its_share() -> None:
    assert taken(FairSlots(4), *"aabab") == "aabb"


def test_a_full_server_refuses_until_a_slot_is_free() -> None:
    slots = FairSlots(2)
    assert taken(slots, *"aab") == "aa"
    slots.leave("a")
    assert taken(slots, *"ab") == "a"
    slots.leave("a")
    assert taken(slots, *"ba") == "b"


def test_an_unstoppable_call_keeps_a_slot_without_a_caller() -> None:
    slots = FairSlots(2)
    slots.take("a")
    slots.keep()
    slots.leave("a")
    assert taken(slots, *"bb") == "b"
    slots.give_up()
    assert taken(slots, *"b") == "b"


@given(st.integers(1, 9), st.lists(st.sampled_from(["a", "b", "c", "-a", "-b", "-c"])))
def test_slots_never_exceed_the_limit_and_all_are_freed(limit: int, steps: list[str]) -> None:
    slots = FairSlots(limit)
    running: Counter[str] = Counter()
    for step in steps:
        caller = step[-1]
        if step == caller and slots.has_one_for(caller):
            slots.take(caller)
            running[caller] += 1
            shares = len(+running)
            assert 2 * running.total() <= limit or running[caller] * shares <= limit
        elif step != caller and running[caller]:
            slots.leave(caller)
            running[caller] -= 1
        assert slots.taken == running.total() <= limit
    for caller in running.elements():
        slots.leave(caller)
    assert slots.taken == 0
    assert taken(slots, *"a" * limit) == "a" * limit
