"""Published messages for the console, subscribed only while a viewer polls for them.

Redis counts a watch as a receiver. While a server's topic is watched, a call without a server fails
at its timeout, not at once. The default patterns therefore exclude calls.
"""

from __future__ import annotations

import itertools
import re
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any, Final

from attrs import Factory, define
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from opentera_twisted import topics
from opentera_twisted._internal.printable import encodable
from opentera_twisted.admin.guard import Refused
from opentera_twisted.admin.own_traffic import OwnTraffic
from opentera_twisted.admin.rights import lacking, watching
from opentera_twisted.admin.summary import summarize
from opentera_twisted.bus import Bus
from opentera_twisted.errors import InvalidArgument, PermissionDenied
from opentera_twisted.holders import PROBE
from opentera_twisted.pubsub import Delivery, Subscription
from opentera_twisted.topics import RECOVERY

DEFAULT_PATTERNS: Final = "*.events *.events.* *.messages"
"""Default patterns: everything except calls and replies."""

WATCH_LEASE: Final = 6.0
"""Seconds after the last poll at which a watch ends."""

MOST_WATCHES: Final = 4
MOST_PATTERNS: Final = 4
"""Concurrent watches, and patterns in one watch, at most."""

KEPT_MESSAGES: Final = 200
KEPT_BYTES: Final = 16_384
"""Messages kept by a watch, and bytes of one; of a longer message, only the size is kept."""

KEPT_TOPICS: Final = 500
"""Topics counted by a watch; beyond that, the one that has been quiet longest is dropped."""

LONGEST_TOPIC: Final = 300
"""Characters kept of a topic."""

LONGEST_PATTERNS: Final = 200
"""Characters of all patterns of a watch, and of a filter, at most."""

MOST_FILTERS: Final = 4
"""Filters of one watch, at most; a further one replaces the least recently used."""

SHOWN_MESSAGES: Final = 50
SHOWN_BYTES: Final = 65_536
"""Messages in one reply, and bytes decoded for it, at most; the newest messages come first."""

_HEARS_NO_CALLS: Final = re.compile(r"\.events(\.|$)|\.messages$")


@define(eq=False)
class _Message:
    number: int
    time: float
    topic: str
    size: int
    payload: bytes | None
    shown: dict[str, Any] | None = None

    def show(self) -> dict[str, Any]:
        """Decode the message for the page, once for all viewers."""
        if self.shown is None:
            self.shown = {
                "number": self.number,
                "time": self.time,
                "topic": encodable(self.topic),
                "bytes": self.size,
            }
            if self.payload is None:
                self.shown.update(form="bytes", summary="too long to show", body=None, preview="")
            else:
                summary = summarize(self.topic, self.payload)
                self.shown.update(
                    form=summary.form,
                    summary=summary.line,
                    body=summary.body,
                    preview=summary.preview,
                )
                self.payload = b""
        return self.shown


@define(eq=False)
class _Topic:
    count: int = 0
    bytes: int = 0
    last: float = 0.0


@define(eq=False)
class _Selection:
    """The latest messages of a watch that match a filter: part of topic or payload, lower case."""

    serial: int
    filter: bytes
    count: int = 0
    messages: deque[tuple[int, _Message]] = Factory(lambda: deque(maxlen=KEPT_MESSAGES))

    def offer(self, message: _Message, payload: bytes) -> None:
        """Keep a message if it matches."""
        if (
            not self.filter
            or self.filter in message.topic.encode(errors="replace").lower()
            or self.filter in payload.lower()
        ):
            self.count += 1
            self.messages.append((self.count, message))


