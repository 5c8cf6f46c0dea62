"""Delays of a client before it reconnects."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.python.failure import Failure

from opentera_twisted.client.back_off import (
    LONGEST_RETRY_AFTER,
    REBUKED,
    STEADY_AFTER,
    ClientBackOff,
)
from opentera_twisted.errors import HandshakeFailed, WebSocketClosed
from opentera_twisted.link.back_off import FIRST_DELAY, LONGEST_DELAY

BROKE = Failure(WebSocketClosed("broke"))


def test_delays_grow_to_the_maximum() -> None:
    back_off = ClientBackOff(Clock())
    delays = [back_off.delay(BROKE) for _ in range(12)]
    assert delays[0] <= 1.2 * FIRST_DELAY
    assert delays[0] < delays[4] < delays[11] <= LONGEST_DELAY


def test_only_a_lasting_connection_resets_the_delays() -> None:
    clock = Clock()
    back_off = ClientBackOff(clock)
    for _ in range(10):
        back_off.succeeded()
        clock.advance(STEADY_AFTER / 2)
        long = back_off.delay(BROKE)
    assert long > 10 * FIRST_DELAY
    back_off.succeeded()
    clock.advance(STEADY_AFTER)
    assert back_off.delay(BROKE) <= 1.2 * FIRST_DELAY


def test_a_delay_is_skipped_once() -> None:
    back_off = ClientBackOff(Clock())
    back_off.is_skipped = True
    assert back_off.delay(BROKE) == 0.0
    assert back_off.delay(BROKE) > 0.0


def test_a_policy_violation_lengthens_the_delay() -> None:
    for code in (1008, 1009, 1013):
        cause = Failure(WebSocketClosed("closed", code=code))
        assert ClientBackOff(Clock()).delay(cause) >= REBUKED
    for code in (1001, 1006, 1012):
        cause = Failure(WebSocketClosed("closed", code=code))
        assert ClientBackOff(Clock()).delay(cause) < REBUKED


def test_retry_after_is_bounded_and_jittered() -> None:
    asked = Failure(HandshakeFailed("503", status=503, retry_after=5.0))
    delays = {ClientBackOff(Clock()).delay(asked) for _ in range(10)}
    assert len(delays) > 1
    assert min(delays) >= 5.0
    endless = Failure(HandshakeFailed("503", status=503, retry_after=1e9))
    assert ClientBackOff(Clock()).delay(endless) <= 1.5 * LONGEST_RETRY_AFTER


def test_stopping_resets_the_delays() -> None:
    back_off = ClientBackOff(Clock())
    for _ in range(10):
        back_off.delay(BROKE)
    back_off.reset()
    assert back_off.delay(BROKE) <= 1.2 * FIRST_DELAY
