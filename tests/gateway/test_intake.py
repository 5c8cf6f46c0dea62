"""Sharing of a turn's work among clients, and rate limits."""

from __future__ import annotations

import gc

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from opentera_twisted.gateway.counters import RateLimit
from opentera_twisted.gateway.intake import SHARE, Intake
from tests.helpers.turns import Turns

STEP = SHARE / 10
"""Seconds per step on the clock."""


class Source:
    """A client with a number of steps of work."""

    def __init__(self, left: int, order: list[Source], clock: Clock) -> None:
        self.left = left
        self.is_held = self.has_failed = False
        self._order = order
        self._clock = clock

    def handle(self) -> bool:
        self.left -= 1
        self._clock.rightNow += STEP
        self._order.append(self)
        return self.left > 0

    def fail(self) -> None:
        self.has_failed = True

    def hold(self) -> None:
        assert not self.is_held
        self.is_held = True

    def go_on(self) -> None:
        assert self.is_held
        self.is_held = False


@given(st.lists(st.integers(1, 100), max_size=20))
def test_a_turn_has_bounded_time_and_all_work_is_done(amounts: list[int]) -> None:
    clock, order = Turns(), list[Source]()
    intake = Intake(clock)
    sources = [Source(amount, order, clock) for amount in amounts]
    for source in sources:
        intake.arrived(source)
    while clock.getDelayedCalls():
        before = clock.seconds()
        clock.turn()
        assert clock.seconds() - before < SHARE + STEP
    assert not any(source.left or source.is_held for source in sources)
    assert len(order) == sum(amounts)


@given(st.floats(0, 10 * SHARE))
def test_time_spent_by_others_counts(taken: float) -> None:
    clock, order = Turns(), list[Source]()
    intake = Intake(clock)
    intake.arrived(Source(1, order, clock))
    clock.rightNow += taken
    late = Source(1, order, clock)
    intake.arrived(late)
    assert late.is_held == (STEP + taken >= SHARE)
    clock.turn()
    assert not late.left


def test_waiting_clients_take_turns() -> None:
    clock, order = Turns(), list[Source]()
    intake = Intake(clock)
    flood = [Source(1_000, order, clock) for _ in range(3)]
    for source in flood:
        intake.arrived(source)
    while not flood[-1].is_held:
        clock.turn()
    honest = Source(1, order, clock)
    intake.arrived(honest)
    order.clear()
    while honest.left:
        clock.turn()
    shares = order[: order.index(honest)]
    assert max(map(shares.count, flood)) - min(map(shares.count, flood)) <= 1
    assert len(shares) <= len(flood)


def test_a_disconnected_client_is_forgotten() -> None:
    clock, order = Turns(), list[Source]()
    intake = Intake(clock)
    source = Source(1_000, order, clock)
    intake.arrived(source)
    intake.forget(source)
    order.clear()
    clock.turn()
    assert not order
    assert not intake._waiting


def step(intake: Intake) -> Deferred[None]:
    return Deferred.fromCoroutine(intake.turn())


def test_steps_and_calls_wait_behind_clients_in_order() -> None:
    clock, order = Turns(), list[Source]()
    intake = Intake(clock)
    events: list[str] = []
    assert step(intake).called, "nothing waits while time is left"
    flood = Source(1_000, order, clock)
    clock.rightNow += SHARE
    intake.arrived(flood)
    step(intake).addCallback(lambda _: events.append("step"))
    intake.do(lambda: events.append("call"))
    assert not events
    clock.turn()
    assert events == ["step", "call"]


def test_a_cancelled_step_is_skipped() -> None:
    clock = Turns()
    intake = Intake(clock)
    step(intake)
    clock.rightNow += SHARE
    waiting = step(intake)
    ends: list[object] = []
    waiting.addErrback(lambda failure: ends.append(failure.check(CancelledError)))
    waiting.cancel()
    while clock.getDelayedCalls():
        clock.turn()
    assert ends == [CancelledError]


def test_a_step_leaves_no_reference_cycle() -> None:
    clock = Turns()
    intake = Intake(clock)
    gc.collect()
    for _ in range(10):
        step(intake)
        clock.rightNow += SHARE
    while clock.getDelayedCalls():
        clock.turn()
    assert gc.collect() == 0


class Broken(Source):
    """A client whose processing fails, at once or later."""

    def handle(self) -> bool:
        has_more = super().handle()
        if not has_more:
            raise ZeroDivisionError
        return has_more


class ErrorTests(SynchronousTestCase):
    def test_an_error_ends_its_client_and_no_other(self) -> None:
        clock, order = Turns(), list[Source]()
        intake = Intake(clock)
        sources = [
            Broken(1, order, clock),
            *(cls(1_000, order, clock) for cls in (Source, Broken, Source)),
        ]
        for source in sources:
            intake.arrived(source)
        while clock.getDelayedCalls():
            clock.turn()
        assert [source.has_failed for source in sources] == [True, False, True, False]
        assert not any(source.left for source in sources)
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 2


@given(st.integers(1, 20), st.lists(st.floats(0, 200), max_size=100))
def test_no_period_has_more_than_its_limit(limit: int, moments: list[float]) -> None:
    rate = RateLimit()
    allowed = [now for now in sorted(moments) if rate.allows(limit, 60.0, now)]
    for began in allowed:
        assert sum(began <= now < began + 60 for now in allowed) <= 2 * limit
    assert len(allowed) >= min(limit, len(moments))


def test_a_clock_set_back_begins_a_new_period() -> None:
    rate = RateLimit()
    assert rate.allows(1, 60.0, 1000.0)
    assert not rate.allows(1, 60.0, 1001.0)
    assert rate.allows(1, 60.0, 10.0)
