"""How much the gateway lets clients take, and who has failed to log in too often."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from attrs import field, frozen
from attrs.validators import ge

from opentera_twisted.ip_addresses import network_of

FAILURES_PERIOD: Final = 60.0
"""Seconds over which failed logins are counted."""

REMEMBERED_ADDRESSES: Final = 10_000
"""Addresses whose failed logins are remembered; of more, the one that failed longest ago goes."""


@frozen(kw_only=True)
class GatewayLimits:
    """What a gateway allows; 0 means no limit.

    Attributes:
        max_clients: websockets at a time; as many again may be in their handshake.
        max_clients_per_identity: websockets of one user, participant or device, at this gateway.
        handshake_timeout: seconds from connecting to open.
        max_message_size: bytes of a client's message.
        max_messages_per_minute: messages, fragments of messages, pings and pongs of one client; of
            more it is closed.
        max_send_buffer: bytes that may wait for one client that does not read; then it is closed.
        failed_logins_per_minute: of one address; further attempts are refused unheard.
        shutdown_timeout: seconds that stopping may take.
    """

    max_clients: int = field(default=10_000, validator=ge(0))
    max_clients_per_identity: int = field(default=1_000, validator=ge(0))
    handshake_timeout: float = field(default=10.0, validator=ge(0))
    max_message_size: int = field(default=65_536, validator=ge(0))
    max_messages_per_minute: int = field(default=600, validator=ge(0))
    max_send_buffer: int = field(default=1_048_576, validator=ge(0))
    failed_logins_per_minute: int = field(default=600, validator=ge(0))
    shutdown_timeout: float = field(default=10.0, validator=ge(0))


class FailedLogins:
    """Counts each address's failed logins over the last minute.

    Args:
        limit: how many an address may have; 0: any number.
        now: seconds of a clock that never goes back.
    """

    def __init__(self, limit: int, now: Callable[[], float]) -> None:
        self._limit = limit
        self._now = now
        # In the order of the last failure, the oldest first; each with the times of its failures.
        self._failures: dict[str, deque[float]] = {}

    def are_too_many(self, address: str) -> bool:
        """Whether an address may not try again yet."""
        if not self._failures:
            return False
        failures = self._failures.get(network_of(address))
        if failures is None:
            return False
        while failures and failures[0] <= self._now() - FAILURES_PERIOD:
            failures.popleft()
        return len(failures) >= self._limit

    def add(self, address: str) -> None:
        """A login from an address failed."""
        if not self._limit:
            return
        network = network_of(address)
        failures = self._failures.pop(network, None) or deque(maxlen=self._limit)
        failures.append(self._now())
        self._failures[network] = failures
        if len(self._failures) > REMEMBERED_ADDRESSES:
            del self._failures[next(iter(self._failures))]
