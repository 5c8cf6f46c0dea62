"""Topics and their followers, with one subscription for all clients of a topic."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from functools import partial
from itertools import chain, product

from attrs import define, field, frozen
from twisted.internet.defer import Deferred

from opentera_twisted import topics
from opentera_twisted.gateway.contracts import Audience
from opentera_twisted.gateway.outbox import Client
from opentera_twisted.pubsub import Delivery, PubSub, Subscription
from opentera_twisted.topics import Kind

Who = tuple[Kind, str]
"""Kind and UUID of a client."""

Deliver = Callable[["Followers", Delivery], None]
"""Delivers a message to the followers of its topic."""


@frozen
class Following:
    """A client's request to follow a topic.

    Attributes:
        topic: name of the topic.
        deliver: function that delivers its messages.
        wholly: True delivers everything, False what the access policy allows.

    Raises:
        InvalidTopic: the topic is malformed; checked early, before any subscription.
    """

    topic: str = field(validator=lambda _, __, topic: topics.encode(topic))
    deliver: Deliver
    wholly: bool = True


@define(eq=False)
class Followers:
    """The clients that follow one topic.

    Attributes:
        whole: clients that receive everything.
        paused: clients that receive nothing now, but keep the subscription.
    """

    whole: tuple[Client, ...] = ()
    paused: tuple[Client, ...] = ()
    _filtered: dict[Who, tuple[Client, ...]] | None = None
    _selected: dict[frozenset[Kind], tuple[Client, ...]] | None = None

    def __bool__(self) -> bool:
        return bool(self.whole or self._filtered or self.paused)

    @property
    def are_filtered(self) -> bool:
        """Return True if the access policy applies to any of them."""
        return bool(self._filtered)

    def add(self, client: Client, who: Who, *, wholly: bool) -> None:
        """Add a client."""
        if wholly:
            self.whole = (*self.whole, client)
            return
        if self._filtered is None:
            self._filtered = {}
        self._filtered[who] = (*self._filtered.get(who, ()), client)
        self._selected = None

    def discard(self, client: Client, who: Who, *, wholly: bool) -> None:
        """Remove a client if it is present."""
        self.paused = _without(self.paused, client)
        if wholly:
            self.whole = _without(self.whole, client)
        elif self._filtered is not None and who in self._filtered:
            self._filtered[who] = _without(self._filtered[who], client)
            if not self._filtered[who]:
                del self._filtered[who]
            self._selected = None

    @property
    def all(self) -> Iterator[Client]:
        """All followers, paused or not."""
        return chain(self.whole, self.paused, *(self._filtered or {}).values())

    def select(self, audience: Audience) -> Iterator[tuple[Client, ...]]:
        """Yield the filtered clients in an audience, each once.

        The tuples stay the same objects until the clients change, so that their frames are joined.
        """
        yield self._of_kinds(audience.kinds)
        if self._filtered is None:
            return
        for who in audience.members:
            if who[0] not in audience.kinds and who in self._filtered:
                yield self._filtered[who]

    def _of_kinds(self, kinds: frozenset[Kind]) -> tuple[Client, ...]:
        if not kinds:
            return ()
        if self._selected is None:
            self._selected = {}
        chosen = self._selected.get(kinds)
        if chosen is None:
            chosen = self._selected[kinds] = tuple(
                client
                for (kind, _), same in (self._filtered or {}).items()
                if kind in kinds
                for client in same
            )
        return chosen


@frozen(eq=False)
class _Topic:
    """A topic that clients follow."""

    subscription: Subscription
    followers: Followers


class Fanout:
    """The topics that clients follow."""

    def __init__(self, pubsub: PubSub) -> None:
        self._pubsub = pubsub
        # By function too: clients may follow one topic in different ways.
        self._topics: dict[tuple[str, Deliver], _Topic] = {}
        self._delivers: set[Deliver] = set()  # few: the gateway's own functions
        self._followings: dict[Client, tuple[Who, tuple[Following, ...]]] = {}

    def follow(self, client: Client, who: Who, followings: tuple[Following, ...]) -> Deferred[None]:
        """Deliver messages on some topics to a client from now on.

        Args:
            client: receiving client.
            who: kind and UUID of the client, for the access policy.
            followings: topics, each once.

        Returns:
            Fires when Redis has acknowledged every topic.

        Fails with:
            CommandFailed: Redis refuses a topic; call `unfollow`.
        """
        self._followings[client] = (who, followings)
        subscriptions = []
        for following in followings:
            name = (following.topic, following.deliver)
            topic = self._topics.get(name)
            if topic is None:
                followers = Followers()
                deliver = partial(following.deliver, followers)
                subscription = self._pubsub.attach(following.topic, deliver)
                topic = self._topics[name] = _Topic(subscription, followers)
                self._delivers.add(following.deliver)
            topic.followers.add(client, who, wholly=following.wholly)
            subscriptions.append(topic.subscription)
        return self._pubsub.acknowledged(*subscriptions)

    def clients_of(self, who: Who, following: Following) -> list[Client]:
        """Return the clients of an identity, found by a topic that all of them follow wholly.

        The case of UUIDs does not matter.
        """
        topic = self._topics.get((following.topic, following.deliver))
        clients = () if topic is None else topic.followers.whole
        folded = _folded(who)
        return [client for client in clients if _folded(self._followings[client][0]) == folded]

    def topics_of(self, client: Client) -> tuple[str, ...]:
        """Return the topics that a client follows; none for an unknown client."""
        _, followings = self._followings.get(client, (None, ()))
        return tuple(following.topic for following in followings)

    def concerned(self, names: Container[bytes]) -> list[Client]:
        """Return the clients that follow any of some topics, each once."""
        if not isinstance(names, Iterable):  # all topics
            return [
                client
                for client, (_, followings) in self._followings.items()
                if any(following.topic.encode() in names for following in followings)
            ]
        keys = product([name.decode() for name in names], self._delivers)
        found = [topic for key in keys if (topic := self._topics.get(key)) is not None]
        return list(dict.fromkeys(client for topic in found for client in topic.followers.all))

    def pause(self, client: Client, name: str) -> None:
        """Stop the deliveries on a topic to a client, but keep the subscription."""
        for who, following, followers in self._followed(client, name):
            followers.discard(client, who, wholly=following.wholly)
            followers.paused = (*followers.paused, client)

    def resume(self, client: Client, name: str) -> None:
        """End a pause, if there is one."""
        for who, following, followers in self._followed(client, name):
            if client in followers.paused:
                followers.paused = _without(followers.paused, client)
                followers.add(client, who, wholly=following.wholly)

    def _followed(self, client: Client, name: str) -> Iterator[tuple[Who, Following, Followers]]:
        if client not in self._followings:
            return
        who, followings = self._followings[client]
        for following in followings:
            if following.topic == name:
                yield who, following, self._topics[name, following.deliver].followers

    def unfollow(self, client: Client) -> None:
        """Stop all deliveries to a client."""
        who, followings = self._followings.pop(client)
        for following in followings:
            name = (following.topic, following.deliver)
            topic = self._topics[name]
            topic.followers.discard(client, who, wholly=following.wholly)
            if not topic.followers:
                del self._topics[name]
                topic.subscription.cancel()


def _folded(who: Who) -> Who:
    kind, uuid = who
    return kind, uuid.lower()


def _without(clients: tuple[Client, ...], client: Client) -> tuple[Client, ...]:
    try:
        index = clients.index(client)
    except ValueError:  # it did not follow
        return clients
    return clients[:index] + clients[index + 1 :]
