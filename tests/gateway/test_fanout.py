"""The followers of a topic, against a model."""

from __future__ import annotations

from itertools import chain
from operator import is_
from typing import Any
from unittest.mock import Mock, patch

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed

from opentera_twisted.gateway import fanout as module
from opentera_twisted.gateway.contracts import Audience
from opentera_twisted.gateway.fanout import Fanout, Followers, Following, Who
from opentera_twisted.link.link import EVERYTHING
from opentera_twisted.topics import KINDS
from tests.gateway.test_outbox import Client

WHO: list[Who] = [(kind, uuid) for kind in KINDS for uuid in ("a", "b")]

changes = st.lists(st.tuples(st.integers(0, 8), st.booleans(), st.booleans()), max_size=40)
audiences = st.builds(
    Audience, st.frozensets(st.sampled_from(KINDS)), st.frozensets(st.sampled_from(WHO))
)


@patch.object(module, "FEW", 1)
@given(changes, audiences)
def test_followers_are_selected_by_kind_and_by_name(
    steps: list[tuple[int, bool, bool]], audience: Audience
) -> None:
    clients = [Client() for _ in range(9)]
    who = [WHO[number % 3] for number in range(9)]
    followers = Followers()
    following: dict[int, bool] = {}  # in the order of joining, and of returning from a pause
    paused: dict[int, bool] = {}
    for number, wholly, pauses in steps:
        change = (clients[number], who[number])
        if number in paused and pauses:
            following[number] = paused.pop(number)
            followers.resume(*change, wholly=following[number])
        elif number in paused:
            followers.discard(*change, wholly=paused.pop(number))
        elif number in following and pauses:
            paused[number] = following.pop(number)
            followers.pause(*change, wholly=paused[number])
        elif number in following:
            followers.resume(*change, wholly=following[number])  # no pause to end
            followers.discard(*change, wholly=following.pop(number))
        else:
            followers.add(*change, wholly=wholly)
            following[number] = wholly
        filtered = [name for name, wholly in following.items() if not wholly]
        assert bool(followers) == bool(following or paused)
        assert bool(followers.filtered) == bool(filtered)
        assert list(followers.paused) == [clients[name] for name in paused]
        everyone = {clients[name] for name in following.keys() | paused.keys()}
        assert set(followers.all) == everyone
        assert followers.whole == tuple(clients[name] for name in following if following[name])
        assert followers.whole is followers.whole
        shares = list(followers.select(audience))
        selected = list(chain.from_iterable(shares))
        assert len(set(selected)) == len(selected)
        seeing = [name for name in filtered if audience.includes(*who[name])]
        assert set(selected) == {clients[name] for name in seeing}
        for share in shares[1:]:
            assert share == tuple(clients[name] for name in seeing if clients[name] in share)
        again = followers.select(audience)
        assert all(map(is_, again, shares)), "frames for one audience can be joined"


def test_removing_an_unknown_follower_is_ignored() -> None:
    followers = Followers()
    for wholly in (True, False):
        followers.discard(Client(), WHO[0], wholly=wholly)
    assert not followers


class Subscribed:
    """A pub/sub that acknowledges every topic at once."""

    def attach(self, topic: str, deliver: Any) -> Any:
        return Mock(topic=topic)

    def acknowledged(self, *subscriptions: object) -> Deferred[None]:
        return succeed(None)


def event(followers: Followers, delivery: Any) -> None:
    pass


def command(followers: Followers, delivery: Any) -> None:
    pass


class Counted(dict[Any, Any]):
    """A table that counts the walks through all its items."""

    walks = 0

    def items(self) -> Any:
        self.walks += 1
        return super().items()

    def __iter__(self) -> Any:
        self.walks += 1
        return super().__iter__()


class CountedMany(Counted, module._Many):
    """Many followers of a topic, which count the walks through all of them."""


def test_joins_and_leaves_walk_through_the_others_once_an_event() -> None:
    with patch.object(module, "_Many", CountedMany):
        followers = Followers()
        clients = [Client() for _ in range(10_000)]
        for client in clients:
            followers.add(client, WHO[0], wholly=True)
        many: Any = followers._whole
        assert many.walks == 0
        assert followers.whole == tuple(clients)
        for client in clients[:5_000]:
            followers.discard(client, WHO[0], wholly=True)
        assert many.walks == 1
        assert followers.whole == tuple(clients[5_000:])
        for client in clients[5_000:8_000]:
            followers.pause(client, WHO[0], wholly=True)
        for client in clients[5_000:8_000]:
            followers.resume(client, WHO[0], wholly=True)
        assert many.walks == 2
        assert followers.whole is followers.whole == (*clients[8_000:], *clients[5_000:8_000])
        assert many.walks == 3


def followed(count: int) -> tuple[Fanout, list[Client]]:
    """Return clients that follow a topic of their own and a shared one."""
    pubsub: Any = Subscribed()
    fanout = Fanout(pubsub)
    clients = [Client() for _ in range(count)]
    for number, client in enumerate(clients):
        own = (Following(f"own.{number}", event), Following(f"own.{number}", command))
        fanout.follow(client, ("user", str(number)), (*own, Following("all", event, wholly=False)))
    return fanout, clients


def test_clients_of_some_topics_are_found_without_the_others() -> None:
    fanout, clients = followed(5)
    fanout.pause(clients[2], "own.2")
    fanout._followings = counted = Counted(fanout._followings)
    concerned = fanout.concerned(frozenset([b"own.1", b"own.2", b"unknown"]))
    assert concerned in ([clients[1], clients[2]], [clients[2], clients[1]])
    assert fanout.concerned(frozenset([b"own.3", b"all"])).count(clients[3]) == 1
    assert not counted.walks
    fanout.unfollow(clients[1])
    assert not fanout.concerned(frozenset([b"own.1"]))


def test_all_topics_concern_every_client_once() -> None:
    fanout, clients = followed(3)
    assert fanout.concerned(EVERYTHING) == clients
