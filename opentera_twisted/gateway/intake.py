"""A bounded share of what clients send is handled in each turn of the reactor, in fair rotation.

A client that sends ten thousand frames at once has a few of them parsed in each turn, after those
of all others that wait. Nothing more is read of it meanwhile, so that TCP slows it down.
"""

from __future__ import annotations

from typing import Final, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

WORK_PER_TURN: Final = 64
"""Units of work in one turn, for all clients: about two milliseconds."""

WORK_AT_ONCE: Final = 8
"""Units of work for one client before the next one gets its share."""

HANDSHAKE: Final = 16
"""Units of work of a whole handshake. A piece of one counts 1, as does a frame; each `BYTES` of a
frame's payload count 1 more."""

BYTES: Final = 4096


class Source(Protocol):
    """A client whose bytes wait to be handled."""

    def handle(self, work: int) -> tuple[int, bool]:
        """Handle some of what came.

        Args:
            work: units after which to stop.

        Returns:
            The units that were done, and whether more can be done at once.
        """

    def fail(self) -> None:
        """End the connection after an error of the program, which is logged."""

    def hold(self) -> None:
        """Read nothing more."""

    def go_on(self) -> None:
        """Read again."""


class Intake:
    """Shares each turn's work among the clients that have sent something.

    Args:
        clock: schedules a call for the reactor's next turn.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._left = WORK_PER_TURN
        self._waiting: dict[Source, None] = {}  # an ordered set
        self._is_scheduled = False

    def arrived(self, source: Source) -> None:
        """Handle what a client sent: now, or after the clients that wait already."""
        if source in self._waiting:
            return
        self._schedule()
        if self._waiting or self._left <= 0 or self._serve(source):
            self._wait(source)

    def forget(self, source: Source) -> None:
        """Drop a client that is gone."""
        self._waiting.pop(source, None)

    def _wait(self, source: Source) -> None:
        source.hold()
        self._waiting[source] = None

    def _serve(self, source: Source) -> bool:
        try:
            done, has_more = source.handle(WORK_AT_ONCE)
        except Exception:  # noqa: BLE001 (the other clients get their turn)
            self._log.failure("handling what a client sent failed; closing its connection")
            source.fail()
            return False
        self._left -= done
        return has_more

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._clock.callLater(0, self._turn)

    def _turn(self) -> None:
        self._is_scheduled = False
        self._left = WORK_PER_TURN
        while self._waiting and self._left > 0:
            source = next(iter(self._waiting))
            del self._waiting[source]
            if self._serve(source):
                self._waiting[source] = None
            else:
                source.go_on()
        if self._waiting or self._left < WORK_PER_TURN:
            self._schedule()
