"""`Waiters`: Deferreds that fire together."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred

from opentera_twisted._internal.waiters import Waiters
from opentera_twisted.testing import result_of


def test_all_that_wait_fire_with_the_result() -> None:
    waiters: Waiters[int] = Waiters()
    first, second = waiters.wait(), waiters.wait()
    assert len(waiters) == 2
    waiters.fire(3)
    assert (result_of(first), result_of(second), len(waiters)) == (3, 3, 0)


def test_all_that_wait_fail_with_the_error() -> None:
    waiters: Waiters[int] = Waiters()
    waiting = [waiters.wait(), waiters.wait()]
    waiters.fail(KeyError("gone"))
    for waiter in waiting:
        with pytest.raises(KeyError):
            result_of(waiter)


def test_a_cancelled_waiter_is_forgotten() -> None:
    waiters: Waiters[int] = Waiters()
    waiter = waiters.wait()
    waiter.cancel()
    assert len(waiters) == 0
    waiters.fire(1)
    with pytest.raises(CancelledError):
        result_of(waiter)


@pytest.mark.parametrize("fails", [False, True])
def test_a_callback_may_cancel_a_later_waiter(fails: bool) -> None:
    waiters: Waiters[int] = Waiters()
    first, second, third = waiters.wait(), waiters.wait(), waiters.wait()
    first.addBoth(lambda _: second.cancel())
    second.addErrback(lambda failure: failure.trap(CancelledError) and 0)
    if fails:
        waiters.fail(KeyError())
    else:
        waiters.fire(1)
    assert result_of(second) == 0
    assert third.called
    third.addErrback(lambda _: None)


def test_a_waiter_added_by_a_callback_waits_for_the_next_event() -> None:
    waiters: Waiters[int] = Waiters()
    later: list[Deferred[int]] = []
    waiters.wait().addCallback(lambda _: later.append(waiters.wait()))
    waiters.fire(1)
    assert not later[0].called
    waiters.fire(2)
    assert result_of(later[0]) == 2
