"""Topics and their followers, with one subscription for all clients of a topic."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from functools import partial
from itertools import chain, product
from typing import Final

from attrs import define, field, frozen
from twisted.internet.defer import Deferred

from opentera_twisted import topics
from opentera_twisted.gateway.contracts import Audience
from opentera_twisted.gateway.outbox import Client
from opentera_twisted.pubsub import Delivery, PubSub, Subscription
from opentera_twisted.topics import Kind

FEW: Final = 16
"""Maximum followers kept as a tuple; it takes less memory than a dict, but a change copies it."""

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


class _Many(dict[Client, None]):
    """More than `FEW` clients, in the order of joining."""

    _tuple: tuple[Client, ...] | None = None

    def changed(self) -> None:
        """Drop the tuple; the next event that needs it makes another."""
        self._tuple = None

    def as_tuple(self) -> tuple[Client, ...]:
        """Return the clients; the tuple stays the same object until they change."""
        if self._tuple is None:
            self._tuple = tuple(self)
        return self._tuple


_Group = tuple[Client, ...] | _Many


@define(eq=False)
class Followers:
    """The clients that follow one topic.

    Attributes:
        paused: clients that receive nothing now, but keep the subscription.
        filtered: clients to which the access policy applies, by identity; None before the first.
    """

    _whole: _Group = ()
    paused: _Group = ()
    filtered: dict[Who, _Group] | None = None
    _selected: dict[frozenset[Kind], tuple[Client, ...]] | None = None

    def __bool__(self) -> bool:
        return bool(self._whole or self.filtered or self.paused)

    @property
    def whole(self) -> tuple[Client, ...]:
        """Clients that receive everything.

        The tuple stays the same object until the clients change, so that their frames are joined.
        """
        clients = self._whole
        return clients if isinstance(clients, tuple) else clients.as_tuple()

    def add(self, client: Client, who: Who, *, wholly: bool) -> None:
        """Add a client that does not follow the topic yet."""
        if wholly:
            self._whole = _with(self._whole, client)
            return
        if self.filtered is None:
            self.filtered = {}
        self.filtered[who] = _with(self.filtered.get(who, ()), client)
        self._selected = None

    def discard(self, client: Client, who: Who, *, wholly: bool) -> None:
        """Remove a client if it is present."""
        self.paused = _without(self.paused, client)
        if wholly:
            self._whole = _without(self._whole, client)
        elif self.filtered is not None and who in self.filtered:
            self.filtered[who] = _without(self.filtered[who], client)
            if not self.filtered[who]:
                del self.filtered[who]
            self._selected = None

    def pause(self, client: Client, who: Who, *, wholly: bool) -> None:
        """Stop the deliveries to a client that follows the topic."""
        self.discard(client, who, wholly=wholly)
        self.paused = _with(self.paused, client)

    def resume(self, client: Client, who: Who, *, wholly: bool) -> None:
        """End a client's pause, if there is one."""
        if client in self.paused:
            self.paused = _without(self.paused, client)
            self.add(client, who, wholly=wholly)

    @property
    def all(self) -> Iterator[Client]:
        """All followers, paused or not."""
        return chain(self._whole, self.paused, *(self.filtered or {}).values())

    def select(self, audience: Audience) -> Iterator[tuple[Client, ...]]:
        """Yield the filtered clients in an audience, each once, in tuples as those of `whole`."""
        yield self._of_kinds(audience.kinds)
        if self.filtered is None:
            return
        for who in audience.members:
            if who[0] not in audience.kinds and who in self.filtered:
                same = self.filtered[who]
                yield same if isinstance(same, tuple) else same.as_tuple()

    def _of_kinds(self, kinds: frozenset[Kind]) -> tuple[Client, ...]:
        if not kinds:
            return ()
        if self._selected is None:
            self._selected = {}
        chosen = self._selected.get(kinds)
        if chosen is None:
            chosen = self._selected[kinds] = tuple(
                client
                for (kind, _), same in (self.filtered or {}).items()
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
        sought = who_is(*who)
        return [client for client in clients if who_is(*self._followings[client][0]) == sought]

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
            followers.pause(client, who, wholly=following.wholly)

    def resume(self, client: Client, name: str) -> None:
        """End a pause, if there is one."""
        for who, following, followers in self._followed(client, name):
            followers.resume(client, who, wholly=following.wholly)

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


def who_is(kind: Kind, uuid: str) -> Who:
    """Return the key of an identity: one for all spellings of its UUID."""
    return kind, uuid.lower()


def _with(clients: _Group, client: Client) -> _Group:
    """Return a group with one more client; the cost does not depend on its size."""
    if isinstance(clients, tuple):
        if len(clients) < FEW:
            return (*clients, client)
        clients = _Many(dict.fromkeys(clients))
    clients[client] = None
    clients.changed()
    return clients


def _without(clients: _Group, client: Client) -> _Group:
    """Return a group without a client; the cost does not depend on its size."""
    if isinstance(clients, tuple):
        try:
            index = clients.index(client)
        except ValueError:  # it did not follow
            return clients
        return clients[:index] + clients[index + 1 :]
    if client not in clients:
        return clients
    del clients[client]
    clients.changed()
    return clients if len(clients) > FEW else tuple(clients)
