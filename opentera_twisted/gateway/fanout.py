"""One subscription a topic, for all the clients that follow it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from attrs import Factory, define
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.python.failure import Failure

from opentera_twisted.pubsub import Delivery, PubSub, Subscription

Deliver = Callable[[Delivery, "Iterable[Client]"], None]
"""Hands one delivery to the clients that follow its topic."""


class Client(Protocol):
    """One open websocket, as what is delivered to it sees it."""

    def send_frame(self, frame: bytes) -> None:
        """Send a finished frame, if the websocket is open."""

    def close(self, code: int, reason: str) -> None:
        """Begin to close the websocket."""


@define(eq=False)
class _Topic:
    """A topic that clients follow."""

    subscription: Subscription
    clients: set[Client] = Factory(set)


class Fanout:
    """Which client follows which topic.

    Args:
        pubsub: carries the subscriptions.
    """

    def __init__(self, pubsub: PubSub) -> None:
        self._pubsub = pubsub
        self._topics: dict[str, _Topic] = {}

    def follow(self, client: Client, topics: dict[str, Deliver]) -> Deferred[None]:
        """Have a client receive what is published on topics, from now on.

        Args:
            client: is handed to the functions.
            topics: each with the function that delivers it; the same one for all clients.

        Returns:
            Fires when Redis has acknowledged every topic.

        Fails with:
            CommandFailed: Redis refuses one; call `unfollow`.
        """
        waiting = []
        for name, deliver in topics.items():
            topic = self._topics.get(name)
            if topic is None:
                topic = self._topics[name] = self._subscribe(name, deliver)
            topic.clients.add(client)
            waiting.append(self._pubsub.acknowledged(topic.subscription))
        followed = gatherResults(waiting, consumeErrors=True)
        return followed.addCallbacks(lambda _: None, _first)

    def unfollow(self, client: Client, topics: Iterable[str]) -> None:
        """Have a client receive nothing of these topics any more."""
        for name in topics:
            topic = self._topics.get(name)
            if topic is None:
                continue
            topic.clients.discard(client)
            if not topic.clients:
                del self._topics[name]
                topic.subscription.cancel()

    def _subscribe(self, name: str, deliver: Deliver) -> _Topic:
        topic = _Topic(self._pubsub.keep(name, lambda delivery: deliver(delivery, topic.clients)))
        return topic


def _first(failure: Failure) -> Failure:
    """The failure of the topic that failed, without the wrapping of `gatherResults`."""
    error = failure.value
    return error.subFailure if isinstance(error, FirstError) else failure
