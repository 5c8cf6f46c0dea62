"""Results of several Deferreds together."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import TestCase

from opentera_twisted._internal.gathered import all_fired, gathered


class GatheredTests(TestCase):
    def test_results_come_in_order(self) -> None:
        late: Deferred[int] = Deferred()
        both = gathered([late, succeed(2)])
        self.assertNoResult(both)
        late.callback(1)
        assert self.successResultOf(both) == [1, 2]
        assert self.successResultOf(gathered(())) == []

    def test_the_first_error_is_raised_and_no_other_is_logged(self) -> None:
        errors = ValueError("first"), KeyError("second")
        found = self.failureResultOf(gathered([Deferred(), *map(fail, errors)]))
        assert found.value is errors[0]
        assert not self.flushLoggedErrors()

    def test_all_fire_before_the_first_error_is_raised(self) -> None:
        late: Deferred[int] = Deferred()
        error = ValueError("first")
        every = Deferred.fromCoroutine(all_fired([succeed(1), fail(error), late]))
        self.assertNoResult(every)
        late.errback(KeyError("second"))
        assert self.failureResultOf(every).value is error
        assert not self.flushLoggedErrors()

    def test_cancelling_raises_cancelled_error(self) -> None:
        waiting: Deferred[Any] = Deferred()
        both = gathered([waiting])
        both.cancel()
        self.failureResultOf(both, CancelledError)
