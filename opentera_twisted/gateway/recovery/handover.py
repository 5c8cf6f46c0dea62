"""Hand-over of a client's missed frames from its old gateway to its new one.

Redis delivers messages to all subscribers in the same order. So one message, the marker, divides
the client's events between two gateways without a gap or an overlap::

    new gateway                          Redis                       old gateway
    subscribes the client's topics and
    the marker topic of the old one
    publishes the marker there     --->  … e7 e8 MARKER e9 …  --->   keeps e7 and e8
    drops e7 and e8, keeps e9     <---                               unsubscribes at the marker
                                         frames of e7 and e8  <---   stores them, answers
    sends e7, e8, e9              <---

On a cluster, each node orders only its own messages. So the new gateway publishes one marker for
each topic of the client, in the slot of that topic::

    subscribes the client's topics,
    drops all events; subscribes a
    marker topic for each of them
    asks, and names the topics     --->                    --->   subscribes the marker topics
                                  <---                    <---   is ready
    publishes a marker on each     --->  per topic: e7 M e8 --->   keeps e7, drops e8
    drops e7, keeps e8
                                         frames            <---   at the last marker: as above

If a gateway dies or a slot moves in between, the client loads its state again.

All names are random, and the Redis users of services have no right to them.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, Final

from attrs import Factory, define, frozen
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.logger import Logger
from twisted.python.failure import Failure

from opentera_twisted._internal.gathered import keep_until_fired
from opentera_twisted._internal.waiters import Waiters
from opentera_twisted.errors import BusError
from opentera_twisted.gateway.frames import Frame
from opentera_twisted.gateway.recovery.marker import (
    FRAMES,
    MARKERS,
    READY,
    REASONS,
    REPLIES,
    Marker,
    NotRecovered,
    pack_frames,
    unpack_frames,
)
from opentera_twisted.gateway.recovery.tokens import Taken
from opentera_twisted.link import Link
from opentera_twisted.link.slots import topic_beside
from opentera_twisted.pubsub import Delivery, PubSub, Subscription

TIMEOUT: Final = 3.0
"""Seconds allowed for each reply; after that, the client is admitted without the frames."""

TIMEOUTS: Final = 2
"""Timeouts allowed for a whole hand-over, which must end before the claim of its token."""

STORED: Final = 10.0
"""Seconds until handed-over frames expire in Redis."""


@define(eq=False)
class _Pending:
    """A hand-over to this gateway that is under way."""

    on_marker: Callable[[], None]
    is_marked: bool = False
    ready: Deferred[None] = Factory(Deferred)
    answered: Deferred[str | NotRecovered] = Factory(Deferred)


@define(eq=False)
class _Watched:
    """Another gateway's marker topic, and the pending hand-overs from that gateway."""

    subscription: Subscription
    numbers: set[str] = Factory(set)


def _at_marker(reached: Callable[[str], None], topic: str, _: Delivery) -> None:
    reached(topic)


class _Expected:
    """The topics whose marker has not arrived."""

    def __init__(self, topics: Iterable[str], on_marker: Callable[[str], None]) -> None:
        self._left = set(topics)
        self._on_marker = on_marker
        self.all_reached: Deferred[None] = Deferred()
        self._end()

    def reached(self, topic: str) -> None:
        """Note the marker of a topic; ignore another one."""
        if topic in self._left:
            self._left.discard(topic)
            self._on_marker(topic)
            self._end()

    def _end(self) -> None:
        if not self._left and not self.all_reached.called:
            self.all_reached.callback(None)


def _marker_of(number: str, topic: str) -> str:
    """Return the marker topic in the slot of a client's topic.

    Raises:
        NotRecovered: the topic has a brace that no hash tag can contain.
    """
    prefix = f"{MARKERS}{number}."
    name = topic_beside(topic.encode(), prefix.encode()).decode()
    if not name.startswith(prefix):
        raise NotRecovered("failed")
    return name


Give = Callable[[str, int], Sequence[Frame]]
"""End the session of a digest, and return the frames that its client missed.

Raises `NotRecovered`."""


