"""`BlockingGatewayClient`: the events of a gateway for scripts, which may block."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final, Self

from twisted.internet.defer import Deferred

from opentera_twisted._internal.clock import clock_of
from opentera_twisted._internal.thread_pool import ThreadPool
from opentera_twisted._internal.timeouts import check_positive, check_timeout
from opentera_twisted.client.address import GatewayAddress
from opentera_twisted.client.client import (
    MAX_PENDING,
    TIMEOUT,
    GatewayClient,
    KeySupplier,
    check_function,
)
from opentera_twisted.client.events import Event
from opentera_twisted.client.queue import Ended
from opentera_twisted.errors import BusUnavailable, ForkedProcess
from opentera_twisted.reactor_thread import in_thread, run, running_reactor

_CLOSED: Final = "this client was closed: make another"


class BlockingGatewayClient:
    """`GatewayClient` for scripts, which block until each event.

    It connects on first use, in a reactor thread that all objects of the process share::

        with BlockingGatewayClient("wss://host/wss/device", supply_key) as client:
            for event in client:
                print(event.name, event.data)

    An event with a true ``is_gap`` means that events may have been missed.

    Args:
        url: as in `GatewayClient`.
        key_supplier: returns a new session key; it is called in a thread, where it may block.
        ca: as in `GatewayClient`.
        verify: as in `GatewayClient`.
        recovery: as in `GatewayClient`.
        timeout: as in `GatewayClient`.
        max_pending: events that may wait for the script; above it, a gap replaces the oldest.

    Raises:
        InvalidArgument: an argument is invalid.

    Example:
        >>> with BlockingGatewayClient("ws://127.0.0.1:40085/wss/device", supply_key) as client:
        ...     client.connected(timeout=600)
        ...     client.next_event(timeout=0.1)
    """

    def __init__(
        self,
        url: str,
        key_supplier: KeySupplier,
        *,
        ca: str | os.PathLike[str] | None = None,
        verify: bool = True,
        recovery: bool = True,
        timeout: float = TIMEOUT,
        max_pending: int = MAX_PENDING,
    ) -> None:
        GatewayAddress.parse(url, ca, verify=verify)
        check_function("key_supplier", key_supplier, 0)
        check_timeout(timeout)
        check_positive("max_pending", max_pending)
        self._threads = ThreadPool("the key supplier of a BlockingGatewayClient", 1)
        self._client: GatewayClient | None = None
        self._is_closed = False
        self._trigger: Any = None

        def make() -> GatewayClient:
            reactor = running_reactor()
            supply = in_thread(reactor, self._threads, "a key supplier", key_supplier)
            return GatewayClient(
                url,
                supply,
                reactor=reactor,
                ca=ca,
                verify=verify,
                recovery=recovery,
                timeout=timeout,
                max_pending=max_pending,
            )

        self._make = make

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event]:
        """Yield each event, until the client is closed.

        Raises:
            Disconnected: the disconnect command has ended the client.
        """
        while not self._is_closed:
            try:
                yield self._do(lambda client: client.next_event())
            except Ended:
                return

    def next_event(self, timeout: float | None = None) -> Event | None:
        """Wait for the next event.

        Args:
            timeout: seconds; None waits indefinitely.

        Returns:
            The event; None if the timeout expired, or the client is closed meanwhile.

        Raises:
            InvalidArgument: the timeout is not a number above 0.
            BusUnavailable: the client was closed before.
            Disconnected: the disconnect command has ended the client.
        """
        if timeout is not None:
            check_timeout(timeout)
        try:
            event: Event | None = self._do(lambda client: _within(timeout, client.next_event()))
        except Ended:
            return None
        return event

    def connected(self, timeout: float | None = None) -> None:
        """Wait until the gateway has subscribed the client to its events.

        Args:
            timeout: seconds; None waits indefinitely.

        Raises:
            InvalidArgument: the timeout is not a number above 0.
            BusUnavailable: the timeout expired, with the reason, or the client was closed.
            Disconnected: the disconnect command has ended the client.
        """
        self._do(lambda client: client.connected(timeout))

    def close(self) -> None:
        """Close the websocket; this happens automatically when the program exits."""
        self._is_closed = True
        if self._client is not None:
            # The reactor may have stopped, with the client, or belong to the parent process.
            with suppress(BusUnavailable, ForkedProcess):
                run(self._stop)
        self._threads.stop()

    def _stop(self) -> Deferred[None]:
        client = self._client
        assert client is not None  # noqa: S101 (`close` has checked it)
        if self._trigger is not None:
            running_reactor().removeSystemEventTrigger(self._trigger)
            self._trigger = None
        return client.stopService()

    def _do(self, method: Callable[[GatewayClient], Deferred[Any]]) -> Any:
        if self._is_closed:
            raise BusUnavailable(_CLOSED)
        return run(lambda: method(self._started()))

    def _started(self) -> GatewayClient:
        """Return the client, in the reactor's thread; the first use makes and starts it."""
        if self._client is None:
            client = self._client = self._make()
            if self._is_closed:  # by another thread, in the meantime
                raise BusUnavailable(_CLOSED)
            client.startService()
            self._trigger = running_reactor().addSystemEventTrigger(
                "before", "shutdown", client.stopService
            )
        return self._client


def _within(timeout: float | None, waiting: Deferred[Event]) -> Deferred[Event | None]:
    """Stop waiting after the timeout in seconds, with None."""
    result: Deferred[Event | None] = waiting  # type: ignore[assignment]  # may be None
    if timeout is None:
        return result
    clock = clock_of(running_reactor())
    return result.addTimeout(timeout, clock, lambda *_: None)
