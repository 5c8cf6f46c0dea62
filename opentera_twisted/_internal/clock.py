"""Timers that fire correctly after a change of the system's clock and after a blocked reactor.

Twisted's reactor schedules delayed calls by ``time.time``. After a step back it sleeps until the
wall clock has caught up. A program that owns its reactor calls `make_steady`. A component takes its
timers from `clock_of` and does not change another program's reactor.

After a handler has blocked the reactor, Twisted runs due calls before it reads. A timeout would
then expire although the answer has arrived.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from threading import Event, Thread
from time import monotonic
from typing import Any, Final

from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python import runtime
from zope.interface import implementer

CHECK_INTERVAL: Final = 1.0
"""Seconds between two comparisons of the wall clock with the monotonic clock."""

TOLERANCE: Final = 0.05
"""Seconds that the wall clock may fall behind before timers are set again."""

LATE: Final = 0.05
"""Seconds after which a due call counts as late, because the reactor was blocked."""

TURNS: Final = 16
"""Reactor iterations that a late call waits; each reads up to 64 KiB from a connection."""

_PURGE_AFTER: Final = 64
"""Number of calls above which cancelled ones are removed, once they are the majority."""


def make_steady(reactor: Any) -> None:
    """Make every timer of a reactor follow a monotonic clock, including Twisted's and Autobahn's.

    ``reactor.seconds()`` continues from the current time, so that pending calls stay correct.

    Args:
        reactor: reactor that the program owns; a reactor with its own clock is not changed.
    """
    if reactor.seconds is not runtime.seconds:
        return
    offset = _ahead()

    def seconds() -> float:
        return monotonic() + offset

    reactor.seconds = seconds
    for call in reactor.getDelayedCalls():
        call.seconds = seconds
    _clocks.setdefault(reactor, SteadyClock(reactor))


def clock_of(reactor: Any) -> IReactorTime:
    """Return the clock for all intervals in a reactor that may belong to another program.

    Args:
        reactor: a reactor, or the ``twisted.internet.task.Clock`` of a test.

    Returns:
        The reactor's only `SteadyClock`, or the reactor itself if it has its own clock.
    """
    steady = _clocks.get(reactor)
    if steady is not None:
        return steady
    if isinstance(reactor, SteadyClock) or reactor.seconds is not runtime.seconds:
        clock: IReactorTime = reactor
        return clock
    steady = _clocks[reactor] = SteadyClock(reactor)
    return steady


class _Call(DelayedCall):
    """A delayed call; one without a delay is not a timer, and is never late."""

    is_timer = True


@implementer(IReactorTime)
class SteadyClock:
    """Delayed calls by the monotonic clock, woken by one delayed call of a reactor.

    A step forward wakes it too early, and it sleeps again. A step back would wake it too late: a
    thread compares the two clocks each second, and sets the reactor's call again. Late calls wait
    for `TURNS` iterations, in which the reactor reads.
    """

    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._calls: list[_Call] = []  # a heap
        self._pending = 0
        self._alarm: IDelayedCall | None = None
        self._rings_at = 0.0
        self._ahead = 0.0  # of the wall clock, when the alarm was set
        self._is_watched = False
        self._turns = TURNS  # that late calls may still wait

    def seconds(self) -> float:
        """Return the seconds of a clock that never goes back."""
        return monotonic()

    def callLater(self, delay: float, callable: Any, *args: Any, **kw: Any) -> DelayedCall:  # noqa: A002 (Twisted's name)
        """Call a function after a delay in seconds."""
        call = _Call(
            monotonic() + delay, callable, args, kw, self._cancelled, self._sooner, monotonic
        )
        if delay <= 0:
            call.is_timer = False
        heappush(self._calls, call)
        self._pending += 1
        self._ring_by(call.time)
        return call

    def getDelayedCalls(self) -> list[IDelayedCall]:
        """List the pending calls."""
        return [call for call in self._calls if call.active()]

    def _cancelled(self, _call: DelayedCall) -> None:
        self._pending -= 1
        if not self._pending:
            self._calls.clear()
            self._set_alarm()
        elif len(self._calls) > _PURGE_AFTER and self._pending < len(self._calls) // 2:
            self._calls = [call for call in self._calls if not call.cancelled]
            heapify(self._calls)

    def _sooner(self, call: DelayedCall) -> None:
        heapify(self._calls)
        if call.time < self._rings_at:
            self._set_alarm()

    def _ring_by(self, time: float) -> None:
        """Set the alarm, unless it rings by that time."""
        alarm = self._alarm
        if alarm is None or time < self._rings_at or not alarm.active():
            self._set_alarm()

    def _set_alarm(self) -> None:
        """Schedule the reactor's call for the first call of this clock."""
        if self._alarm is not None and self._alarm.active():
            self._alarm.cancel()
        self._alarm = None
        while self._calls and self._calls[0].cancelled:
            heappop(self._calls)
        if not self._calls:
            return
        self._rings_at = self._calls[0].time
        self._ahead = _ahead()
        delay = max(self._rings_at - monotonic(), 0)
        self._alarm = self._reactor.callLater(delay, self._ring)
        if not self._is_watched:
            self._is_watched = True
            self._reactor.callWhenRunning(self._watch)

    def _ring(self) -> None:
        """Run the due calls; calls that they add wait for the next iteration."""
        now = monotonic()
        due = []
        while self._calls and self._calls[0].time <= now:
            due.append(heappop(self._calls))
        is_late = False
        for call in due:
            if call.cancelled:
                continue
            if call.delayed_time > 0:  # it was reset to a later time
                call.activate_delay()
            if call.time > now:
                heappush(self._calls, call)
                continue
            if call.is_timer and now - call.time > LATE and self._turns:
                is_late = True
                heappush(self._calls, call)
                continue
            call.called = 1
            self._pending -= 1
            try:
                call.func(*call.args, **call.kw)
            except BaseException:  # noqa: BLE001 (as the reactor does)
                self._log.failure("a delayed call failed")
        self._turns = self._turns - 1 if is_late else TURNS
        if self._calls:
            self._ring_by(self._calls[0].time)

    def _watch(self) -> None:
        """Compare the clocks while the reactor runs, if it follows the wall clock."""
        if self._reactor.seconds is not runtime.seconds:
            return
        stopped = Event()

        def end() -> None:
            self._is_watched = False
            stopped.set()

        self._reactor.addSystemEventTrigger("after", "shutdown", end)
        Thread(target=self._compare, args=(stopped,), name="clock-steps", daemon=True).start()

    def _compare(self, stopped: Event) -> None:
        while not stopped.wait(CHECK_INTERVAL):
            if _ahead() < self._ahead - TOLERANCE:
                self._reactor.callFromThread(self._set_alarm)


def _ahead() -> float:
    """Return the seconds from the monotonic clock to the wall clock."""
    return float(runtime.seconds() - monotonic())


_clocks: Final[dict[Any, SteadyClock]] = {}  # usually one: a process has one reactor