@frozen
class KeptSessions:
    """Functions on this gateway's sessions, by digest, for a hand-over topic by topic.

    Attributes:
        topics: Return a session's topics of events; raises `NotRecovered`.
        pause: Stop collecting the events of a topic.
        abandon: Keep a session whose hand-over failed; its client must load its state again.
    """

    topics: Callable[[str], Sequence[str]]
    pause: Callable[[str, str], None]
    abandon: Callable[[str], None]


class Handovers:
    """Both sides of one gateway's hand-overs.

    Args:
        link: The link for frames.
        pubsub: The pub/sub for markers and replies.
        give: Called at the marker to end a session of this gateway and return its frames.
        kept: Functions on this gateway's sessions.

    Attributes:
        marker: Topic of this gateway's markers.
    """

    _log = Logger()

    def __init__(self, link: Link, pubsub: PubSub, give: Give, kept: KeptSessions) -> None:
        self.marker = MARKERS + secrets.token_urlsafe(32)
        self._reply = REPLIES + secrets.token_urlsafe(32)
        self._link = link
        self._pubsub = pubsub
        self._give = give
        self._kept = kept
        self._pending: dict[str, _Pending] = {}
        self._watched: dict[str, _Watched] = {}
        self._own: list[Subscription] = []
        self._giving: set[Deferred[Any]] = set()  # from this gateway, until Redis has the answer
        self._given: Waiters[None] = Waiters()

    def start(self) -> Deferred[None]:
        """Subscribe to this gateway's own topics.

        Returns:
            Fires when Redis has acknowledged the subscriptions.
        """
        if not self._own:
            self._own = [
                self._pubsub.attach(self.marker, self._marked),
                self._pubsub.attach(self._reply, self._answered),
            ]
        return self._pubsub.acknowledged(*self._own)

    def stop(self) -> None:
        """Unsubscribe from this gateway's own topics, and end the hand-overs under way."""
        own, self._own = self._own, []
        for subscription in own:
            subscription.cancel()
        while self._giving:  # a cancelled one may add an answer
            self._giving.pop().cancel()

    # --- the new gateway

    def is_ready_for(self, taken: Taken) -> bool:
        """Return True if the old gateway's topic, and the replies, have a link on a cluster."""
        return self._link.is_ready_for(taken.marker, self._reply)

    async def fetch(
        self, taken: Taken, received: int, following: Deferred[None], on_marker: Callable[[], None]
    ) -> list[Frame]:
        """Get a client's missed frames from another gateway.

        Args:
            taken: The client's token.
            received: Number of event frames that the client has counted.
            following: Fires when Redis has acknowledged the client's topics here.
            on_marker: Called at the marker; later events belong to this gateway.

        Returns:
            The missed frames of the events before the marker.

        Raises:
            NotRecovered: The frames are not available; the client's topics are still subscribed.
            BusError: Subscribing the topics failed.
        """
        number = secrets.token_urlsafe(16)
        pending = self._pending[number] = _Pending(on_marker)
        watching = self._watch(taken.marker, number)
        watching.addCallbacks(lambda _: True, _refused)
        try:
            await following
            if not await watching:
                raise NotRecovered("failed")
            marker = Marker(number, taken.digest, received, self._reply)
            return await self._limited(self._ask(taken.marker, marker, pending))
        finally:
            del self._pending[number]
            self._leave(taken.marker, number)

    def _limited(self, fetching: Coroutine[Any, Any, list[Frame]]) -> Deferred[list[Frame]]:
        """Give up before another return of the client can claim its token."""
        limit = TIMEOUTS * TIMEOUT
        return Deferred.fromCoroutine(fetching).addTimeout(limit, self._link.clock)

    async def _ask(self, topic: str, marker: Marker, pending: _Pending) -> list[Frame]:
        clock = self._link.clock
        try:
            await self._pubsub.publish(topic, marker.encode()).addTimeout(TIMEOUT, clock)
            key = _key_of(await pending.answered.addTimeout(TIMEOUT, clock))
            if not pending.is_marked:  # the link was lost before the marker
                raise NotRecovered("gap")
            return await self._read(key)
        except (CancelledError, DeferredTimeout):
            raise NotRecovered("timeout") from None
        except (BusError, ValueError):
            raise NotRecovered("failed") from None

    async def _read(self, key: str) -> list[Frame]:
        stored = self._link.execute("GET", key)
        self._link.execute("DEL", key).addErrback(lambda failure: failure.trap(BusError))
        data = await stored.addTimeout(TIMEOUT, self._link.clock)
        if data is None:
            raise NotRecovered("timeout")
        return unpack_frames(data)

    async def fetch_by_topic(
        self,
        taken: Taken,
        received: int,
        topics: Sequence[str],
        on_marker: Callable[[str], None],
    ) -> list[Frame]:
        """Get a client's missed frames from another gateway of a cluster.

        Args:
            taken: The client's token.
            received: Number of event frames that the client has counted.
            topics: The client's topics; Redis has acknowledged their subscriptions.
            on_marker: Called with a topic at its marker; later events belong to this gateway.

        Returns:
            The missed frames of the events before the markers.

        Raises:
            NotRecovered: The frames are not available.
        """
        number = secrets.token_urlsafe(16)
        expected = _Expected(topics, on_marker)
        markers = self._attach(number, topics, expected.reached)
        pending = self._pending[number] = _Pending(lambda: None)
        marker = Marker(number, taken.digest, received, self._reply, tuple(topics))
        asking = self._ask_by_topic(taken.marker, marker, pending, expected, markers)
        try:
            return await self._limited(asking)
        finally:
            del self._pending[number]
            for subscription in markers:
                subscription.cancel()

    async def _ask_by_topic(
        self,
        topic: str,
        marker: Marker,
        pending: _Pending,
        expected: _Expected,
        markers: Sequence[Subscription],
    ) -> list[Frame]:
        clock = self._link.clock
        try:
            await self._pubsub.acknowledged(*markers).addTimeout(TIMEOUT, clock)
            asked = self._pubsub.publish(topic, marker.encode())
            if not await asked.addTimeout(TIMEOUT, clock):
                raise NotRecovered("gone")
            await pending.ready.addTimeout(TIMEOUT, clock)
            for subscription in markers:
                published = self._pubsub.publish(subscription.topic, marker.number)
                published.addErrback(lambda failure: failure.trap(BusError))
            key = _key_of(await pending.answered.addTimeout(TIMEOUT, clock))
            await expected.all_reached.addTimeout(TIMEOUT, clock)
            return await self._read(key)
        except (CancelledError, DeferredTimeout):
            raise NotRecovered("timeout") from None
        except (BusError, ValueError):
            raise NotRecovered("failed") from None

    def _attach(
        self, number: str, topics: Iterable[str], reached: Callable[[str], None]
    ) -> list[Subscription]:
        """Register subscriptions to the markers of some topics."""
        names = {topic: _marker_of(number, topic) for topic in topics}
        return [
            self._pubsub.attach(name, partial(_at_marker, reached, topic))
            for topic, name in names.items()
        ]

    def _watch(self, topic: str, number: str) -> Deferred[Any]:
        watched = self._watched.get(topic)
        if watched is None:
            subscription = self._pubsub.attach(topic, self._seen)
            watched = self._watched[topic] = _Watched(subscription)
        watched.numbers.add(number)
        return self._pubsub.acknowledged(watched.subscription)

    def _leave(self, topic: str, number: str) -> None:
        watched = self._watched[topic]
        watched.numbers.discard(number)
        if not watched.numbers:
            del self._watched[topic]
            watched.subscription.cancel()

    def _seen(self, delivery: Delivery) -> None:
        marker = Marker.decode(delivery.payload)
        pending = None if marker is None else self._pending.get(marker.number)
        if pending is not None and not pending.is_marked:
            pending.is_marked = True
            pending.on_marker()

    def _answered(self, delivery: Delivery) -> None:
        try:
            number, key, reason = json.loads(delivery.payload)
            pending = self._pending.get(number)
        except (ValueError, TypeError, RecursionError):
            return
        if pending is None or pending.answered.called:  # too late
            return
        if not pending.ready.called:
            pending.ready.callback(None)
        if reason == READY:
            return
        if isinstance(key, str) and key.startswith(FRAMES):
            pending.answered.callback(key)
        else:
            # Not as a failure, which nobody would handle after a failed publication.
            pending.answered.callback(NotRecovered(reason if reason in REASONS else "failed"))

    # --- the old gateway

    def given(self, timeout: float) -> Deferred[None]:
        """Wait for the hand-overs from this gateway.

        Args:
            timeout: Maximum seconds to wait.

        Returns:
            Fires when none is under way, or after the timeout.
        """
        if not self._giving:
            return succeed(None)
        given = self._given.wait().addTimeout(min(timeout, TIMEOUT), self._link.clock)
        return given.addErrback(lambda failure: failure.trap(DeferredTimeout) and None)

    def _begin(self, giving: Deferred[Any]) -> None:
        """Keep a Deferred until it has fired."""

        def ended(result: Any) -> Any:
            if not self._giving:
                self._given.fire(None)
            return result

        keep_until_fired(giving, self._giving).addBoth(ended)

    def _marked(self, delivery: Delivery) -> None:
        marker = Marker.decode(delivery.payload)
        if marker is None:
            return
        if marker.topics is not None:
            giving = Deferred.fromCoroutine(self._give_by_topic(marker, marker.topics))
            self._begin(giving.addErrback(self._not_stored, marker))
            return
        self._give_all(marker)

    async def _give_by_topic(self, marker: Marker, topics: Sequence[str]) -> None:
        """Collect a client's events until the marker of each topic, and hand them over."""
        clock, digest = self._link.clock, marker.digest
        try:
            shared = [topic for topic in self._kept.topics(digest) if topic in topics]
            expected = _Expected(shared, lambda topic: self._kept.pause(digest, topic))
            markers = self._attach(marker.number, shared, expected.reached)
        except NotRecovered as error:
            self._answer(marker, None, error.reason)
            return
        try:
            await self._pubsub.acknowledged(*markers).addTimeout(TIMEOUT, clock)
            self._answer(marker, None, READY)
            await expected.all_reached.addTimeout(TIMEOUT, clock)
        except (BusError, CancelledError, DeferredTimeout):
            self._kept.abandon(digest)
            self._answer(marker, None, "timeout")
        else:
            self._give_all(marker)
        finally:
            for subscription in markers:
                subscription.cancel()

    def _give_all(self, marker: Marker) -> None:
        try:
            frames = self._give(marker.digest, marker.received)
        except NotRecovered as error:
            self._answer(marker, None, error.reason)
            return
        key = self._make_key(marker)
        storing = self._link.execute(
            "SET", key, pack_frames(frames), "PX", round(STORED * 1000), "NX"
        )
        storing.addCallback(lambda _: self._answer(marker, key, None))
        self._begin(storing.addErrback(self._not_stored, marker))

    def _make_key(self, marker: Marker) -> str:
        """Make a key for frames; on a cluster, at the node of the replies, which has a link."""
        key = FRAMES + secrets.token_urlsafe(32)
        if marker.topics is None:
            return key
        there = topic_beside(marker.reply.encode(), f"{key}.".encode()).decode()
        return there if there.startswith(FRAMES) else key

    def _answer(self, marker: Marker, key: str | None, reason: str | None) -> None:
        if not marker.reply.startswith(REPLIES):
            return
        answer = json.dumps([marker.number, key, reason])
        # Without a reply, the other gateway admits the client after a timeout.
        published = self._pubsub.publish(marker.reply, answer)
        self._begin(published.addErrback(lambda failure: failure.trap(BusError, CancelledError)))

    def _not_stored(self, failure: Failure, marker: Marker) -> None:
        failure.trap(BusError, CancelledError)
        self._log.warn(
            "handing over a client's missed events failed: {reason}",
            reason=failure.getErrorMessage() or "the gateway stopped",
        )
        self._answer(marker, None, "failed")


def _key_of(answer: str | NotRecovered) -> str:
    if isinstance(answer, NotRecovered):
        raise answer
    return answer


def _refused(failure: Failure) -> bool:
    failure.trap(BusError, CancelledError)
    return False
