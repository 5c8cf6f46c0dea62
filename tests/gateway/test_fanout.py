"""The followers of a topic, against a model."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from opentera_twisted.gateway.contracts import Audience
from opentera_twisted.gateway.fanout import Followers, Who
from opentera_twisted.topics import KINDS
from tests.gateway.test_outbox import Client

WHO: list[Who] = [(kind, uuid) for kind in KINDS for uuid in ("a", "b")]

changes = st.lists(st.tuples(st.integers(0, 8), st.booleans()), max_size=40)
audiences = st.builds(
    Audience, st.frozensets(st.sampled_from(KINDS)), st.frozensets(st.sampled_from(WHO))
)


@given(changes, audiences)
def test_followers_are_selected_by_kind_and_by_name(
    steps: list[tuple[int, bool]], audience: Audience
) -> None:
    clients = [Client() for _ in range(9)]
    who = [WHO[number % len(WHO)] for number in range(9)]
    followers = Followers()
    following: dict[int, bool] = {}
    for number, wholly in steps:
        if number in following:
            followers.discard(clients[number], who[number], wholly=following.pop(number))
        else:
            followers.add(clients[number], who[number], wholly=wholly)
            following[number] = wholly
        assert bool(followers) == bool(following)
        filtered = {one for one, wholly in following.items() if not wholly}
        assert followers.are_filtered == bool(filtered)
        assert set(followers.whole) == {clients[name] for name in following.keys() - filtered}
        selected = followers.select(audience)
        assert len(set(selected)) == len(selected)
        assert set(selected) == {
            clients[name] for name in filtered if audience.includes(*who[name])
        }
        if not audience.members:
            assert followers.select(audience) is selected, "frames for one audience can be joined"


def test_removing_an_unknown_follower_is_ignored() -> None:
    followers = Followers()
    for wholly in (True, False):
        followers.discard(Client(), WHO[0], wholly=wholly)
    assert not followers
