"""Owners of slots."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentera_twisted.link.slots import SLOTS, key_slot
from opentera_twisted.link.topology import Topology, parse_slots

SLOT = st.integers(0, SLOTS - 1)
PORT = st.integers(1, 65_535)


@st.composite
def layouts(draw: st.DrawFn) -> dict[int, tuple[int, int]]:
    """Draw disjoint ranges of slots: the last slot and the port by the first slot."""
    bounds = sorted(draw(st.sets(SLOT, max_size=12)))
    pairs = zip(bounds[::2], bounds[1::2], strict=False)
    return {first: (last, draw(PORT)) for first, last in pairs}


@given(layouts(), SLOT)
def test_each_slot_has_the_owner_of_its_range(
    layout: dict[int, tuple[int, int]], slot: int
) -> None:
    replica = [b"h", 1, b"id", []]
    reply: list[Any] = [
        [first, last, [b"h", port, b"id", []], replica] for first, (last, port) in layout.items()
    ]
    topology = parse_slots(reply, "asked")
    expected = {("h", port) for first, (last, port) in layout.items() if first <= slot <= last}
    assert {topology.owners[slot]} - {None} == expected
    assert set(topology.primaries) == {("h", port) for _, port in layout.values()}
    assert topology.is_complete is (sum(b - a + 1 for a, (b, _) in layout.items()) == SLOTS)


@given(SLOT, PORT)
def test_a_moved_slot_has_the_new_owner_alone(slot: int, port: int) -> None:
    topology = parse_slots([[0, SLOTS - 1, [b"old", 1, b"id"]]], "asked")
    topology.move(slot, ("new", port))
    assert topology.owners[slot] == ("new", port)
    assert topology.owners[(slot + 1) % SLOTS] == ("old", 1)
    assert topology != parse_slots([[0, SLOTS - 1, [b"old", 1, b"id"]]], "asked")


@given(st.lists(st.tuples(SLOT, PORT), max_size=4))
def test_each_primary_has_one_marker_even_with_one_slot(moves: list[tuple[int, int]]) -> None:
    topology = parse_slots([[0, SLOTS - 1, [b"old", 1, b"id"]]], "asked")
    markers: set[bytes] = set()
    for slot, port in moves:
        topology.move(slot, ("new", port))
        before, markers = markers, topology.markers(markers)
        owners = [topology.owners[key_slot(topic)] for topic in markers]
        assert sorted(map(str, owners)) == sorted(map(str, topology.primaries))
        kept = {topology.owners[key_slot(topic)] for topic in before}
        assert len(before & markers) == len(kept)


@pytest.mark.parametrize("host", [None, b"", b"?"])
def test_a_node_without_a_known_host_has_that_of_the_asked_one(host: bytes | None) -> None:
    topology = parse_slots([[0, 1, [host, 7000, b"id"]]], "asked")
    assert topology.owners[0] == ("asked", 7000)


def test_a_cluster_without_slots_has_no_owners() -> None:
    topology = parse_slots([], "asked")
    assert topology == Topology()
    assert (topology.primaries, topology.owners[7], topology.is_complete) == ([], None, False)


@given(
    st.recursive(
        st.none() | st.integers() | st.binary(max_size=4), lambda each: st.lists(each, max_size=4)
    )
)
def test_any_other_reply_is_refused(reply: Any) -> None:
    try:
        parse_slots(reply, "asked")
    except ValueError:
        pass
    else:
        assert reply == []
