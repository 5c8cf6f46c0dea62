"""One bus for each Redis in a process, shared by all threads and objects.

All functions but `BusLease.close_unused` run in the reactor's thread, so that no lock is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from weakref import WeakSet

from attrs import Factory, define
from twisted.internet.defer import Deferred, DeferredList

from opentera_twisted.bus import DRAIN_TIMEOUT, Bus
from opentera_twisted.errors import BusUnavailable
from opentera_twisted.link import Link, RedisAddress


@define(eq=False)
class _Shared:
    """A bus, and the trigger that stops it with the reactor.

    Attributes:
        users: leases in use, neither closed nor garbage-collected.
        keepers: leases in use with running subscriptions, watches or servers.
    """

    bus: Bus
    trigger: Any
    users: WeakSet[BusLease] = Factory(WeakSet)
    keepers: set[BusLease] = Factory(set)


_CLOSED: Final = "this bus was closed; make another one"

_shared: Final[dict[tuple[RedisAddress, bool], _Shared]] = {}


class BusLease:
    """One object's share in the bus of a Redis, from its first use on.

    Args:
        address: address of the Redis.
        name: name of the bus in Redis's client list, if this lease is the first.
        tracing: as in `Bus`; traced leases share another bus.

    Attributes:
        address: address of the Redis.
        is_closed: True once it is closed.
    """

    def __init__(self, address: RedisAddress, name: str, tracing: bool = False) -> None:
        self.address = address
        self._name = name
        self._tracing = tracing
        self._shared: _Shared | None = None
        self._ends: dict[object, Callable[[], Any]] = {}
        self.is_closed = False

    @property
    def bus(self) -> Bus:
        """The bus, which the first lease creates and starts.

        Raises:
            BusUnavailable: this lease was closed.
        """
        if self.is_closed:
            raise BusUnavailable(_CLOSED)
        if self._shared is None:
            self._shared = _shared.get((self.address, self._tracing)) or self._start()
            self._shared.users.add(self)
            if self.is_closed:  # by another thread, in the meantime
                self.close()
                raise BusUnavailable(_CLOSED)
        return self._shared.bus

    @property
    def link(self) -> Link:
        """The link of the bus; raises like `bus`."""
        return self.bus.link

    def _start(self) -> _Shared:
        from twisted.internet import reactor  # noqa: PLC0415 (importing it installs it)

        bus = Bus(self.address, reactor=reactor, name=self._name, tracing=self._tracing)
        bus.startService()
        trigger = reactor.addSystemEventTrigger("before", "shutdown", bus.stopService)
        shared = _shared[self.address, self._tracing] = _Shared(bus, trigger)
        return shared

    def keep(self, what: object, end: Callable[[], Any]) -> None:
        """Register something to end when this lease is closed."""
        if self.is_closed:
            end()
        else:
            self._ends[what] = end
            if self._shared is not None:
                self._shared.keepers.add(self)

    def forget(self, what: object) -> None:
        """Unregister something that has ended."""
        self._ends.pop(what, None)
        if not self._ends and self._shared is not None:
            self._shared.keepers.discard(self)

    def close_unused(self) -> bool:
        """Close this lease, in any thread, if the bus was not used through it.

        Returns:
            True if it was not; otherwise call `close` in the reactor's thread.
        """
        if self._shared is None:
            self.is_closed = True  # before the next look, because the reactor looks afterwards
        return self._shared is None

    def close(self) -> Deferred[Any]:
        """End everything registered with this lease, and wait up to `DRAIN_TIMEOUT` for its calls.

        The last lease stops the bus.

        Returns:
            Fires when all has ended.
        """
        self.is_closed = True
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        shared, self._shared = self._shared, None
        ends, self._ends = self._ends, {}
        if shared is None:
            return
        ended = DeferredList([end() for end in ends.values()], consumeErrors=True)
        await ended.addTimeout(DRAIN_TIMEOUT, shared.bus.link.clock)
        shared.users.discard(self)
        shared.keepers.discard(self)
        if not shared.users:
            from twisted.internet import reactor  # noqa: PLC0415 (it is running)

            del _shared[self.address, self._tracing]
            reactor.removeSystemEventTrigger(shared.trigger)
            await shared.bus.stopService()
