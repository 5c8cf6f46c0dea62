"""How a turn's work is shared among clients, and how often something may happen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from opentera_twisted.gateway.intake import WORK_AT_ONCE, WORK_PER_TURN, Intake
from opentera_twisted.gateway.rate_limit import RateLimit


class Turns(Clock):
    """A clock whose calls wait for the next turn, as a reactor's do."""

    def turn(self) -> None:
        """Run the calls that are due, and none that they add."""
        for call in [call for call in self.calls if call.getTime() <= self.seconds()]:
            if call.active():
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)


class Source:
    """A client with so much work in it."""

    def __init__(self, left: int, order: list[Source]) -> None:
        self.left = left
        self.is_held = self.has_failed = False
        self._order = order

    def handle(self, work: int) -> tuple[int, bool]:
        done = min(work, self.left)
        self.left -= done
        self._order.append(self)
        return done, self.left > 0

    def fail(self) -> None:
        self.has_failed = True

    def hold(self) -> None:
        assert not self.is_held
        self.is_held = True

    def go_on(self) -> None:
        assert self.is_held
        self.is_held = False


@given(st.lists(st.integers(1, 500), max_size=20))
def test_a_turn_has_bounded_work_and_all_of_it_is_done(amounts: list[int]) -> None:
    clock, order = Turns(), list[Source]()
    intake = Intake(clock)
    sources = [Source(amount, order) for amount in amounts]
    for source in sources:
        intake.arrived(source)
    total = left = sum(amounts)
    while clock.getDelayedCalls():
        now = sum(source.left for source in sources)
        assert left - now < WORK_PER_TURN + WORK_AT_ONCE
        left = now
        clock.turn()
    assert not any(source.left or source.is_held for source in sources)
    assert total == 0 or left < total


def test_clients_that_wait_take_turns() -> None:
    clock, order = Turns(), list[Source]()
    intake = Intake(clock)
    flood = [Source(10_000, order) for _ in range(3)]
    for source in flood:
        intake.arrived(source)
    while not flood[-1].is_held:
        clock.turn()
    honest = Source(1, order)
    intake.arrived(honest)
    order.clear()
    while honest.left:
        clock.turn()
    shares = order[: order.index(honest)]
    assert max(map(shares.count, flood)) - min(map(shares.count, flood)) <= 1
    assert len(shares) <= len(flood)


def test_a_client_that_is_gone_is_forgotten() -> None:
    clock, order = Turns(), list[Source]()
    intake = Intake(clock)
    source = Source(10_000, order)
    intake.arrived(source)
    intake.forget(source)
    order.clear()
    clock.turn()
    assert not order
    assert not intake._waiting


class Broken(Source):
    """A client that an error of the program strikes, at once or later."""

    def handle(self, work: int) -> tuple[int, bool]:
        done, has_more = super().handle(work)
        if not has_more:
            raise ZeroDivisionError
        return done, has_more


class ErrorTests(SynchronousTestCase):
    def test_an_error_ends_its_client_and_no_other(self) -> None:
        clock, order = Turns(), list[Source]()
        intake = Intake(clock)
        sources = [Broken(1, order), *(cls(1_000, order) for cls in (Source, Broken, Source))]
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


def test_a_clock_that_is_set_back_begins_a_new_period() -> None:
    rate = RateLimit()
    assert rate.allows(1, 60.0, 1000.0)
    assert not rate.allows(1, 60.0, 1001.0)
    assert rate.allows(1, 60.0, 10.0)
