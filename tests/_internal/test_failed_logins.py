"""Failed logins of each address, against a model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred

from opentera_twisted._internal.failed_logins import (
    FAILURES_PERIOD,
    REMEMBERED_ADDRESSES,
    FailedLogins,
)
from opentera_twisted.gateway.limits import GatewayLimits

ADDRESSES = ("10.0.0.1", "10.0.0.2", "2001:db8::1", "unix")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def begin(failed: FailedLogins, address: str = ADDRESSES[0]) -> Deferred[bool]:
    return Deferred.fromCoroutine(failed.begin(address))


def attempt(failed: FailedLogins, address: str) -> bool:
    """Fail a login if the address may try."""
    begun = begin(failed, address)
    assert begun.called
    if not begun.result:
        return False
    failed.end(address, failed=True)
    return True


@given(
    st.integers(0, 4),
    st.lists(st.tuples(st.sampled_from(ADDRESSES), st.booleans(), st.floats(0, 40)), max_size=60),
)
def test_too_many_failures_in_a_minute_hold_an_address_back(
    limit: int, steps: list[tuple[str, bool, float]]
) -> None:
    clock = Clock()
    failed = FailedLogins(limit, clock)
    times: list[tuple[str, float]] = []
    for address, fails, seconds in steps:
        clock.now += seconds
        if fails and attempt(failed, address):
            times.append((address, clock.now))
        recent = [at for one, at in times if one == address and at > clock.now - FAILURES_PERIOD]
        assert failed.are_too_many(address) == (limit > 0 and len(recent) >= limit)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),  # one customer's network
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
    ],
)
def test_networks_of_ipv6_addresses_share_a_count(one: str, other: str, same: bool) -> None:
    failed = FailedLogins(1, Clock())
    attempt(failed, one)
    assert failed.are_too_many(other) == same


def test_memory_is_bounded_and_the_latest_are_kept() -> None:
    failed = FailedLogins(1, Clock())
    addresses = [f"10.{number >> 8}.{number & 255}.1" for number in range(REMEMBERED_ADDRESSES + 1)]
    for address in addresses:
        attempt(failed, address)
    assert not failed.are_too_many(addresses[0])
    assert failed.are_too_many(addresses[1])
    assert failed.are_too_many(addresses[-1])


@given(
    st.integers(1, 4),
    st.lists(st.sampled_from(["begin", "fail", "succeed", "cancel"]), max_size=40),
)
def test_attempts_in_flight_never_exceed_the_limit(limit: int, steps: list[str]) -> None:
    failed = FailedLogins(limit, Clock())
    attempts: list[Deferred[bool]] = []
    failures = 0
    for step in steps:
        waiting = [pending for pending in attempts if not pending.called]
        deciding = [pending for pending in attempts if pending.called and pending.result]
        if step == "begin":
            attempts.append(begin(failed))
        elif step == "cancel" and waiting:
            attempts.remove(waiting[0])
            waiting[0].addErrback(lambda failure: failure.trap(CancelledError))
            waiting[0].cancel()
        elif step in {"fail", "succeed"} and deciding:
            attempts.remove(deciding[0])
            failures += step == "fail"
            failed.end(ADDRESSES[0], failed=step == "fail")
        called = [pending for pending in attempts if pending.called]
        allowed = sum(bool(done.result) for done in called)
        assert failures + allowed <= limit
        if len(called) < len(attempts):
            assert failures + allowed == limit, "no attempt waits unnecessarily"
            assert failures < limit, "every waiting attempt is decided"


def test_many_waiting_attempts_are_refused_in_turn() -> None:
    failed = FailedLogins(1, Clock())
    attempts = [begin(failed) for _ in range(5000)]
    failed.end(ADDRESSES[0], failed=True)
    assert [pending.result for pending in attempts] == [True] + [False] * 4999
    assert not failed._attempts


def test_a_limit_cannot_be_negative() -> None:
    with pytest.raises(ValueError, match="max_clients"):
        GatewayLimits(max_clients=-1)
