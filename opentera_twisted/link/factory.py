"""A Redis connection that is kept open."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from opentera_twisted.link.connection import KeptConnection, State
from opentera_twisted.link.protocol import Argument, CommandProtocol

PING_INTERVAL: Final = 5.0
PING_TIMEOUT: Final = 8.0
"""Seconds between pings, and until an unanswered ping ends the connection: 13 in total."""

Prepare = Callable[[CommandProtocol, Callable[[], None]], Coroutine[Any, Any, None]]
"""Logs in and restores a new connection; calls its second argument after the login."""


@frozen
class Probe:
    """The regular test whether a server replies.

    Attributes:
        command: command to send.
        interval: seconds between probes.
        on_probed: called with each reply, or the error in its place, and with None while one is
            late.
    """

    command: tuple[Argument, ...] = ("PING",)
    interval: float = PING_INTERVAL
    on_probed: Callable[[Any], object] = lambda _: None


class ConnectionFactory(Factory):
    """Makes the protocols of one Redis connection, and probes each."""

    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        build: Callable[[Callable[[Failure], None]], CommandProtocol],
        prepare: Prepare,
        on_state: Callable[[State, Failure | None], None],
        probe: Probe | None = None,
    ) -> None:
        self._clock = clock
        self._build = build
        self._prepare = prepare
        self._on_state = on_state
        self._probe = probe or Probe()
        self._kept: KeptConnection | None = None

    def startConnecting(self, endpoint: IStreamClientEndpoint) -> None:
        """Connect to the endpoint, always the same, and keep the connection open."""
        if self._kept is None:
            self._kept = KeptConnection(
                endpoint, self, self._clock, self._prepare_watched, self._on_state
            )
        self._kept.start()

    async def _prepare_watched(
        self, protocol: CommandProtocol, authenticated: Callable[[], None]
    ) -> None:
        probe = self._probe
        protocol.watch(self._clock, probe.interval, PING_TIMEOUT, probe.command, probe.on_probed)
        await self._prepare(protocol, authenticated)

    def disconnect(self) -> Deferred[None]:
        """Close the connection and do not reconnect.

        Returns:
            Fires when it is closed.
        """
        return succeed(None) if self._kept is None else self._kept.stop()

    def buildProtocol(self, addr: IAddress | None) -> CommandProtocol:
        """Make the protocol of a new connection."""
        assert self._kept is not None  # noqa: S101 (it connects)
        protocol = self._build(self._kept.lost)
        protocol.factory = self
        return protocol
