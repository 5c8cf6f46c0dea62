"""What is published, for people who watch: subscribed only while somebody does.

Redis counts who watches as a receiver: while the topic of a server is watched, a call that nobody
serves ends at its timeout and not at once. So calls are not watched unless somebody asks for them.
"""

from __future__ import annotations

import itertools
import re
import time
from collections import deque
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

from attrs import Factory, define
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from opentera_twisted.admin.guard import Refused
from opentera_twisted.admin.rights import lacking, watching
from opentera_twisted.admin.summary import summarize
from opentera_twisted.bus import Bus
from opentera_twisted.errors import InvalidArgument, PermissionDenied
from opentera_twisted.holders import PROBE
from opentera_twisted.pubsub import Delivery, Subscription

DEFAULT_PATTERNS: Final = "*.events *.events.* *.messages"
"""What is watched unless somebody asks for something else: all but calls and their replies."""

WATCH_LEASE: Final = 6.0
"""Seconds after which nobody watches a pattern that nobody has asked for."""

MOST_WATCHES: Final = 4
MOST_PATTERNS: Final = 4
"""Watches at a time, and patterns of one."""

KEPT_MESSAGES: Final = 200
KEPT_BYTES: Final = 16_384
"""Messages of a watch that are kept, and bytes of one; of a longer one its size is told."""

KEPT_TOPICS: Final = 500
"""Topics that are counted; of more, the one that was quiet longest is forgotten."""

LONGEST_TOPIC: Final = 300
"""Characters of a topic that are kept."""

LONGEST_PATTERNS: Final = 200
"""Characters of the patterns of one watch."""

SHOWN_MESSAGES: Final = 50
SHOWN_BYTES: Final = 65_536
"""Messages in one answer, and bytes of them that are decoded for it; the newest count."""

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
        """For the page; decoded once, however many look."""
        if self.shown is None:
            self.shown = {
                "number": self.number,
                "time": self.time,
                "topic": self.topic.encode(errors="replace").decode(),
                "bytes": self.size,
            }
            if self.payload is None:
                self.shown.update(form="bytes", summary="too long to be shown", body=None)
            else:
                summary = summarize(self.topic, self.payload)
                self.shown.update(form=summary.form, summary=summary.line, body=summary.body)
                self.payload = b""
        return self.shown


@define(eq=False)
class _Topic:
    count: int = 0
    bytes: int = 0
    last: float = 0.0


@define(eq=False)
class _Watch:
    """Some patterns that somebody watches."""

    patterns: str
    serial: int
    joined: Deferred[list[Subscription] | None] | None = None
    failure: Failure | None = None
    expiry: IDelayedCall | None = None
    count: int = 0
    gaps: int = 0
    messages: deque[_Message] = Factory(lambda: deque(maxlen=KEPT_MESSAGES))
    topics: dict[str, _Topic] = Factory(dict)
    last: Delivery | None = None

    @property
    def hears_calls(self) -> bool:
        """Whether a call that nobody serves could be heard by it."""
        return not all(map(_HEARS_NO_CALLS.search, self.patterns.split()))

    def received(self, delivery: Delivery) -> None:
        """Keep a message, and decode it only when somebody sees it; probes of gateways are none."""
        if delivery.payload == PROBE:
            return
        last = self.last
        if (
            last is not None
            and last.pattern != delivery.pattern
            and last.topic == delivery.topic
            and last.payload == delivery.payload
        ):
            return  # the same message, by another pattern that it fits
        self.last = delivery
        now = time.time()
        self.count += 1
        size = len(delivery.payload)
        payload = delivery.payload if size <= KEPT_BYTES else None
        name = delivery.topic
        if len(name) > LONGEST_TOPIC:
            name = f"{name[: LONGEST_TOPIC - 1]}…"
        self.messages.append(_Message(self.count, now, name, size, payload))
        topic = self.topics.pop(name, None) or _Topic()
        topic.count += 1
        topic.bytes += size
        topic.last = now
        self.topics[name] = topic
        if len(self.topics) > KEPT_TOPICS:
            del self.topics[next(iter(self.topics))]

    def missed(self) -> None:
        """The link was lost and is back."""
        self.gaps += 1


