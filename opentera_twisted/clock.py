"""Timers that a step of the system's clock neither delays nor fires early.

Twisted's reactor dates its delayed calls with ``time.time``. After a step back it sleeps until the
wall clock has caught up. A program that owns its reactor calls `make_steady`. A component in
another program's reactor takes its timers from `clock_of`, and leaves that reactor as it is.
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
"""Seconds between two comparisons of the wall clock with the monotonic one."""

TOLERANCE: Final = 0.05
"""Seconds that the wall clock may fall behind before timers are set anew."""

_PURGE_AFTER: Final = 64
"""Cancelled calls that are kept at least, before they are removed all at once."""


def make_steady(reactor: Any) -> None:
    """Have every timer of a reactor follow a monotonic clock, Twisted's own and Autobahn's too.

    ``reactor.seconds()`` goes on from the current time, so calls that are pending stay right.

    Args:
        reactor: of a program that owns it; one with a clock of its own stays as it is.
    """
    if reactor.seconds is not runtime.seconds:
        return
    offset = _ahead()

    def seconds() -> float:
        return monotonic() + offset

    reactor.seconds = seconds
    for call in reactor.getDelayedCalls():
        call.seconds = seconds


def clock_of(reactor: Any) -> IReactorTime:
    """The clock for all intervals in a reactor that may belong to another program.

    Args:
        reactor: the reactor, or a ``twisted.internet.task.Clock`` of a test.

    Returns:
        A `SteadyClock`, one for each reactor; the reactor itself when its timers do not follow the
        wall clock.
    """
    if isinstance(reactor, SteadyClock) or reactor.seconds is not runtime.seconds:
        clock: IReactorTime = reactor
        return clock
    steady = _clocks.get(reactor)
    if steady is None:
        steady = _clocks[reactor] = SteadyClock(reactor)
    return steady


@implementer(IReactorTime)
class SteadyClock:
    """Delayed calls by the monotonic clock, woken by one delayed call of a reactor.

    A step forward wakes it too early, and it sleeps again. A step back would wake it too late: a
    thread compares the two clocks each second, and has the reactor wake it anew.

    Args:
        reactor: runs the calls.
    """

    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._calls: list[DelayedCall] = []  # a heap
        self._pending = 0
        self._alarm: IDelayedCall | None = None
        self._rings_at = 0.0
        self._ahead = 0.0  # of the wall clock, when the alarm was set
        self._is_watched = False

    def seconds(self) -> float:
        """Seconds of a clock that never goes back."""
        return monotonic()

    def callLater(self, delay: float, callable: Any, *args: Any, **kw: Any) -> DelayedCall:  # noqa: A002 (Twisted's name)
        """Call a function after so many seconds."""
        call = DelayedCall(
            monotonic() + delay, callable, args, kw, self._cancelled, self._sooner, monotonic
        )
        heappush(self._calls, call)
        self._pending += 1
        alarm = self._alarm
        if alarm is None or call.time < self._rings_at or not alarm.active():
            self._set_alarm()
        return call

    def getDelayedCalls(self) -> list[IDelayedCall]:
        """The calls that are pending."""
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

    def _set_alarm(self) -> None:
        """Have the reactor wake this clock when its first call is due."""
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
        """Run the calls that are due; those that they add wait for the reactor's next turn."""
        now = monotonic()
        due = []
        while self._calls and self._calls[0].time <= now:
            due.append(heappop(self._calls))
        for call in due:
            if call.cancelled:
                continue
            if call.delayed_time > 0:  # it was reset to a later time
                call.activate_delay()
            if call.time > now:
                heappush(self._calls, call)
                continue
            call.called = 1
            self._pending -= 1
            try:
                call.func(*call.args, **call.kw)
            except BaseException:  # noqa: BLE001 (as the reactor does)
                self._log.failure("a delayed call failed")
        self._set_alarm()

    def _watch(self) -> None:
        """Watch the wall clock for as long as the reactor runs."""
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
    """Seconds from the monotonic clock to the wall clock."""
    return float(runtime.seconds() - monotonic())


_clocks: Final[dict[Any, SteadyClock]] = {}  # in practice one: a process has one reactor
