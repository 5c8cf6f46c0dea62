"""Events queued for a reader."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from opentera_twisted.client.events import Event
from opentera_twisted.client.queue import Ended, EventQueue
from tests.helpers.support import log_of


def event(number: int) -> Event:
    return Event(str(number), None, None, {})


class QueueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.queue = EventQueue(3)

    def put(self, *numbers: int) -> None:
        for number in numbers:
            self.queue.put(event(number))

    def read(self, count: int) -> list[str]:
        return [self.successResultOf(self.queue.get()).name for _ in range(count)]

    def test_events_wait_in_their_order(self) -> None:
        self.put(1, 2, 3)
        assert self.read(3) == ["1", "2", "3"]
        self.assertNoResult(self.queue.get())

    def test_readers_wait_in_their_order(self) -> None:
        waiting = [self.queue.get() for _ in range(3)]
        waiting[1].cancel()
        self.failureResultOf(waiting[1], CancelledError)
        self.put(1, 2)
        names = [self.successResultOf(waiting[number]).name for number in (0, 2)]
        assert names == ["1", "2"]

    def test_a_reader_may_cancel_another_at_the_end(self) -> None:
        first, second = self.queue.get(), self.queue.get()

        def ended(failure: Failure) -> None:
            failure.trap(Ended)
            second.cancel()

        first.addErrback(ended)
        self.queue.end()
        self.failureResultOf(second, CancelledError)

    def test_a_reader_may_reopen_the_queue_at_the_end(self) -> None:
        first, second = self.queue.get(), self.queue.get()
        first.addErrback(lambda _: self.queue.begin())
        self.queue.end()
        self.failureResultOf(second, Ended)
        self.assertNoResult(self.queue.get())

    def test_an_overflow_is_a_gap_and_the_newest_events_stay(self) -> None:
        log = log_of(self)
        self.put(*range(1, 8))
        assert self.read(4) == ["gap", "5", "6", "7"]
        self.put(8)
        assert self.read(1) == ["8"]
        assert len(log.items) == 1
        assert "3 events wait" in log.items[0]

    def test_the_next_overflow_is_logged_again(self) -> None:
        log = log_of(self)
        for _ in range(2):
            self.put(*range(8))
            self.read(4)
        assert len(log.items) == 2

    def test_queued_events_are_read_before_the_end(self) -> None:
        self.put(1)
        self.queue.end()
        assert self.read(1) == ["1"]
        self.failureResultOf(self.queue.get(), Ended)

    def test_the_end_reaches_waiting_readers(self) -> None:
        waiting: Deferred[Event] = self.queue.get()
        self.queue.end(ValueError("why"))
        self.failureResultOf(waiting, ValueError)
        self.queue.begin()
        self.assertNoResult(self.queue.get())
