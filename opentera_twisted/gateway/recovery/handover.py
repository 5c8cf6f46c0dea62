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

All names are random, and the Redis users of services have no right to them.
"""

from __future__ import annotations

import json
import secrets
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from attrs import Factory, define, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.logger import Logger
from twisted.python.failure import Failure

from opentera_twisted.errors import BusError
from opentera_twisted.gateway.frames import Frame
from opentera_twisted.gateway.recovery.tokens import PREFIX, Taken
from opentera_twisted.link import Link
from opentera_twisted.pubsub import Delivery, PubSub, Subscription

MARKERS: Final = f"{PREFIX}marker."
REPLIES: Final = f"{PREFIX}reply."
FRAMES: Final = f"{PREFIX}frames."
"""Prefixes of each gateway's topics and of keys of handed-over frames; a random part follows."""

TIMEOUT: Final = 3.0
"""Seconds allowed for the old gateway; after that, the client is admitted without the frames."""

STORED: Final = 10.0
"""Seconds until handed-over frames expire in Redis."""

_LENGTH: Final = struct.Struct("!I")


@frozen
class Marker:
    """A request from the new gateway to the old one.

    Attributes:
        number: Random number of the request.
        digest: Digest of the token that the client presented.
        received: Number of event frames that the client has counted.
        reply: Topic for the reply.
    """

    number: str
    digest: str
    received: int
    reply: str

    def encode(self) -> bytes:
        """Encode the marker as JSON."""
        return json.dumps([self.number, self.digest, self.received, self.reply]).encode()

    @classmethod
    def decode(cls, payload: bytes) -> Marker | None:
        """Decode a marker; return None for anything else."""
        try:
            number, digest, received, reply = json.loads(payload)
        except (ValueError, TypeError, RecursionError):
            return None
        texts = (number, digest, reply)
        if type(received) is int and all(
            isinstance(text, str) and text.isascii() for text in texts
        ):
            return cls(number, digest, received, reply)
        return None


def pack_frames(frames: Sequence[Frame]) -> bytes:
    """Encode the texts of frames, each after its length."""
    pieces = []
    for frame in frames:
        payload = frame.payload
        pieces += [_LENGTH.pack(len(payload)), payload]
    return b"".join(pieces)


def unpack_frames(data: bytes) -> list[Frame]:
    """Decode packed frames.

    Raises:
        ValueError: The last frame is incomplete.
    """
    frames, at = [], 0
    while at < len(data):
        if at + _LENGTH.size > len(data):
            raise ValueError("handed-over frames end within a length")
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if at + length > len(data):
            raise ValueError("handed-over frames end within a text")
        frames.append(Frame(data[at : at + length]))
        at += length
    return frames


class NotRecovered(Exception):
    """The missed frames are not available.

    Attributes:
        reason: One of `REASONS`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


REASONS: Final = ("overflow", "gap", "beyond", "unknown", "gone", "timeout", "failed")
"""Reasons why a client's frames were not recovered.

overflow  the old gateway dropped frames for their bytes or age
gap       the link of one of the gateways was lost
beyond    the client counted more frames than it was sent
unknown   the old gateway no longer has the client's session
gone      the old gateway has ended
timeout   the old gateway did not reply in time
failed    Redis refused a command
"""


@define(eq=False)
class _Pending:
    """A hand-over to this gateway that is under way."""

    on_marker: Callable[[], None]
    is_marked: bool = False
    answered: Deferred[str] = Factory(Deferred)


@define(eq=False)
class _Watched:
    """Another gateway's marker topic, and the pending hand-overs from that gateway."""

    subscription: Subscription
    numbers: set[str] = Factory(set)


Give = Callable[[str, int], Sequence[Frame]]
"""End the session of a digest, and return the frames that its client missed.

Raises `NotRecovered`."""


class Handovers:
    """Both sides of one gateway's hand-overs.

    Args:
        link: The link for frames.
        pubsub: The pub/sub for markers and replies.
        give: Called at the marker to end a session of this gateway and return its frames.

    Attributes:
        marker: Topic of this gateway's markers.
    """

    _log = Logger()

    def __init__(self, link: Link, pubsub: PubSub, give: Give) -> None:
        self.marker = MARKERS + secrets.token_urlsafe(32)
        self._reply = REPLIES + secrets.token_urlsafe(32)
        self._link = link
        self._pubsub = pubsub
        self._give = give
        self._pending: dict[str, _Pending] = {}
        self._watched: dict[str, _Watched] = {}
        self._own: list[Subscription] = []

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
        """Unsubscribe from this gateway's own topics."""
        own, self._own = self._own, []
        for subscription in own:
            subscription.cancel()

    # --- the new gateway

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
            return await self._ask(taken.marker, marker, pending)
        finally:
            del self._pending[number]
            self._leave(taken.marker, number)

    async def _ask(self, topic: str, marker: Marker, pending: _Pending) -> list[Frame]:
        clock = self._link.clock
        try:
            await self._pubsub.publish(topic, marker.encode()).addTimeout(TIMEOUT, clock)
            key = await pending.answered.addTimeout(TIMEOUT, clock)
            if not pending.is_marked:  # the link was lost before the marker
                raise NotRecovered("gap")
            stored = self._link.execute("GET", key)
            self._link.execute("DEL", key).addErrback(lambda failure: failure.trap(BusError))
            data = await stored.addTimeout(TIMEOUT, clock)
            if data is None:
                raise NotRecovered("timeout")
            return unpack_frames(data)
        except DeferredTimeout:
            raise NotRecovered("timeout") from None
        except (BusError, ValueError):
            raise NotRecovered("failed") from None

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
        if isinstance(key, str) and key.startswith(FRAMES):
            pending.answered.callback(key)
        else:
            pending.answered.errback(NotRecovered(reason if reason in REASONS else "failed"))

    # --- the old gateway

    def _marked(self, delivery: Delivery) -> None:
        marker = Marker.decode(delivery.payload)
        if marker is None:
            return
        try:
            frames = self._give(marker.digest, marker.received)
        except NotRecovered as error:
            self._answer(marker, None, error.reason)
            return
        key = FRAMES + secrets.token_urlsafe(32)
        storing = self._link.execute(
            "SET", key, pack_frames(frames), "PX", round(STORED * 1000), "NX"
        )
        storing.addCallback(lambda _: self._answer(marker, key, None))
        storing.addErrback(self._not_stored, marker)

    def _answer(self, marker: Marker, key: str | None, reason: str | None) -> None:
        if not marker.reply.startswith(REPLIES):
            return
        answer = json.dumps([marker.number, key, reason])
        # Without a reply, the other gateway admits the client after a timeout.
        self._pubsub.publish(marker.reply, answer).addErrback(
            lambda failure: failure.trap(BusError)
        )

    def _not_stored(self, failure: Failure, marker: Marker) -> None:
        failure.trap(BusError)
        self._log.warn(
            "handing over a client's missed events failed: {reason}",
            reason=failure.getErrorMessage(),
        )
        self._answer(marker, None, "failed")


def _refused(failure: Failure) -> bool:
    failure.trap(BusError, CancelledError)
    return False