@define(eq=False)
class _Watch:
    """The subscriptions and messages of one set of patterns."""

    patterns: str
    serials: Iterator[int]
    own: OwnTraffic
    joined: Deferred[list[Subscription] | None] | None = None
    failure: Failure | None = None
    expiry: IDelayedCall | None = None
    count: int = 0
    gaps: int = 0
    selections: dict[str, _Selection] = Factory(dict)
    recent: deque[tuple[_Message, bytes]] = Factory(lambda: deque(maxlen=KEPT_MESSAGES))
    topics: OrderedDict[str, _Topic] = Factory(OrderedDict)  # the quietest first
    last: Delivery | None = None

    @property
    def hears_calls(self) -> bool:
        """Return True if the patterns match topics of calls."""
        return not all(map(_HEARS_NO_CALLS.search, self.patterns.split()))

    def received(self, delivery: Delivery) -> None:
        """Keep a message undecoded; ignore the gateways' probes and recovery."""
        if delivery.pattern is not None:
            self.own["received"] += 1  # Redis sends it once more for the pattern
        if delivery.payload == PROBE or delivery.topic.startswith(RECOVERY):
            return
        last = self.last
        if (
            last is not None
            and last.pattern != delivery.pattern
            and last.topic == delivery.topic
            and last.payload == delivery.payload
        ):
            return  # the same message, by another matching pattern
        self.last = delivery
        now = time.time()
        self.count += 1
        size = len(delivery.payload)
        payload = delivery.payload if size <= KEPT_BYTES else None
        name = delivery.topic
        if len(name) > LONGEST_TOPIC:
            name = f"{name[: LONGEST_TOPIC - 1]}…"
        message = _Message(self.count, now, name, size, payload)
        searched = delivery.payload[:KEPT_BYTES]
        self.recent.append((message, searched))
        for selection in self.selections.values():
            selection.offer(message, searched)
        topic = self.topics.pop(name, None) or _Topic()
        topic.count += 1
        topic.bytes += size
        topic.last = now
        self.topics[name] = topic
        if len(self.topics) > KEPT_TOPICS:
            self.topics.popitem(last=False)

    def selection(self, text: str) -> _Selection:
        """Return the messages that match a filter; a new filter begins with the recent ones."""
        selection = self.selections.pop(text, None)
        if selection is None:
            selection = _Selection(next(self.serials), text.encode(errors="replace").lower())
            for message, searched in self.recent:
                selection.offer(message, searched)
            if len(self.selections) >= MOST_FILTERS:
                del self.selections[next(iter(self.selections))]
        self.selections[text] = selection  # the latest request is last
        return selection

    def missed(self) -> None:
        """Count a gap."""
        self.gaps += 1


