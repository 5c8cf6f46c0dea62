"""`GatewayClient`: a websocket to a gateway that reconnects by itself, and its events."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NoReturn

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from opentera_twisted._internal import callbacks
from opentera_twisted._internal.clock import clock_of
from opentera_twisted._internal.timeouts import check_positive, check_timeout
from opentera_twisted._internal.waiters import Waiters
from opentera_twisted.client.address import GatewayAddress
from opentera_twisted.client.back_off import ClientBackOff
from opentera_twisted.client.events import BadFrame, Event, events_of, gap, read_frame
from opentera_twisted.client.login import SUBPROTOCOL, Login
from opentera_twisted.client.queue import Ended, EventQueue
from opentera_twisted.client.websocket import DISCONNECTED, GatewayFactory, GatewayProtocol
from opentera_twisted.errors import (
    BusUnavailable,
    Disconnected,
    HandshakeFailed,
    InvalidArgument,
    KeySupplierFailed,
    WebSocketClosed,
)
from opentera_twisted.link.connection import KeptConnection, State

KeySupplier = Callable[[], str | Awaitable[str]]
"""Returns a new session key: a function, which may be a coroutine function or return a Deferred."""

Handler = Callable[[Event], Any]
OnGap = Callable[[], Any]

TIMEOUT: Final = 15.0
"""Seconds for the key supplier, for connecting, and for the handshake, each."""

MAX_PENDING: Final = 1000
"""Default number of events that may wait for ``async for``."""

MAX_MESSAGE_SIZE: Final = 16_777_216
"""Default maximum size of a frame in bytes."""


class GatewayClient(Service):
    """A websocket to a gateway that reconnects by itself and recovers missed events if possible.

    Pass a handler, or read it with ``async for``::

        client = GatewayClient("wss://host/wss/device", supply_key, on_event, on_gap)
        client.startService()

        async for event in GatewayClient("wss://host/wss/device", supply_key): ...

    A gateway with recovery repeats the events missed during a break, without a new session key.
    After any other break, ``on_gap`` is called: reload the state that events keep up to date.

    Args:
        url: URL of the gateway's websocket, such as ``wss://host/wss/device``, without a key.
        key_supplier: returns a new session key, or a coroutine or Deferred of one. It is called
            when the gateway needs one: at first, and after a break that outlasts the recovery.
        on_event: called with each `Event`; None when the program reads with ``async for``.
        on_gap: called without arguments when the connection is restored and events may have been
            missed. Without it, ``async for`` yields an event with a true ``is_gap``, and a client
            with ``on_event`` learns of no gap.
        reactor: reactor to use; None uses the global reactor.
        on_change: called without arguments when ``is_connected`` or ``error`` has changed.
        ca: file of the certificates to trust, in PEM; None trusts the system's.
        verify: check the gateway's certificate. Without it, an attacker on
            the network path can read the key.
        recovery: ask the gateway to repeat missed events.
        timeout: seconds for the key supplier, for connecting, and for the handshake, each.
        max_pending: events that may wait for ``async for``; above it, a gap replaces the oldest.
        max_message_size: maximum size of a frame in bytes.

    Raises:
        InvalidArgument: an argument is invalid.

    Source: docs/reference/wire.md.

    Example:
        >>> client = GatewayClient("ws://127.0.0.1:40085/wss/device", supply_key)
        >>> client.startService()
        >>> await client.connected()
        >>> topic = f"websocket.device.{UUID}.events"
        >>> receivers = await bus.publish_event(topic, DeviceEvent(device_name="Robot"))
        >>> (await client.next_event()).data["deviceName"]
        'Robot'
    """

    _log = Logger()

    def __init__(
        self,
        url: str,
        key_supplier: KeySupplier,
        on_event: Handler | None = None,
        on_gap: OnGap | None = None,
        reactor: Any = None,
        *,
        on_change: Callable[[], Any] | None = None,
        ca: str | os.PathLike[str] | None = None,
        verify: bool = True,
        recovery: bool = True,
        timeout: float = TIMEOUT,
        max_pending: int = MAX_PENDING,
        max_message_size: int = MAX_MESSAGE_SIZE,
    ) -> None:
        if reactor is None:
            from twisted.internet import reactor  # noqa: PLC0415 (importing it installs it)
        self._address = GatewayAddress.parse(url, ca, verify=verify)
        check_function("key_supplier", key_supplier, 0)
        if on_event is not None:
            check_function("on_event", on_event, 1)
        for name, function in (("on_gap", on_gap), ("on_change", on_change)):
            if function is not None:
                check_function(name, function, 0)
        check_timeout(timeout)
        check_positive("max_pending", max_pending)
        check_positive("max_message_size", max_message_size)
        self._on_event = on_event
        self._on_gap = on_gap
        self._on_change = on_change
        self._clock = clock_of(reactor)
        self._login = Login()
        self._back_off = ClientBackOff(self._clock)
        self._queue = EventQueue(max_pending)
        self._factory = GatewayFactory(
            self._address, self._login, self._clock, timeout, max_message_size, recovery
        )
        self._factory.received = self._received
        self._factory.lost = self._lost
        endpoint = _KeyedEndpoint(
            self._address.endpoint(reactor, timeout),
            self._login,
            self._clock,
            lambda: self._ask(key_supplier, timeout),
        )
        self._connection = KeptConnection(
            endpoint, self._factory, self._clock, self._prepare, self._entered, self._back_off
        )
        self._first_frame: Deferred[Mapping[str, Any]] | None = None
        self._waiting: Waiters[None] = Waiters()
        self._is_ready = False
        self._has_gap = False
        self._has_warned = False  # of a frame of this connection
        self._has_ended = False
        self._error: BaseException | None = None
        self._change: IDelayedCall | None = None
        self._told = ""
        if not verify:
            self._log.warn("not checking the certificate of {address}", address=self._address)

    @property
    def is_connected(self) -> bool:
        """True while the gateway has subscribed this client to its events."""
        return self._is_ready

    @property
    def error(self) -> BaseException | None:
        """Reason why the client is not connected, if known; None when it is connected."""
        return self._error

    def startService(self) -> None:
        """Connect, and keep the connection open; if the client is stopping, connect afterwards."""
        if self.running:
            return
        super().startService()
        self._has_ended = False
        self._queue.begin()
        self._connection.start()

    def stopService(self) -> Deferred[None]:
        """Close the websocket with code 1000.

        Returns:
            Fires when it is closed.
        """
        if not self.running:
            return self._connection.stop()  # an earlier stop may not have closed it yet
        super().stopService()
        return self._end(None)

    def connected(self, timeout: float | None = None) -> Deferred[None]:
        """Wait until the gateway has subscribed this client to its events.

        Args:
            timeout: seconds; None waits indefinitely.

        Returns:
            Fires when the client is connected.

        Raises:
            InvalidArgument: the timeout is not a number above 0.

        Fails with:
            BusUnavailable: the timeout expired, with the reason, or the client was stopped.
            Disconnected: the disconnect command has ended the client.
        """
        if timeout is not None:
            check_timeout(timeout)
        if self._is_ready:
            return succeed(None)
        if self._has_ended:
            return fail(self._error or BusUnavailable("the client was stopped"))
        waiting = self._waiting.wait()
        if timeout is None:
            return waiting

        def late(_: object, seconds: float) -> NoReturn:
            raise self._unavailable(seconds) from self._error

        return waiting.addTimeout(timeout, self._clock, late)

    def _unavailable(self, seconds: float) -> BusUnavailable:
        why = f": {self._error}" if self._error is not None else ""
        if not self.running:
            why = ": the client was not started; call its startService(), or give it a parent"
        return BusUnavailable(
            f"not connected to {self._address} within {seconds:g} seconds{why}", seconds=seconds
        )

    def next_event(self) -> Deferred[Event]:
        """Wait for the next event of a client without ``on_event``.

        Returns:
            Fires with the event; a true ``is_gap`` means that events may have been missed.

        Raises:
            InvalidArgument: this client calls a handler.

        Fails with:
            Disconnected: the disconnect command has ended the client.
            opentera_twisted.client.queue.Ended: the client was stopped.
        """
        if self._on_event is not None:
            raise InvalidArgument(
                "this client calls its on_event: leave that out to read events with async for"
            )
        return self._queue.get()

    def __aiter__(self) -> GatewayClient:
        return self

    async def __anext__(self) -> Event:
        if not (self.running or self._has_ended):
            self.startService()
        try:
            return await self.next_event()
        except Ended:
            raise StopAsyncIteration from None

    # --- connecting

    async def _ask(self, supplier: KeySupplier, timeout: float) -> None:
        try:
            asking: Deferred[Any] = maybeDeferred(lambda: callbacks.outcome(supplier()))
            key = await asking.addTimeout(timeout, self._clock)
            self._login.supply(key)
        except DeferredTimeout:
            raise KeySupplierFailed(
                f"the key supplier returned no key within {timeout:g} seconds"
            ) from None
        except BaseException as error:
            raise KeySupplierFailed(
                f"the key supplier failed: {str(error) or type(error).__name__}"
            ) from error

    async def _prepare(self, protocol: GatewayProtocol, open_: Callable[[], None]) -> None:
        self._first_frame = None
        self._has_warned = False
        subprotocol = await protocol.opened
        self._login.key_used()
        open_()
        frame = None
        if subprotocol == SUBPROTOCOL:
            first_frame = self._first_frame = Deferred()
            frame = await first_frame
        try:
            self._has_gap = self._login.begin(frame)
        except BadFrame as error:
            raise HandshakeFailed(f"the gateway began with {error}") from None
        protocol.settled()

    def _entered(self, state: State, cause: Failure | None) -> None:
        was_ready, self._is_ready = self._is_ready, state == "ready"
        if not self._has_ended and (self._is_ready or was_ready or cause is not None):
            self._change_later()
        if cause is not None:
            self._error = cause.value
            self._tell(cause)
        if not self._is_ready:
            return
        self._error = None
        self._told = ""
        self._log.info("connected to {address}", address=self._address)
        if self._has_gap:
            self._gap()
        self._waiting.fire(None)

    def _change_later(self) -> None:
        """Call ``on_change`` outside of the state machine, where it may stop the client."""
        if self._change is None:
            self._change = self._clock.callLater(0, self._changed)

    def _changed(self) -> None:
        self._change = None
        if self._on_change is not None:
            callbacks.run("on_change of a GatewayClient", self._on_change)

    def _tell(self, cause: Failure) -> None:
        text = cause.getErrorMessage()
        if text != self._told:  # an outage is logged once, not at each attempt
            self._told = text
            self._log.warn(
                "no websocket to {address}, trying again: {cause}",
                address=self._address,
                cause=text,
            )

    def _lost(self, protocol: GatewayProtocol, cause: Failure) -> None:
        error = cause.value
        self._login.broke(self._clock.seconds())
        if protocol.is_unreadable:
            self._login.forget_token()
        if protocol.refusal_status:
            self._back_off.is_skipped = self._login.refused(protocol.refusal_status)
        elif isinstance(error, HandshakeFailed):
            self._login.key_used()
        if isinstance(error, WebSocketClosed) and error.code == DISCONNECTED:
            self._log.info("ended by the disconnect command at {address}", address=self._address)
            self._end(Disconnected(str(error), code=error.code, reason=error.reason))
            self._change_later()
        self._connection.lost(cause)

    def _end(self, error: Disconnected | None) -> Deferred[None]:
        self._has_ended = True
        self._is_ready = False
        self._error = error
        if self._change is not None:
            self._change.cancel()
            self._change = None
        stopped = self._connection.stop()
        self._login.forget()
        # Their callbacks may start the client again, and wait anew.
        waiting, self._waiting = self._waiting, Waiters()
        self._queue.end(error)
        waiting.fail(error or BusUnavailable("the client was stopped"))
        return stopped

    # --- frames

    def _received(self, payload: bytes, is_binary: bool) -> None:
        try:
            if is_binary:
                raise BadFrame("a binary frame")
            frame = read_frame(payload)
            if self._first_frame is not None:
                first_frame, self._first_frame = self._first_frame, None
                first_frame.callback(frame)
                return
            if not self._is_ready:
                return  # it was given up or stopped, and this was read with its last frames
            events = events_of(frame)
        except BadFrame as error:
            if not self._has_warned:
                self._has_warned = True
                self._log.warn(
                    "dropped a frame of {address}, the first of this connection: {error}",
                    address=self._address,
                    error=str(error),
                )
            return
        self._login.received += 1
        for event in events:
            if not self._is_ready:
                return  # a handler has stopped it
            if self._on_event is None:
                self._queue.put(event)
            else:
                callbacks.run("the handler of a GatewayClient", self._on_event, event)

    def _gap(self) -> None:
        if self._on_gap is not None:
            callbacks.run("on_gap of a GatewayClient", self._on_gap)
        elif self._on_event is None:
            self._queue.put(gap())


@implementer(IStreamClientEndpoint)
@frozen
class _KeyedEndpoint:
    """An endpoint that has a session key before it connects, when the login needs one."""

    endpoint: IStreamClientEndpoint
    login: Login
    clock: IReactorTime
    ask: Callable[[], Awaitable[None]]

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Ask for a key if that is needed, and connect."""
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        self.login.expire(self.clock.seconds())
        if self.login.needs_key:
            await self.ask()
        try:
            protocol: IProtocol = await self.endpoint.connect(factory)
        except BaseException:
            self.login.unreachable()
            raise
        return protocol


def check_function(name: str, function: object, count: int) -> None:
    """Check that an argument can be called; the error does not repeat it, as it may be a key.

    Args:
        name: name of the argument.
        function: the argument.
        count: number of values that it is called with: an `Event`, or none.

    Raises:
        InvalidArgument: it cannot be called so.
    """
    if not callable(function):
        raise InvalidArgument(f"{name} must be a function, not {type(function).__name__}")
    if not callbacks.accepts(function, count):
        what = "one argument, an Event" if count else "no argument"
        raise InvalidArgument(f"{name} must be callable with {what}")
