"""`ThreadLogPublisher`: log messages of programs whose reactor may not run yet, or at all."""

from __future__ import annotations

from typing import Any

from opentera_twisted.link import RedisAddress
from opentera_twisted.logs import MOST_WAITING, LogPublisher
from opentera_twisted.reactor_thread.running import running_reactor
from opentera_twisted.reactor_thread.shared_bus import BusLease


class ThreadLogPublisher(LogPublisher):
    """A `LogPublisher` that does not start the reactor; without one, a thread sends.

    So a program can log before it forks, and use the bus afterwards.
    """

    def __init__(self, lease: BusLease, sender: str, most_waiting: int = MOST_WAITING) -> None:
        super().__init__(lease, sender, most_waiting)
        self._address = lease.address

    @property
    def address(self) -> RedisAddress:
        """Address of the Redis that holds the lists."""
        return self._address

    @property
    def reactor(self) -> Any:
        """The reactor of this process while it runs, or None."""
        return running_reactor()