class Traffic:
    """The watches of the console's viewers."""

    def __init__(self, bus: Bus, own: OwnTraffic) -> None:
        self._bus = bus
        self._own = own
        self._clock = bus.link.clock
        self._watches: dict[str, _Watch] = {}
        self._serials = itertools.count(1)

    @property
    def watched(self) -> list[str]:
        """Return the patterns of each current watch."""
        return list(self._watches)

    async def page(
        self, patterns: str, serial: int = 0, after: int = 0, text: str = ""
    ) -> dict[str, Any]:
        """Return new messages of a watch; start it if needed, and renew it for `WATCH_LEASE`.

        Args:
            patterns: Redis patterns separated by blanks, such as ``websocket.user.*``.
            serial: serial of the selection that the viewer saw last; another one starts from 0.
            after: number of the last message that the viewer has.
            text: filter: part of a topic or a payload, in any case of A to Z; empty matches all.

        Raises:
            InvalidArgument: the patterns or the filter are malformed.
            Refused: too many watches exist, or the Redis user lacks a right.
            BusUnavailable, CommandFailed: a subscription failed.
        """
        split = patterns.split()
        if not split or len(split) > MOST_PATTERNS:
            raise InvalidArgument(f"expected 1 to {MOST_PATTERNS} patterns, such as *.events")
        if len(patterns) > LONGEST_PATTERNS or not patterns.isprintable():
            raise InvalidArgument(
                f"patterns must be printable text of at most {LONGEST_PATTERNS} characters"
            )
        if len(text) > LONGEST_PATTERNS:
            raise InvalidArgument(f"a filter must have at most {LONGEST_PATTERNS} characters")
        patterns = " ".join(split)
        watch = self._watches.get(patterns) or self._begin(patterns)
        self._renew(watch)
        if watch.joined is not None:
            # Several viewers may wait; cancelling one must not cancel the others.
            waiting: Deferred[None] = Deferred()
            watch.joined.addBoth(_notify, waiting)
            await waiting
        if watch.failure is not None:
            watch.failure.raiseException()
        selection = watch.selection(text)
        after = min(after, selection.count) if serial == selection.serial else 0
        return _show(watch, selection, after)

    def stop(self) -> None:
        """End all watches."""
        for watch in list(self._watches.values()):
            self._end(watch)

    def _begin(self, patterns: str) -> _Watch:
        if len(self._watches) >= MOST_WATCHES:
            raise Refused(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"All {MOST_WATCHES} watches are in use; a watch ends {WATCH_LEASE:g} seconds "
                "after its last viewer leaves.",
            )
        watch = self._watches[patterns] = _Watch(patterns, self._serials, self._own)
        joining: Deferred[Any] = Deferred.fromCoroutine(self._join(watch))
        watch.joined = joining.addErrback(self._failed, watch)
        return watch

    async def _join(self, watch: _Watch) -> list[Subscription]:
        bus, link = self._bus, self._bus.link
        joined: list[Subscription] = []
        try:
            for pattern in watch.patterns.split():
                # The link to a single server reports a gap to every subscription; count it once.
                on_gap = None if joined and not link.address.is_cluster else watch.missed
                is_exact = not (link.allows_patterns or topics.is_pattern(pattern))
                subscribe = bus.subscribe if is_exact else bus.subscribe_pattern
                joined.append(await subscribe(pattern, watch.received, on_gap))
        except PermissionDenied:
            _cancel(joined)
            raise lacking("these topics", watching(watch.patterns)) from None
        except BaseException:
            _cancel(joined)
            raise
        return joined

    def _failed(self, failure: Failure, watch: _Watch) -> None:
        watch.failure = failure
        self._end(watch)

    def _renew(self, watch: _Watch) -> None:
        if watch.expiry is not None:
            watch.expiry.reset(WATCH_LEASE)
        elif self._watches.get(watch.patterns) is watch:
            watch.expiry = self._clock.callLater(WATCH_LEASE, self._end, watch)

    def _end(self, watch: _Watch) -> None:
        if self._watches.get(watch.patterns) is not watch:
            return
        del self._watches[watch.patterns]
        if watch.expiry is not None and watch.expiry.active():
            watch.expiry.cancel()
        watch.expiry = None
        if watch.joined is not None:
            watch.joined.addCallback(lambda joined: _cancel(joined or []))


def _show(watch: _Watch, selection: _Selection, after: int) -> dict[str, Any]:
    shown: list[dict[str, Any]] = []
    budget = SHOWN_BYTES
    for number, message in reversed(selection.messages):
        budget -= message.size if message.payload else 0
        if number <= after or len(shown) == SHOWN_MESSAGES or budget < 0:
            break
        shown.append(message.show())
    return {
        "time": time.time(),
        "patterns": watch.patterns,
        "serial": selection.serial,
        "hearsCalls": watch.hears_calls,
        "count": watch.count,
        "matching": selection.count,
        "skipped": selection.count - after - len(shown),
        "gaps": watch.gaps,
        "messages": shown[::-1],
        "topics": [
            {
                "topic": encodable(name),
                "count": topic.count,
                "bytes": topic.bytes,
                "last": topic.last,
            }
            for name, topic in reversed(watch.topics.items())
        ],
    }


def _notify(result: Any, waiting: Deferred[None]) -> Any:
    """Fire a waiting Deferred unless it was cancelled, and pass the result on."""
    if not waiting.called:
        waiting.callback(None)
    return result


def _cancel(subscriptions: Iterable[Subscription]) -> None:
    for subscription in subscriptions:
        subscription.cancel()