class Traffic:
    """Watches topics for as long as it is asked about them.

    Args:
        bus: that subscribes them.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._clock = bus.link.clock
        self._watches: dict[str, _Watch] = {}
        self._serials = itertools.count(1)

    @property
    def watched(self) -> list[str]:
        """The patterns that are watched now."""
        return list(self._watches)

    async def page(self, patterns: str, serial: int = 0, after: int = 0) -> dict[str, Any]:
        """What came on some topics; asking makes them watched for `WATCH_LEASE` seconds more.

        Args:
            patterns: as Redis reads them, with blanks between, such as ``websocket.user.*``.
            serial: of the watch that was seen; of another one nothing was seen yet.
            after: number of the last message that was seen.

        Raises:
            InvalidArgument: these are no patterns.
            Refused: too many are watched already, or Redis does not let us watch these.
            BusUnavailable, CommandFailed: one could not be subscribed.
        """
        split = patterns.split()
        if not split or len(split) > MOST_PATTERNS:
            raise InvalidArgument(f"1 to {MOST_PATTERNS} patterns are watched, such as *.events")
        if len(patterns) > LONGEST_PATTERNS or not patterns.isprintable():
            raise InvalidArgument(
                f"patterns are printable text of at most {LONGEST_PATTERNS} characters"
            )
        patterns = " ".join(split)
        watch = self._watches.get(patterns) or self._begin(patterns)
        self._renew(watch)
        if watch.joined is not None:
            # Several may wait; a viewer who goes away must not end it for the others.
            waiting: Deferred[None] = Deferred()
            watch.joined.addBoth(_tell, waiting)
            await waiting
        if watch.failure is not None:
            watch.failure.raiseException()
        return self._show(watch, min(after, watch.count) if serial == watch.serial else 0)

    def stop(self) -> None:
        """Watch nothing any more."""
        for watch in list(self._watches.values()):
            self._end(watch)

    def _begin(self, patterns: str) -> _Watch:
        if len(self._watches) >= MOST_WATCHES:
            raise Refused(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"Topics are watched in {MOST_WATCHES} ways already; one ends when nobody has "
                f"looked for {WATCH_LEASE:g} seconds.",
            )
        watch = self._watches[patterns] = _Watch(patterns, next(self._serials))
        joining: Deferred[Any] = Deferred.fromCoroutine(self._join(watch))
        watch.joined = joining.addErrback(self._failed, watch)
        return watch

    async def _join(self, watch: _Watch) -> list[Subscription]:
        joined: list[Subscription] = []
        try:
            for pattern in watch.patterns.split():
                # The link tells all its subscriptions of a gap; it is counted once.
                on_gap = None if joined else watch.missed
                joined.append(await self._bus.subscribe_pattern(pattern, watch.received, on_gap))
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

    def _show(self, watch: _Watch, after: int) -> dict[str, Any]:
        shown: list[dict[str, Any]] = []
        budget = SHOWN_BYTES
        for message in reversed(watch.messages):
            budget -= message.size if message.payload else 0
            if message.number <= after or len(shown) == SHOWN_MESSAGES or budget < 0:
                break
            shown.append(message.show())
        return {
            "patterns": watch.patterns,
            "serial": watch.serial,
            "hearsCalls": watch.hears_calls,
            "count": watch.count,
            "skipped": watch.count - after - len(shown),
            "gaps": watch.gaps,
            "messages": shown[::-1],
            "topics": [
                {
                    "topic": name.encode(errors="replace").decode(),
                    "count": topic.count,
                    "bytes": topic.bytes,
                    "last": topic.last,
                }
                for name, topic in reversed(watch.topics.items())
            ],
        }


def _tell(result: Any, waiting: Deferred[None]) -> Any:
    """Tell one who waits, who may have gone, and leave the result to the others."""
    if not waiting.called:
        waiting.callback(None)
    return result


def _cancel(subscriptions: Iterable[Subscription]) -> None:
    for subscription in subscriptions:
        subscription.cancel()
