"""A fair queue for the work that clients cause, bounded in each reactor iteration.

If a client sends ten thousand frames at once, the gateway parses a few of them per iteration, in
rotation with the other clients. It reads nothing more from that client until then, so TCP slows the
client down. Bursts of logins and closes wait in the same queue.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

SHARE: Final = 0.004
"""Seconds of each reactor iteration for clients' work; the rest waits for the next iteration."""


class Source(Protocol):
    """A client with unhandled bytes."""

    def handle(self) -> bool:
        """Handle a bounded part of the client's bytes.

        Returns:
            True if more can be handled at once.
        """

    def fail(self) -> None:
        """Close the connection after an internal error; the intake logs the error."""

    def hold(self) -> None:
        """Pause reading."""

    def go_on(self) -> None:
        """Resume reading."""


class Intake:
    """A round-robin scheduler for clients' bytes and for single calls."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._until = 0.0
        # An ordered set. A dict would find its first item slowly after many deletions there.
        self._waiting: OrderedDict[Source, None] = OrderedDict()
        self._is_scheduled = False

    def arrived(self, source: Source) -> None:
        """Handle a client's bytes now, or after the clients in the queue."""
        if source in self._waiting:
            return
        if not self._has_time() or self._serve(source):
            source.hold()
            self._waiting[source] = None

    def forget(self, source: Source) -> None:
        """Remove a client from the queue."""
        self._waiting.pop(source, None)

    async def turn(self) -> None:
        """Wait for the work in the queue, unless there is time now."""
        if self._has_time():
            return
        # A cancelled Deferred ignores the call. A canceller would create a reference cycle.
        begun: Deferred[None] = Deferred()
        self._waiting[_Call(partial(begun.callback, None))] = None
        await begun

    def do(self, call: Callable[[], None]) -> None:
        """Call a function at once, or after the work in the queue."""
        self.arrived(_Call(call))

    def _has_time(self) -> bool:
        if not self._is_scheduled:
            self._begin()
        return not self._waiting and self._clock.seconds() < self._until

    def _begin(self) -> None:
        """Begin the time share of this reactor iteration."""
        self._until = self._clock.seconds() + SHARE
        self._is_scheduled = True
        self._clock.callLater(0, self._turn)

    def _turn(self) -> None:
        self._is_scheduled = False
        if not self._waiting:
            return
        self._begin()
        while self._waiting:
            source, _ = self._waiting.popitem(last=False)
            if self._serve(source):
                self._waiting[source] = None
            else:
                source.go_on()
            if self._clock.seconds() >= self._until:
                break

    def _serve(self, source: Source) -> bool:
        try:
            return source.handle()
        except Exception:  # noqa: BLE001 (one client's error must not stop the others)
            self._log.failure("handling a client's data failed; closing its connection")
            source.fail()
            return False


class _Call:
    """A queued call, as a source."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def handle(self) -> bool:
        """Call the function."""
        self._call()
        return False

    def fail(self) -> None:
        """Do nothing, because a call has no connection."""

    hold = go_on = fail
