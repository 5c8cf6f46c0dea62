"""A connection that is kept open: connect, and reconnect after each break.

::

          retry                                                        lost
    down -------> connecting --> authenticating --> restoring --> ready ----> down
     ^ ^----------- unreachable        | failed, lost   |
     +---------------------------------+----------------+

It starts and ends in ``idle``; ``stop`` leads there from every state. An open connection is closed
first, in ``stopping``; a ``start`` meanwhile connects afterwards. The machine runs on any clock and
never gives up.

The link keeps its Redis connections with it, and the gateway client its websocket.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, Literal, Protocol, runtime_checkable

from attrs import Factory, define
from automat import TypeMachineBuilder
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.python.failure import Failure

from opentera_twisted._internal.waiters import Waiters
from opentera_twisted.link.back_off import BackOff

State = Literal["idle", "down", "connecting", "authenticating", "restoring", "ready", "stopping"]

CONNECT_TIMEOUT: Final = 5.0
"""Seconds until an attempt to connect fails."""


@runtime_checkable  # automat needs it
class Connection(Protocol):
    """A connection whose transport is open.

    Attributes:
        connected: true until the connection is lost.
        transport: transport of the connection.
    """

    connected: int
    transport: Any

    def close(self) -> None:
        """Begin to close the connection after sending pending data."""


class Inputs(Protocol):
    """Inputs of the state machine."""

    def start(self) -> None:
        """Connect, and keep the connection open; while it is closed, connect afterwards."""

    def stop(self) -> None:
        """Close the connection and do not reconnect."""

    def retry(self) -> None:
        """The delay before the next attempt has ended."""

    def connected(self, protocol: Connection) -> None:
        """The transport is open."""

    def unreachable(self, failure: Failure) -> None:
        """The attempt to connect has failed."""

    def authenticated(self, protocol: Connection) -> None:
        """The server has accepted the login."""

    def restored(self, protocol: Connection) -> None:
        """The state of the connection is restored."""

    def failed(self, failure: Failure) -> None:
        """The login or the restoration has failed."""

    def lost(self, failure: Failure) -> None:
        """The connection is lost."""


Prepare = Callable[[Any, Callable[[], None]], Coroutine[Any, Any, None]]
"""Logs in and restores a new `Connection`; calls its second argument after the login."""


@define(eq=False)
class _Core:
    """Data shared by the states."""

    endpoint: IStreamClientEndpoint
    factory: IProtocolFactory
    clock: IReactorTime
    prepare: Prepare
    on_state: Callable[[State, Failure | None], None]
    back_off: BackOff
    cause: Failure | None = None
    is_wanted: bool = False
    stop_waiters: Waiters[None] = Factory(Waiters)


# Functions called on entering a state; the machine keeps each result with the state.


def _wait(inputs: Inputs, core: _Core, failure: Failure) -> IDelayedCall:
    cause, core.cause = core.cause or failure, None
    call = core.clock.callLater(core.back_off.delay(cause), inputs.retry)
    core.on_state("down", cause)
    return call


def _attempt(inputs: Inputs, core: _Core) -> Deferred[Any]:
    core.on_state("connecting", None)
    attempt: Deferred[Any] = core.endpoint.connect(core.factory)
    attempt.addCallbacks(inputs.connected, inputs.unreachable)
    return attempt


def _prepare(inputs: Inputs, core: _Core, protocol: Connection) -> Connection:
    # Ignore the result of a preparation that outlives its connection.
    def authenticated() -> None:
        if protocol.connected:
            inputs.authenticated(protocol)

    def restored(_: None) -> None:
        if protocol.connected:
            inputs.restored(protocol)

    def failed(failure: Failure) -> None:
        if protocol.connected:
            inputs.failed(failure)

    core.on_state("authenticating", None)
    preparation = Deferred.fromCoroutine(core.prepare(protocol, authenticated))
    preparation.addCallbacks(restored, failed)
    return protocol


def _restore(_inputs: Inputs, core: _Core, protocol: Connection) -> Connection:
    core.on_state("restoring", None)
    return protocol


def _serve(_inputs: Inputs, core: _Core, protocol: Connection) -> Connection:
    core.back_off.succeeded()
    core.on_state("ready", None)
    return protocol


def _build() -> Callable[[_Core], Inputs]:
    machine = TypeMachineBuilder(Inputs, _Core)

    idle = machine.state("idle")
    connecting = machine.state("connecting", _attempt)
    authenticating = machine.state("authenticating", _prepare)
    restoring = machine.state("restoring", _restore)
    ready = machine.state("ready", _serve)
    down = machine.state("down", _wait)
    stopping = machine.state("stopping")

    idle.upon(Inputs.start).to(connecting).returns(None)
    connecting.upon(Inputs.connected).to(authenticating).returns(None)
    connecting.upon(Inputs.unreachable).to(down).returns(None)
    authenticating.upon(Inputs.authenticated).to(restoring).returns(None)
    restoring.upon(Inputs.restored).to(ready).returns(None)
    authenticating.upon(Inputs.lost).to(down).returns(None)
    restoring.upon(Inputs.lost).to(down).returns(None)
    ready.upon(Inputs.lost).to(down).returns(None)
    down.upon(Inputs.retry).to(connecting).returns(None)
    for started in (connecting, authenticating, restoring, ready, down):
        started.upon(Inputs.start).loop().returns(None)

    @authenticating.upon(Inputs.failed).loop()
    @restoring.upon(Inputs.failed).loop()
    def give_up_connection(
        _inputs: Inputs, core: _Core, protocol: Connection, failure: Failure
    ) -> None:
        core.cause = failure
        protocol.transport.abortConnection()

    @idle.upon(Inputs.stop).loop()
    def stop_at_once(inputs: Inputs, core: _Core) -> None:
        _finish(inputs, core)

    @down.upon(Inputs.stop).to(idle)
    def stop_waiting(inputs: Inputs, core: _Core, retry: IDelayedCall) -> None:
        retry.cancel()
        _finish(inputs, core)

    @connecting.upon(Inputs.stop).to(stopping)
    def cancel_attempt(_inputs: Inputs, core: _Core, attempt: Deferred[Any]) -> None:
        core.on_state("stopping", None)
        attempt.cancel()

    @authenticating.upon(Inputs.stop).to(stopping)
    @restoring.upon(Inputs.stop).to(stopping)
    def close_at_once(_inputs: Inputs, core: _Core, protocol: Connection) -> None:
        core.on_state("stopping", None)
        protocol.transport.abortConnection()

    @ready.upon(Inputs.stop).to(stopping)
    def close(_inputs: Inputs, core: _Core, protocol: Connection) -> None:
        core.on_state("stopping", None)
        protocol.close()

    @stopping.upon(Inputs.connected).loop()
    def close_late_connection(_inputs: Inputs, _core: _Core, protocol: Connection) -> None:
        protocol.transport.abortConnection()

    @stopping.upon(Inputs.lost).to(idle)
    @stopping.upon(Inputs.unreachable).to(idle)
    def closed(inputs: Inputs, core: _Core, failure: Failure) -> None:  # noqa: ARG001
        _finish(inputs, core)

    stopping.upon(Inputs.start).loop().returns(None)
    stopping.upon(Inputs.stop).loop().returns(None)
    stopping.upon(Inputs.failed).loop().returns(None)
    stopping.upon(Inputs.authenticated).loop().returns(None)
    stopping.upon(Inputs.restored).loop().returns(None)
    return machine.build()


def _finish(inputs: Inputs, core: _Core) -> None:
    core.back_off.reset()
    core.cause = None
    core.on_state("idle", None)
    if core.is_wanted:  # started again meanwhile
        inputs.start()
    core.stop_waiters.fire(None)


_machine = _build()


class KeptConnection:
    """Keep a connection open, and reconnect whenever it is lost.

    Args:
        endpoint: endpoint to connect to.
        factory: makes the protocol of each attempt; the protocol reports its loss to `lost`.
        clock: clock for delays.
        prepare: logs in and restores a new connection.
        on_state: called with each state on entering it, and with the cause of ``down``.
        back_off: delays between attempts.
    """

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        factory: IProtocolFactory,
        clock: IReactorTime,
        prepare: Prepare,
        on_state: Callable[[State, Failure | None], None],
        back_off: BackOff | None = None,
    ) -> None:
        self._core = _Core(endpoint, factory, clock, prepare, on_state, back_off or BackOff())
        self._inputs = _machine(self._core)

    def start(self) -> None:
        """Connect, and keep the connection open; while it is closed, connect afterwards."""
        self._core.is_wanted = True
        self._inputs.start()

    def lost(self, cause: Failure) -> None:
        """Report that the connection is lost."""
        self._inputs.lost(cause)

    def stop(self) -> Deferred[None]:
        """Close the connection and do not reconnect.

        Returns:
            Fires when it is closed.
        """
        self._core.is_wanted = False
        stopped = self._core.stop_waiters.wait()
        self._inputs.stop()
        return stopped
