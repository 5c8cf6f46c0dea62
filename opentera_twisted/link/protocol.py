"""The two kinds of Redis connection: txredisapi's protocols with replies matched by order and name.

`CommandProtocol` replaces txredisapi's queue of replies by a plain deque: one Deferred a command,
and no reply can be given to another's command, since a connection that breaks fails all that wait.
`SubscriberProtocol` matches each acknowledgement of a subscription by its channel.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any, Final, Literal

import hiredis
import txredisapi
from attrs import define
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ISSLTransport, ITCPTransport
from twisted.python.failure import Failure

from opentera_twisted.errors import BusError, ConnectionLost, ReadOnlyReplica
from opentera_twisted.link import strangers
from opentera_twisted.link.refusals import refusal
from opentera_twisted.link.statistics import SAMPLED, ConnectionStatistics

Operation = Literal["SUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE"]
"""A command that changes what a connection is subscribed to."""

Argument = bytes | str | int

WRITE_BATCH: Final = 16
"""Commands that are held back at most, to be written to the socket together."""

CHECKS: Final = 8
"""Checks for the answer to a ping within its timeout."""

_ACKNOWLEDGED: Final[dict[bytes, Operation]] = {
    b"subscribe": "SUBSCRIBE",
    b"unsubscribe": "UNSUBSCRIBE",
    b"psubscribe": "PSUBSCRIBE",
    b"punsubscribe": "PUNSUBSCRIBE",
}

Done = Callable[[Any], None]
"""Called once with a reply, or with the `BusError` that took its place; must not raise."""


@define(eq=False)
class _Waiting:
    """A command that was sent: what it was, who waits, and how many replies it still gets."""

    arguments: tuple[Argument, ...]
    done: Done
    replies: int


class CommandProtocol(txredisapi.RedisProtocol):  # type: ignore[misc]  # txredisapi is untyped
    """A connection for commands.

    Args:
        on_lost: called once with the cause, before the waiting commands fail.
        statistics: of this connection and those before it; its own when None.

    Attributes:
        leaves_replicas: end the connection when Redis says that it is a replica.
    """

    leaves_replicas = False

    def __init__(
        self, on_lost: Callable[[Failure], None], statistics: ConnectionStatistics | None = None
    ) -> None:
        super().__init__(charset=None, convertNumbers=False)
        self._on_lost = on_lost
        self._statistics = statistics or ConnectionStatistics()
        self._unsampled = SAMPLED
        self._waiting: deque[_Waiting] = deque()
        self._watch: IDelayedCall | None = None
        self._cause: Failure | None = None
        self._was_heard = False
        self._unsent = 0
        self._socket: FileDescriptor | None = None

    @property
    def _is_secure(self) -> bool:
        """True for a connection with TLS."""
        return bool(ISSLTransport.providedBy(self.transport))

    @property
    def waiting(self) -> int:
        """How many commands wait for their reply."""
        return len(self._waiting)

    def connectionMade(self) -> None:
        """Leave logging in to the owner: txredisapi would give up for good when it fails."""
        self.connected = 1
        if ITCPTransport.providedBy(self.transport):
            # A command does not wait until the other end has acknowledged the one before it.
            self.transport.setTcpNoDelay(True)
        # The socket itself, never what a wrapper such as TLS would lead to behind its back.
        if isinstance(self.transport, FileDescriptor) and not getattr(self.transport, "TLS", False):
            self._socket = self.transport

    def connectionLost(self, reason: Failure) -> None:
        """Fail what waits: whether it was executed is not known."""
        self.connected = 0
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        waiting, self._waiting = self._waiting, deque()
        self._statistics.lost += len(waiting)
        # First the owner: who asks again on a failure then waits for the next connection.
        cause = self._cause or strangers.closed(
            reason,
            is_secure=self._is_secure,
            was_heard=self._was_heard,
        )
        self._on_lost(cause)
        known = "" if cause is reason else f": {cause.getErrorMessage()}"
        for one in waiting:
            one.done(
                ConnectionLost(
                    f"the connection broke while {one.arguments[0]!s} waited for its reply{known}"
                )
            )

    def dataReceived(self, data: bytes) -> None:
        """Hand over each reply; txredisapi would look through all values to convert some."""
        self._was_heard = True
        self._reader.feed(data)
        try:
            while self._cause is None and (reply := self._reader.gets()) is not False:
                self.replyReceived(reply)
        except txredisapi.InvalidData:
            self.abort(strangers.answered(data))

    def close(self) -> None:
        """Close the connection when what was written is sent."""
        self.transport.loseConnection()

    def abort(self, cause: str) -> None:
        """Close the connection at once, for a reason that its loss will name."""
        self._cause = Failure(ConnectionLost(cause))
        self.transport.abortConnection()

    def watch(self, clock: IReactorTime, interval: float, timeout: float) -> None:
        """Ping every ``interval`` seconds; abort when one is not answered for ``timeout`` seconds.

        TCP does not tell of a peer that froze, or of one that went away without a word.

        Count checks, not seconds: the reactor reads between two of them, so a reply that waits
        while a handler blocks the reactor is found before the last check.
        """

        def ping() -> None:
            self._watch = clock.callLater(timeout / CHECKS, check, 1)
            self._unsampled = 1
            # An error is an answer too.
            self.execute_command("PING").addBoth(answered)

        def answered(_: object) -> None:
            if self._watch is not None and self.connected:
                self._watch.cancel()
                self._watch = clock.callLater(interval, ping)

        def check(count: int) -> None:
            if count < CHECKS:
                self._watch = clock.callLater(timeout / CHECKS, check, count + 1)
                return
            self._watch = None
            silent = f"Redis did not answer a ping for {timeout:g} seconds"
            if not self._was_heard:
                silent = strangers.silent(interval + timeout, is_secure=self._is_secure)
            self.abort(silent)

        self._watch = clock.callLater(interval, ping)

    def execute_command(self, *arguments: Argument, **_: Any) -> Deferred[Any]:
        """Send a command.

        Returns:
            Fires with Redis's reply: bytes, int, None or a list of these.

        Fails with:
            CommandFailed: Redis answered with an error.
            ConnectionLost: the connection is, or got, lost.
        """
        result: Deferred[Any] = Deferred()
        self.send(arguments, partial(_fire, result))
        return result

    def send(self, arguments: tuple[Argument, ...], done: Done, replies: int = 1) -> None:
        """Send a command, without a Deferred.

        Args:
            arguments: the command's name and its arguments.
            done: called with the last reply, or with `CommandFailed` or `ConnectionLost`.
            replies: how many there will be.
        """
        if not self.connected:
            done(ConnectionLost(f"not connected; {arguments[0]!s} was not sent"))
            return
        data: bytes = hiredis.pack_command(arguments)  # type: ignore[arg-type]  # its stub says one
        self._statistics.commands[arguments[0]] += 1
        self._unsampled -= 1
        if not self._unsampled:
            done = self._timed(done)
        if not self._waiting:
            data = self._write_at_once(data)
        self._waiting.append(_Waiting(arguments, done, replies))
        if data:
            self.transport.write(data)
            self._unsent += 1
            if self._unsent >= WRITE_BATCH:
                self._write_batch()

    def _timed(self, done: Done) -> Done:
        """The same, with the time that the reply takes counted."""
        self._unsampled = SAMPLED
        began = perf_counter()

        def timed(reply: Any) -> None:
            if not isinstance(reply, ConnectionLost):
                self._statistics.seconds.add(perf_counter() - began)
            done(reply)

        return timed

    def _write_at_once(self, data: bytes) -> bytes:
        """Write to the socket, when nothing can be before it, and return what did not fit.

        The transport would wait for the reactor's next turn, to send together what comes until
        then: good for many commands, and the greater part of the time of one.
        """
        if self._socket is None or self._socket.disconnecting or self._cause is not None:
            return data
        written = self._socket.writeSomeData(data)
        return data[written:] if type(written) is int and written > 0 else data

    def _write_batch(self) -> None:
        """Write to the socket what the transport holds back.

        It would wait until all that was received has been handled: then many calls would move as
        one, and we, Redis and the other end would take turns instead of working at the same time.
        """
        self._unsent = 0
        if self._socket is not None and not self._socket.disconnecting:
            # What fails here fails again in the reactor, which then ends the connection.
            self._socket.doWrite()

    def replyReceived(self, reply: Any) -> None:
        """Give the reply to the command that waits longest."""
        if not self._waiting:
            self.abort("Redis sent a reply that nothing waits for")
            return
        waiting = self._waiting.popleft()
        if isinstance(reply, Exception):
            error = refusal(waiting.arguments, str(reply))
            if self.leaves_replicas and isinstance(error, ReadOnlyReplica):
                self.abort("Redis became a replica")
            self._statistics.refused += 1
            waiting.done(error)
        else:
            waiting.done(reply)


class SubscriberProtocol(CommandProtocol, txredisapi.SubscriberProtocol):  # type: ignore[misc]
    """A connection that receives what is published.

    Args:
        on_lost: called once with the cause, before the waiting commands fail.
        on_message: called with pattern (or None), channel and payload; must not raise.
        on_acknowledged: called with the operation and the channel or pattern.
        statistics: of this connection and those before it; its own when None.
    """

    def __init__(
        self,
        on_lost: Callable[[Failure], None],
        on_message: Callable[[bytes | None, bytes, bytes], None],
        on_acknowledged: Callable[[Operation, bytes], None],
        statistics: ConnectionStatistics | None = None,
    ) -> None:
        super().__init__(on_lost, statistics)
        self.messageReceived = on_message
        self._on_acknowledged = on_acknowledged

    def change(self, operation: Operation, names: Sequence[bytes]) -> Deferred[Any]:
        """Subscribe or unsubscribe several channels or patterns at once.

        Returns:
            Fires when each was acknowledged; ``on_acknowledged`` has been called for each.

        Fails with:
            CommandFailed: Redis refused all of them.
            ConnectionLost: the connection broke first.
        """
        result: Deferred[Any] = Deferred()
        self.send((operation, *names), partial(_fire, result), len(names))
        return result

    def replyReceived(self, reply: Any) -> None:
        """Tell messages from acknowledgements, and these from replies."""
        if type(reply) is list and reply:
            kind = reply[0]
            if kind == b"message":
                self.messageReceived(None, reply[1], reply[2])
                return
            if kind == b"pmessage":
                self.messageReceived(reply[1], reply[2], reply[3])
                return
            operation = _ACKNOWLEDGED.get(kind)
            if operation is not None:
                self._acknowledged(operation, reply[1])
                return
        super().replyReceived(reply)

    def _acknowledged(self, operation: Operation, name: bytes) -> None:
        waiting = self._waiting[0] if self._waiting else None
        # The names of a command are acknowledged in their order.
        expected = waiting and (waiting.arguments[0], waiting.arguments[-waiting.replies])
        if waiting is None or expected != (operation, name):
            # The server may withdraw a subscription by itself, such as after a change of its ACL.
            self.abort("Redis changed a subscription by itself")
            return
        self._on_acknowledged(operation, name)
        waiting.replies -= 1
        if not waiting.replies:
            self._waiting.popleft()
            waiting.done(None)


def _fire(result: Deferred[Any], reply: Any) -> None:
    if isinstance(reply, BusError):
        result.errback(reply)
    else:
        result.callback(reply)
