"""A connection that is always wanted: it is made, and made again after each break.

::

          retry                                                        lost
    down -------> connecting --> authenticating --> restoring --> ready ----> down
     ^ ^----------- unreachable        | failed, lost   |
     +---------------------------------+----------------+

It begins and ends ``idle``; from every state ``stop`` leads there, through ``stopping`` where a
connection has to be closed first. The machine runs on any clock and never gives up.

The link keeps its connections to Redis with it, and the client of the gateway its websocket.
"""

from __future__ import annotations

import random
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

State = Literal["idle", "down", "connecting", "authenticating", "restoring", "ready", "stopping"]

FIRST_DELAY: Final = 0.1
LONGEST_DELAY: Final = 10.0
"""Seconds before a new attempt: the first, and the most that it grows to."""

CONNECT_TIMEOUT: Final = 5.0
"""Seconds that an attempt to connect may take."""


def reconnect_delay(attempts: int) -> float:
    """Seconds to wait after so many attempts in a row have failed, with a jitter of a fifth."""
    delay = min(FIRST_DELAY * 2.0 ** min(attempts, 20), LONGEST_DELAY)
    return min(delay * random.uniform(0.8, 1.2), LONGEST_DELAY)  # noqa: S311 (no secret)


@runtime_checkable  # by which automat finds it
class Connection(Protocol):
    """One connection, from the moment at which its transport stands.

    Attributes:
        connected: true until it is lost.
        transport: what carries it.
    """

    connected: int
    transport: Any

    def close(self) -> None:
        """Begin to close it in good order."""


class BackOff:
    """Delays between attempts, which grow until a connection is ready."""

    def __init__(self) -> None:
        self.attempts = 0

    def delay(self, cause: Failure) -> float:
        """Seconds to wait after one more attempt or connection has ended."""
        delay = reconnect_delay(self.attempts)
        self.attempts += 1
        return delay

    def succeeded(self) -> None:
        """A connection is ready."""
        self.reset()

    def reset(self) -> None:
        """Begin anew, with the shortest delay."""
        self.attempts = 0


class Inputs(Protocol):
    """What can happen to a connection."""

    def start(self) -> None:
        """Begin to connect, and keep at it."""

    def stop(self) -> None:
        """Close the connection and do not open another."""

    def retry(self) -> None:
        """The delay before the next attempt is over."""

    def connected(self, protocol: Connection) -> None:
        """The transport stands."""

    def unreachable(self, failure: Failure) -> None:
        """The attempt to connect failed."""

    def authenticated(self, protocol: Connection) -> None:
        """The other side has let us in."""

    def restored(self, protocol: Connection) -> None:
        """The connection has all that it should have."""

    def failed(self, failure: Failure) -> None:
        """Logging in or restoring failed."""

    def lost(self, failure: Failure) -> None:
        """The connection is gone."""


Prepare = Callable[[Any, Callable[[], None]], Coroutine[Any, Any, None]]
"""Logs in and restores a new `Connection`; calls its second argument once logged in."""


@define(eq=False)
class _Core:
    """What the states share."""

    endpoint: IStreamClientEndpoint
    factory: IProtocolFactory
    clock: IReactorTime
    prepare: Prepare
    on_state: Callable[[State, Failure | None], None]
    back_off: BackOff
    cause: Failure | None = None
    stop_waiters: Waiters[None] = Factory(Waiters)


# What is done on the way into a state; the result is kept with the state.


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
    # A preparation may outlive its connection: what it reports then concerns nobody.
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

    @authenticating.upon(Inputs.failed).loop()
    @restoring.upon(Inputs.failed).loop()
    def give_up_connection(
        _inputs: Inputs, core: _Core, protocol: Connection, failure: Failure
    ) -> None:
        core.cause = failure
        protocol.transport.abortConnection()

    @idle.upon(Inputs.stop).loop()
    def stop_at_once(_inputs: Inputs, core: _Core) -> None:
        _finish(core)

    @down.upon(Inputs.stop).to(idle)
    def stop_waiting(_inputs: Inputs, core: _Core, retry: IDelayedCall) -> None:
        retry.cancel()
        _finish(core)

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
    def closed(_inputs: Inputs, core: _Core, failure: Failure) -> None:  # noqa: ARG001
        _finish(core)

    stopping.upon(Inputs.stop).loop().returns(None)
    stopping.upon(Inputs.failed).loop().returns(None)
    stopping.upon(Inputs.authenticated).loop().returns(None)
    stopping.upon(Inputs.restored).loop().returns(None)
    return machine.build()


def _finish(core: _Core) -> None:
    core.back_off.reset()
    core.on_state("idle", None)
    core.stop_waiters.fire(None)


_machine = _build()


class KeptConnection:
    """Makes a connection, and makes it again whenever it is lost.

    Args:
        endpoint: where to connect.
        factory: makes the protocol of each attempt, whose loss it tells to `lost`.
        clock: for delays.
        prepare: logs in and restores a new connection.
        on_state: told of each state as it is entered, with the cause when it is ``down``.
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
        """Connect, for ever."""
        self._inputs.start()

    def lost(self, cause: Failure) -> None:
        """Take note that the connection is gone."""
        self._inputs.lost(cause)

    def stop(self) -> Deferred[None]:
        """Close the connection and open no other.

        Returns:
            Fires when it is closed.
        """
        stopped = self._core.stop_waiters.wait()
        self._inputs.stop()
        return stopped
