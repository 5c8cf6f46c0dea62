"""The two kinds of Redis connection: replies are matched by order, acknowledgements by name.

`CommandProtocol` has one queue entry per command. A broken connection fails all entries, so that no
command receives another's reply. `SubscriberProtocol` matches each acknowledgement of a
subscription by its channel.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any, Final, Literal

import hiredis
from attrs import define
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ISSLTransport, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from opentera_twisted.errors import BusError, ConnectionLost, PermissionDenied, ReadOnlyReplica
from opentera_twisted.link import strangers
from opentera_twisted.link.error_replies import refusal
from opentera_twisted.link.statistics import SAMPLED, ConnectionStatistics

Operation = Literal[
    "SUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE", "SSUBSCRIBE", "SUNSUBSCRIBE"
]
"""A command that changes the subscriptions of a connection; those with S are for a cluster."""

Argument = bytes | str | int

WRITE_BATCH: Final = 16
"""Maximum number of commands delayed to write them to the socket together."""

CHECKS: Final = 8
"""Number of checks for the reply within the timeout of a ping."""

_ACKNOWLEDGED: Final[dict[bytes, Operation]] = {
    b"subscribe": "SUBSCRIBE",
    b"unsubscribe": "UNSUBSCRIBE",
    b"psubscribe": "PSUBSCRIBE",
    b"punsubscribe": "PUNSUBSCRIBE",
    b"ssubscribe": "SSUBSCRIBE",
    b"sunsubscribe": "SUNSUBSCRIBE",
}

Done = Callable[[Any], None]
"""Called once with a reply, or with a `BusError` in its place; must not raise."""

Review = Callable[[tuple[Argument, ...], Done, Any], None]
"""Called with a command, its `Done` and an error or 0, in place of the `Done`."""


@define(eq=False)
class _Waiting:
    """A sent command.

    Attributes:
        replies: number of replies still expected.
        began: time of sending by ``perf_counter``; 0 for a command that is not timed.
    """

    arguments: tuple[Argument, ...]
    done: Done
    replies: int
    review: Review | None
    began: float = 0.0


class CommandProtocol(Protocol):
    """A connection for commands.

    Args:
        on_lost: called once with the cause, before the pending commands fail.
        statistics: counts of this and earlier connections; None counts separately.

    Attributes:
        leaves_replicas: close the connection when Redis reports that it is a replica.
    """

    leaves_replicas = False
    transport: Any  # of any kind: TCP, TLS, a Unix socket, memory

    def __init__(
        self, on_lost: Callable[[Failure], None], statistics: ConnectionStatistics | None = None
    ) -> None:
        self._reader = hiredis.Reader()
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
        """Number of pending commands."""
        return len(self._waiting)

    def connectionMade(self) -> None:
        """Prepare the socket; the owner logs in."""
        self.connected = 1
        if ITCPTransport.providedBy(self.transport):
            # Send a command before the acknowledgement of the previous TCP segment.
            self.transport.setTcpNoDelay(True)
        # Use only a plain socket: a wrapper such as TLS must not be bypassed.
        if isinstance(self.transport, FileDescriptor) and not getattr(self.transport, "TLS", False):
            self._socket = self.transport

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail the pending commands, which Redis may or may not have executed."""
        self.connected = 0
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        waiting, self._waiting = self._waiting, deque()
        self._statistics.lost += len(waiting)
        # Notify the owner first, so that a retry from an errback waits for the next connection.
        cause = self._cause or strangers.closed(
            reason,
            is_secure=self._is_secure,
            was_heard=self._was_heard,
        )
        self._on_lost(cause)
        known = "" if cause is reason else f": {cause.getErrorMessage()}"
        for command in waiting:
            command.done(
                ConnectionLost(
                    f"the connection broke while {command.arguments[0]!s} waited for a reply{known}"
                )
            )

    def dataReceived(self, data: bytes) -> None:
        """Pass on each reply."""
        self._was_heard = True
        self._reader.feed(data)
        try:
            while self._cause is None and (reply := self._reader.gets()) is not False:
                self.replyReceived(reply)
        except hiredis.ProtocolError:
            self.abort(strangers.answered(data))

    def close(self) -> None:
        """Close the connection after sending pending data."""
        self.transport.loseConnection()

    def abort(self, cause: str) -> None:
        """Close the connection at once, with the cause to report for its loss."""
        self._cause = Failure(ConnectionLost(cause))
        self.transport.abortConnection()

    def watch(
        self,
        clock: IReactorTime,
        interval: float,
        timeout: float,
        probe: tuple[Argument, ...] = ("PING",),
        on_probed: Callable[[Any], object] = lambda _: None,
    ) -> None:
        """Send a probe every ``interval`` seconds; abort if none is answered for ``timeout``.

        TCP does not report a peer that froze or disappeared.

        Args:
            clock: clock of the intervals.
            interval: seconds from a reply to the next probe.
            timeout: seconds to wait for a reply.
            probe: the command; a PING replaces one that the user may not run.
            on_probed: called with each reply, or the error in its place, and with None at each
                check that finds none.

        It counts checks, not seconds: the reactor reads between two checks, so that it finds a
        reply that arrived while a handler blocked the reactor.
        """

        def ping() -> None:
            self._watch = clock.callLater(timeout / CHECKS, check, 1)
            self._unsampled = 1
            self.send(probe, answered)

        def answered(reply: Any) -> None:
            nonlocal probe
            if self._watch is not None and self.connected:  # an error is a reply too
                self._watch.cancel()
                self._watch = clock.callLater(interval, ping)
                if isinstance(reply, PermissionDenied):
                    probe = ("PING",)
                on_probed(reply)

        def check(count: int) -> None:
            if count < CHECKS:
                self._watch = clock.callLater(timeout / CHECKS, check, count + 1)
                on_probed(None)
                return
            self._watch = None
            silent = f"Redis did not answer a ping for {timeout:g} seconds"
            if not self._was_heard:
                silent = strangers.silent(interval + timeout, is_secure=self._is_secure)
            self.abort(silent)

        self._watch = clock.callLater(interval, ping)

    def execute_command(self, *arguments: Argument) -> Deferred[Any]:
        """Send a command.

        Returns:
            Fires with Redis's reply: bytes, int, None or a list of these.

        Fails with:
            CommandFailed: Redis answered with an error.
            ConnectionLost: the connection is lost, now or before the reply.
        """
        result: Deferred[Any] = Deferred()
        self.send(arguments, partial(fire, result))
        return result

    def send(
        self,
        arguments: tuple[Argument, ...],
        done: Done,
        replies: int = 1,
        fence: bytes = b"",
        review: Review | None = None,
    ) -> None:
        """Send a command without a Deferred.

        Args:
            arguments: name of the command and its arguments.
            done: called with the last reply, or with `CommandFailed` or `ConnectionLost`.
            replies: number of expected replies.
            fence: message of a PING to send behind it, whose reply then is the only expected one.
            review: called in place of ``done`` with `CommandFailed` or the reply 0.
        """
        if not self.connected:
            done(ConnectionLost(f"not connected; {arguments[0]!s} was not sent"))
            return
        data: bytes = hiredis.pack_command(arguments)  # type: ignore[arg-type]  # its stub is too narrow
        if fence:
            data += hiredis.pack_command(("PING", fence))  # type: ignore[arg-type]
        self._statistics.commands[arguments[0]] += 1
        waiting = _Waiting(arguments, done, replies, review)
        self._unsampled -= 1
        if not self._unsampled:
            self._unsampled = SAMPLED
            waiting.began = perf_counter()
        if not self._waiting:
            data = self._write_at_once(data)
        self._waiting.append(waiting)
        if data:
            self.transport.write(data)
            self._unsent += 1
            if self._unsent >= WRITE_BATCH:
                self._write_batch()

    def _write_at_once(self, data: bytes) -> bytes:
        """Write to the socket if no data precedes it, and return the rest.

        The transport would wait for the reactor's next iteration to batch writes. Batches pay
        off for many commands, but the wait is most of the time of a single one.
        """
        if self._socket is None or self._socket.disconnecting or self._cause is not None:
            return data
        written = self._socket.writeSomeData(data)
        return data[written:] if type(written) is int and written > 0 else data

    def _write_batch(self) -> None:
        """Write the transport's buffer to the socket.

        The transport would wait until all received data is handled. Then the calls would move in
        one batch, and this process, Redis and the peer would take turns instead of working in
        parallel.
        """
        self._unsent = 0
        if self._socket is not None and not self._socket.disconnecting:
            # An error here recurs in the reactor, which then closes the connection.
            self._socket.doWrite()

    def replyReceived(self, reply: Any) -> None:
        """Pass the reply to the oldest pending command."""
        if not self._waiting:
            self.abort("Redis sent an unexpected reply")
            return
        waiting = self._waiting.popleft()
        if waiting.began:
            self._measure(waiting)
        if is_error := isinstance(reply, Exception):
            reply = refusal(waiting.arguments, str(reply))
            if self.leaves_replicas and isinstance(reply, ReadOnlyReplica):
                self.abort("Redis became a replica")
            self._statistics.refused += 1
        if waiting.review is not None and (is_error or reply == 0):
            waiting.review(waiting.arguments, waiting.done, reply)
        else:
            waiting.done(reply)

    def _measure(self, waiting: _Waiting) -> None:
        """Add the time of a round trip, without that of a review."""
        self._statistics.seconds.add(perf_counter() - waiting.began)


