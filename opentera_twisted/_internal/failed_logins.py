"""Failed logins by address, which limit how often it may guess."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

from attrs import Factory, define
from twisted.internet.defer import Deferred

from opentera_twisted._internal.ip_addresses import network_of

FAILURES_PERIOD: Final = 60.0
"""Seconds over which failed logins are counted."""

REMEMBERED_ADDRESSES: Final = 10_000
"""Maximum number of addresses; above it, the one whose latest failure is oldest is forgotten."""


@define
class _Attempts:
    """Undecided logins of one address, and the logins that wait for them."""

    deciding: int = 0
    waiting: deque[Deferred[None]] = Factory(deque)
    is_waking: bool = False


class FailedLogins:
    """Count each address's failed logins over the last minute, and its undecided logins.

    Logins are decided only while all of them may still fail; the others wait. Simultaneous guesses
    thus stay within the limit, and simultaneous valid keys all pass.

    Args:
        limit: maximum number of failures of an address; 0: no limit.
        now: returns the seconds of a clock that never goes back.
    """

    def __init__(self, limit: int, now: Callable[[], float]) -> None:
        self._limit = limit
        self._now = now
        # Times of failures by address, ordered by the last failure, oldest first.
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._attempts: dict[str, _Attempts] = {}

    def are_too_many(self, address: str) -> bool:
        """Return True if an address has reached the limit."""
        return bool(self._failures) and self._failed(network_of(address)) >= self._limit

    def add(self, address: str) -> None:
        """Count a failure that was decided at once."""
        if self._limit:
            self._add(network_of(address))

    async def begin(self, address: str) -> bool:
        """Wait until a login may be decided.

        Returns:
            True if it may be decided; call `end` afterwards. False if the address has failed too
            often.
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
        """Count a decided login, and wake the waiting ones."""
        if not self._limit:
            return
        network = network_of(address)
        attempts = self._attempts[network]
        attempts.deciding -= 1
        if failed:
            self._add(network)
        if attempts.is_waking:  # a woken login was decided within this call
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
            self._failures.popitem(last=False)
