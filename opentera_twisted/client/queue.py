"""Events that wait for ``async for``."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from opentera_twisted.client.events import Event, gap


class Ended(Exception):
    """The client was stopped, and no event is left."""


class EventQueue:
    """A bounded queue of events; after an overflow, a gap replaces the oldest."""

    _log = Logger()

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._events: deque[Event] = deque()
        # An ordered set. A dict would find its first item slowly after many deletions there.
        self._readers: OrderedDict[Deferred[Event], None] = OrderedDict()
        self._end: BaseException | None = None
        self._has_dropped = False
        self._has_warned = False

    def begin(self) -> None:
        """Reopen the queue when the client is started."""
        self._end = None

    def put(self, event: Event) -> None:
        """Pass an event to a waiting reader, or queue it."""
        if self._readers:
            reader, _ = self._readers.popitem(last=False)
            reader.callback(event)
            return
        if len(self._events) >= self._bound:
            self._events.popleft()
            self._dropped()
        self._events.append(event)

    def _dropped(self) -> None:
        self._has_dropped = True
        if self._has_warned:
            return
        self._has_warned = True
        self._log.warn(
            "the program reads too slowly: {bound} events wait; dropping the oldest, with a gap",
            bound=self._bound,
        )

    def end(self, error: BaseException | None = None) -> None:
        """End the queue: readers receive the remaining events, and then the error.

        Args:
            error: error for readers; None means `Ended`.
        """
        end = self._end = error or Ended()  # a callback may reopen the queue
        readers, self._readers = self._readers, OrderedDict()
        for reader in readers:
            if not reader.called:  # an earlier callback may have cancelled it
                reader.errback(Failure(end))

    def get(self) -> Deferred[Event]:
        """Wait for the next event.

        Returns:
            Fires with the event.

        Fails with:
            Ended: the client was stopped.
            Disconnected: the disconnect command has ended the client.
        """
        if self._has_dropped:
            self._has_dropped = False
            return succeed(gap())
        if self._events:
            event = self._events.popleft()
            self._has_warned = self._has_warned and bool(self._events)
            return succeed(event)
        if self._end is not None:
            return fail(self._end)
        reader: Deferred[Any] = Deferred(lambda cancelled: self._readers.pop(cancelled, None))
        self._readers[reader] = None
        return reader
