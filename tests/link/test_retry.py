"""Trying again what Redis did not take: after a while, and told once for each cause."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from opentera_twisted.errors import BusError, BusUnavailable, CommandFailed, PermissionDenied
from opentera_twisted.link.retry import RETRY_DELAY, Retry
from tests.helpers.support import log_of

REFUSED = "WRONGTYPE Operation against a key"
AWAY = BusUnavailable("the bus was stopped")


class RetryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.retry = Retry(self.clock, Logger())
        self.log = log_of(self)

    def told(self, *errors: BusError) -> list[str]:
        """What is logged of attempts that fail with these errors."""
        for error in errors:
            self.retry.pause("it waits", error)
        return self.log.items

    def test_a_cause_is_told_once_and_with_its_text(self) -> None:
        (told,) = self.told(AWAY, AWAY, AWAY)
        self.assertIn("it waits, trying again: the bus was stopped", told)

    def test_a_script_that_was_sent_as_text_before_is_no_other_cause(self) -> None:
        assert len(self.told(*(CommandFailed(one, REFUSED) for one in ("EVAL", "EVALSHA")))) == 1

    def test_another_cause_is_told(self) -> None:
        assert len(self.told(CommandFailed("EVAL", REFUSED), AWAY)) == 2

    def test_another_right_that_is_missing_is_told(self) -> None:
        needs = ("+evalsha", "+eval", "+eval")
        errors = [PermissionDenied("EVAL", "NOPERM No permissions", one) for one in needs]
        assert len(self.told(*errors)) == 2

    def test_the_same_cause_is_told_again_after_an_attempt_that_succeeded(self) -> None:
        self.told(AWAY)
        self.retry.succeeded()
        assert len(self.told(AWAY)) == 2

    def test_the_next_attempt_is_due_after_the_delay(self) -> None:
        pause = self.retry.pause("it waits", AWAY)
        self.assertNoResult(pause)
        self.clock.advance(RETRY_DELAY)
        self.successResultOf(pause)
