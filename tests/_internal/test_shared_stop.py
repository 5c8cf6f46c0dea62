"""`SharedStop`: one stop of a service for all its callers."""

from __future__ import annotations

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from opentera_twisted._internal.shared_stop import SharedStop


class Example(Service):
    """A service that stops on request."""

    def __init__(self) -> None:
        self.starts = 0
        self.stops: list[Deferred[None]] = []
        self.shared = SharedStop(self, self.begin)

    def begin(self) -> None:
        self.starts += 1

    def startService(self) -> None:
        super().startService()
        self.shared.start()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return self.shared.stop(self.end)

    async def end(self) -> None:
        self.stops.append(Deferred())
        await self.stops[-1]


class SharedStopTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.service = Example()
        self.service.startService()

    def test_all_callers_wait_for_one_stop(self) -> None:
        callers = [self.service.stopService() for _ in range(3)]
        (stop,) = self.service.stops
        for caller in callers:
            self.assertNoResult(caller)
        stop.callback(None)
        for caller in callers:
            self.assertIsNone(self.successResultOf(caller))
        self.service.stopService()
        self.assertEqual(len(self.service.stops), 2)

    def test_all_callers_get_the_error_of_the_stop(self) -> None:
        callers = [self.service.stopService() for _ in range(3)]
        self.service.stops[0].errback(ZeroDivisionError())
        for caller in callers:
            self.failureResultOf(caller, ZeroDivisionError)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_stop_that_raises_at_once_fails_for_its_caller(self) -> None:
        async def end() -> None:
            raise ZeroDivisionError

        self.service.end = end  # type: ignore[method-assign]
        self.failureResultOf(self.service.stopService(), ZeroDivisionError)
        self.service.startService()
        self.assertEqual(self.service.starts, 2)

    def test_an_error_without_callers_is_logged(self) -> None:
        caller = self.service.stopService()
        caller.cancel()
        self.failureResultOf(caller, CancelledError)
        self.service.stops[0].errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_start_waits_for_the_end_of_the_stop(self) -> None:
        for result in (None, ZeroDivisionError()):
            before = self.service.starts
            caller = self.service.stopService()
            caller.addErrback(lambda failure: failure.trap(ZeroDivisionError) and None)
            self.service.startService()
            self.assertEqual(self.service.starts, before)
            if result is None:
                self.service.stops[-1].callback(None)
            else:
                self.service.stops[-1].errback(result)
            self.successResultOf(caller)
            self.assertEqual(self.service.starts, before + 1)

    def test_the_last_of_start_and_stop_decides(self) -> None:
        first = self.service.stopService()
        self.service.startService()
        last = self.service.stopService()
        self.service.stops[0].callback(None)
        for caller in (first, last):
            self.successResultOf(caller)
        self.assertEqual((self.service.starts, len(self.service.stops)), (1, 1))

    def test_a_failing_start_leaves_no_caller_waiting(self) -> None:
        caller = self.service.stopService()
        self.service.shared._start = lambda: 1 / 0
        self.service.startService()
        self.service.stops[0].callback(None)
        self.successResultOf(caller)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