class SubscriberProtocol(CommandProtocol):
    """A connection that receives published messages.

    Args:
        on_lost: called once with the cause, before the pending commands fail.
        on_message: called with pattern (or None), channel and payload; must not raise.
        on_acknowledged: called with the operation and the channel or pattern.
        on_read: called after the messages of one read, with True if it was as large as possible;
            must not raise.
        statistics: counts of this and earlier connections; None counts separately.
        on_removed: called with a sharded channel that Redis unsubscribed by itself, as its slot
            left the server.
    """

    def __init__(
        self,
        on_lost: Callable[[Failure], None],
        on_message: Callable[[bytes | None, bytes, bytes], None],
        on_acknowledged: Callable[[Operation, bytes], None],
        on_read: Callable[[bool], None],
        statistics: ConnectionStatistics | None = None,
        on_removed: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        super().__init__(on_lost, statistics)
        self.messageReceived = on_message
        self._on_acknowledged = on_acknowledged
        self._on_read = on_read
        self._on_removed = on_removed

    def dataReceived(self, data: bytes) -> None:
        """Pass on each message and reply, then report the end of the read."""
        super().dataReceived(data)
        self._on_read(self._socket is not None and len(data) >= self._socket.bufferSize)

    def change(self, operation: Operation, names: Sequence[bytes], done: Done) -> None:
        """Subscribe or unsubscribe several channels or patterns at once.

        Redis may cancel a sharded subscription by itself at any time, and then answers its
        SUNSUBSCRIBE with another message or an error. So the reply to a PING marks the end.

        Args:
            operation: the command.
            names: channels or patterns; SSUBSCRIBE takes those of one slot, SUNSUBSCRIBE only one.
            done: called after ``on_acknowledged`` was called for each, or with `CommandFailed`
                for all of them, or with `ConnectionLost`.
        """
        fence = b"" if operation != "SUNSUBSCRIBE" else b"left " + names[0]
        self.send((operation, *names), done, len(names), fence)

    def replyReceived(self, reply: Any) -> None:
        """Separate messages, acknowledgements and replies."""
        if type(reply) is list and reply:
            kind = reply[0]
            if kind == b"message" or kind == b"smessage":  # noqa: PLR1714 (a set hashes each kind)
                self.messageReceived(None, reply[1], reply[2])
                return
            if kind == b"pmessage":
                self.messageReceived(reply[1], reply[2], reply[3])
                return
            operation = _ACKNOWLEDGED.get(kind)
            if operation == "SUNSUBSCRIBE":
                if not self._waiting or self._waiting[0].arguments != (operation, reply[1]):
                    self._on_removed(reply[1])
                return
            if operation is not None:
                self._acknowledged(operation, reply[1])
                return
        if self._waiting and self._waiting[0].arguments[0] == "SUNSUBSCRIBE":
            self._left_shard(reply)
            return
        super().replyReceived(reply)

    def _left_shard(self, reply: Any) -> None:
        """Handle a reply to SUNSUBSCRIBE, which may be an error, or to the PING behind it."""
        if isinstance(reply, Exception) and "'ping'" not in str(reply):
            return
        waiting = self._waiting.popleft()
        if waiting.began:
            self._measure(waiting)
        self._on_acknowledged("SUNSUBSCRIBE", waiting.arguments[1])  # type: ignore[arg-type]
        waiting.done(None)

    def _acknowledged(self, operation: Operation, name: bytes) -> None:
        waiting = self._waiting[0] if self._waiting else None
        # Redis acknowledges the names of a command in order.
        expected = waiting and (waiting.arguments[0], waiting.arguments[-waiting.replies])
        if waiting is None or expected != (operation, name):
            # Redis may cancel a subscription by itself, for example after a change of its ACL.
            self.abort("Redis changed a subscription by itself")
            return
        self._on_acknowledged(operation, name)
        waiting.replies -= 1
        if not waiting.replies:
            self._waiting.popleft()
            if waiting.began:
                self._measure(waiting)
            waiting.done(None)


def fire(result: Deferred[Any], reply: Any) -> None:
    """Fire a Deferred with a reply, or fail it with the `BusError` in its place."""
    if isinstance(reply, BusError):
        result.errback(reply)
    else:
        result.callback(reply)
