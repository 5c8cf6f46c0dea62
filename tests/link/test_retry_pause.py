"""Retries of refused commands: after a delay, with one log line per cause."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from opentera_twisted.errors import BusError, BusUnavailable, CommandFailed, PermissionDenied
from opentera_twisted.link.retry_pause import RETRY_DELAY, Retry
from tests.helpers.support import log_of

REFUSED = "WRONGTYPE Operation against a key"
AWAY = BusUnavailable("the bus was stopped")


class RetryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.retry = Retry(self.clock, Logger())
        self.log = log_of(self)

    def told(self, *errors: BusError) -> list[str]:
        """Return the log of attempts that fail with these errors."""
        for error in errors:
            self.retry.pause("it waits", error)
        return self.log.items

    def test_a_cause_is_logged_once_with_its_text(self) -> None:
        (told,) = self.told(AWAY, AWAY, AWAY)
        self.assertIn("it waits, trying again: the bus was stopped", told)

    def test_eval_and_evalsha_are_one_cause(self) -> None:
        assert (
            len(self.told(*(CommandFailed(command, REFUSED) for command in ("EVAL", "EVALSHA"))))
            == 1
        )

    def test_another_cause_is_logged(self) -> None:
        assert len(self.told(CommandFailed("EVAL", REFUSED), AWAY)) == 2

    def test_another_missing_right_is_logged(self) -> None:
        needs = ("+evalsha", "+eval", "+eval")
        errors = [PermissionDenied("EVAL", "NOPERM No permissions", right) for right in needs]
        assert len(self.told(*errors)) == 2

    def test_a_cause_is_logged_again_after_a_success(self) -> None:
        self.told(AWAY)
        self.retry.succeeded()
        assert len(self.told(AWAY)) == 2

    def test_the_next_attempt_is_due_after_the_delay(self) -> None:
        pause = self.retry.pause("it waits", AWAY)
        self.assertNoResult(pause)
        self.clock.advance(RETRY_DELAY)
        self.successResultOf(pause)

    def test_one_attempt_is_scheduled_until_it_is_stopped(self) -> None:
        attempts: list[float] = []

        def attempt() -> None:
            attempts.append(self.clock.seconds())
            self.retry.stop()  # too late for this one
            self.retry.later("it waits", AWAY, attempt)

        for _ in range(2):
            self.retry.later("it waits", AWAY, attempt)
        self.clock.pump([RETRY_DELAY] * 3)
        assert len(attempts) == 3
        for _ in range(2):
            self.retry.stop()
        assert not self.clock.getDelayedCalls()
