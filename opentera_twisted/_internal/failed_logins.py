"""The failed logins of each address, which bound how often it may guess."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from attrs import Factory, define
from twisted.internet.defer import Deferred

from opentera_twisted._internal.ip_addresses import network_of

FAILURES_PERIOD: Final = 60.0
"""Seconds over which failed logins are counted."""

REMEMBERED_ADDRESSES: Final = 10_000
"""Addresses whose failed logins are remembered; of more, the one that failed longest ago goes."""


@define
class _Attempts:
    """One address's logins that are not decided yet, and those that wait for them."""

    deciding: int = 0
    waiting: deque[Deferred[None]] = Factory(deque)
    is_waking: bool = False


class FailedLogins:
    """Counts each address's failed logins over the last minute, and those that may fail yet.

    As many logins of an address are decided at a time as may still fail. The others wait, so that
    many guesses at once are not more than the limit, and many valid keys at once are all accepted.

    Args:
        limit: how many an address may have; 0: any number.
        now: seconds of a clock that never goes back.
    """

    def __init__(self, limit: int, now: Callable[[], float]) -> None:
        self._limit = limit
        self._now = now
        # In the order of the last failure, the oldest first; each with the times of its failures.
        self._failures: dict[str, deque[float]] = {}
        self._attempts: dict[str, _Attempts] = {}

    def are_too_many(self, address: str) -> bool:
        """Whether an address may not try again yet."""
        return bool(self._failures) and self._failed(network_of(address)) >= self._limit

    def add(self, address: str) -> None:
        """Count a failure of an address that was decided at once."""
        if self._limit:
            self._add(network_of(address))

    async def begin(self, address: str) -> bool:
        """Wait until a login may be decided.

        Returns:
            Whether it may be: call `end` when it is. If not, the address has failed too often.
        """
        if not self._limit:
            return True
        network = network_of(address)
        while (failed := self._failed(network)) < self._limit:
            attempts = self._attempts.get(network)
            if attempts is None:
                attempts = self._attempts[network] = _Attempts()
            if failed + attempts.deciding < self._limit:
                attempts.deciding += 1
                return True
            waiting: Deferred[None] = Deferred(attempts.waiting.remove)
            attempts.waiting.append(waiting)
            await waiting
        return False

    def end(self, address: str, *, failed: bool) -> None:
        """Count a login that was decided, and let others be decided."""
        if not self._limit:
            return
        network = network_of(address)
        attempts = self._attempts[network]
        attempts.deciding -= 1
        if failed:
            self._add(network)
        if attempts.is_waking:  # one that was woken is decided already
            return
        attempts.is_waking = True
        while attempts.waiting:
            count = self._failed(network)
            if count < self._limit <= count + attempts.deciding:
                break
            attempts.waiting.popleft().callback(None)
        attempts.is_waking = False
        if not attempts.deciding:
            del self._attempts[network]

    def _failed(self, network: str) -> int:
        """Count the failures of the last minute."""
        failures = self._failures.get(network)
        if failures is None:
            return 0
        while failures and failures[0] <= self._now() - FAILURES_PERIOD:
            failures.popleft()
        return len(failures)

    def _add(self, network: str) -> None:
        failures = self._failures.pop(network, None) or deque(maxlen=self._limit)
        failures.append(self._now())
        self._failures[network] = failures
        if len(self._failures) > REMEMBERED_ADDRESSES:
            del self._failures[next(iter(self._failures))]
