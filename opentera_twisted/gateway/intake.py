"""Work that clients cause, in bounded shares of each turn of the reactor, in fair rotation.

A client that sends ten thousand frames at once has a few of them parsed in each turn, after those
of all others that wait. Nothing more is read of it meanwhile, so that TCP slows it down. The steps
of logins and closes that are many at once wait in the same queue.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

SHARE: Final = 0.004
"""Seconds after the start of a turn from which the work of clients waits for the next turn."""


class Source(Protocol):
    """A client whose bytes wait to be handled."""

    def handle(self) -> bool:
        """Handle a little of what came.

        Returns:
            Whether more can be done at once.
        """

    def fail(self) -> None:
        """End the connection after an error of the program, which is logged."""

    def hold(self) -> None:
        """Read nothing more."""

    def go_on(self) -> None:
        """Read again."""


class Intake:
    """Shares each turn's time among the clients that have sent something, and steps for clients.

    Args:
        clock: measures the time, and schedules a call for the reactor's next turn.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._until = 0.0
        self._waiting: dict[Source, None] = {}  # an ordered set
        self._is_scheduled = False

    def arrived(self, source: Source) -> None:
        """Handle what a client sent: now, or after the clients that wait already."""
        if source in self._waiting:
            return
        if not self._has_time() or self._serve(source):
            source.hold()
            self._waiting[source] = None

    def forget(self, source: Source) -> None:
        """Drop a client that is gone."""
        self._waiting.pop(source, None)

    def turn(self) -> Deferred[None]:
        """Wait for time to do something for a client.

        Returns:
            Fires at once, or after the work that waits already.
        """
        if self._has_time():
            return succeed(None)
        # When it is cancelled it ignores the call. A canceller would make a reference cycle.
        begun: Deferred[None] = Deferred()
        self._waiting[_Call(partial(begun.callback, None))] = None
        return begun

    def do(self, call: Callable[[], None]) -> None:
        """Call a function at once, or after the work that waits already."""
        self.arrived(_Call(call))

    def _has_time(self) -> bool:
        if not self._is_scheduled:
            self._begin()
        return not self._waiting and self._clock.seconds() < self._until

    def _begin(self) -> None:
        """Begin a share, which ends with the turn."""
        self._until = self._clock.seconds() + SHARE
        self._is_scheduled = True
        self._clock.callLater(0, self._turn)

    def _turn(self) -> None:
        self._is_scheduled = False
        if not self._waiting:
            return
        self._begin()
        while self._waiting:
            source = next(iter(self._waiting))
            del self._waiting[source]
            if self._serve(source):
                self._waiting[source] = None
            else:
                source.go_on()
            if self._clock.seconds() >= self._until:
                break

    def _serve(self, source: Source) -> bool:
        try:
            return source.handle()
        except Exception:  # noqa: BLE001 (the other clients get their turn)
            self._log.failure("handling what a client sent failed; closing its connection")
            source.fail()
            return False


class _Call:
    """A function that is called once there is time."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def handle(self) -> bool:
        """Call it."""
        self._call()
        return False

    def fail(self) -> None:
        """Do nothing: it has no connection of its own."""

    hold = go_on = fail
