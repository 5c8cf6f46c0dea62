"""The two kinds of Redis connection: txredisapi's protocols with replies matched by order and name.

`CommandProtocol` replaces txredisapi's queue of replies by a plain deque: one Deferred a command,
and no reply can be given to another's command, since a connection that breaks fails all that wait.
`SubscriberProtocol` matches each acknowledgement of a subscription by its channel.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import txredisapi
from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from opentera_twisted.errors import ConnectionLost, ReadOnlyReplica
from opentera_twisted.link.refusals import refusal

Operation = Literal["SUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE"]
"""A command that changes what a connection is subscribed to."""

Argument = bytes | str | int

_ACKNOWLEDGED: Final[dict[bytes, Operation]] = {
    b"subscribe": "SUBSCRIBE",
    b"unsubscribe": "UNSUBSCRIBE",
    b"psubscribe": "PSUBSCRIBE",
    b"punsubscribe": "PUNSUBSCRIBE",
}


def encode_command(arguments: Sequence[Argument]) -> bytes:
    """The bytes of one command.

    Source: Redis serialization protocol (RESP), arrays of bulk strings.
    """
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        data = argument if isinstance(argument, bytes) else str(argument).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


@define(eq=False)
class _Waiting:
    """A command that was sent: what it was, how many replies it still gets, and who waits."""

    arguments: Sequence[Argument]
    replies: int
    result: Deferred[Any]


class CommandProtocol(txredisapi.RedisProtocol):  # type: ignore[misc]  # txredisapi is untyped
    """A connection for commands.

    Args:
        on_lost: called once with the cause, before the waiting commands fail.

    Attributes:
        leaves_replicas: end the connection when Redis says that it is a replica.
    """

    leaves_replicas = False

    def __init__(self, on_lost: Callable[[Failure], None]) -> None:
        super().__init__(charset=None, convertNumbers=False)
        self._on_lost = on_lost
        self._waiting: deque[_Waiting] = deque()
        self._watch: IDelayedCall | None = None
        self._cause: Failure | None = None

    @property
    def waiting(self) -> int:
        """How many commands wait for their reply."""
        return len(self._waiting)

    def connectionMade(self) -> None:
        """Leave logging in to the owner: txredisapi would give up for good when it fails."""
        self.connected = 1

    def connectionLost(self, reason: Failure) -> None:
        """Fail what waits: whether it was executed is not known."""
        self.connected = 0
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        waiting, self._waiting = self._waiting, deque()
        # First the owner: who asks again on a failure then waits for the next connection.
        self._on_lost(self._cause or reason)
        for one in waiting:
            one.result.errback(
                ConnectionLost(
                    f"the connection broke while {one.arguments[0]!s} waited for its reply"
                )
            )

    def abort(self, cause: str) -> None:
        """Close the connection at once, for a reason that its loss will name."""
        self._cause = Failure(ConnectionLost(cause))
        self.transport.abortConnection()

    def watch(self, clock: IReactorTime, interval: float, timeout: float) -> None:
        """Ping every ``interval`` seconds; abort when one is not answered for ``timeout`` seconds.

        TCP does not tell of a peer that froze, or of one that went away without a word.
        """

        def ping() -> None:
            self._watch = clock.callLater(timeout, frozen)
            # An error is an answer too.
            self.execute_command("PING").addBoth(answered)

        def answered(_: object) -> None:
            if self._watch is not None and self.connected:
                self._watch.cancel()
                self._watch = clock.callLater(interval, ping)

        def frozen() -> None:
            self._watch = None
            self.abort(f"Redis did not answer a ping for {timeout:g} seconds")

        self._watch = clock.callLater(interval, ping)

    def execute_command(self, *arguments: Argument, **_: Any) -> Deferred[Any]:
        """Send a command.

        Returns:
            Fires with Redis's reply: bytes, int, None or a list of these.

        Fails with:
            CommandFailed: Redis answered with an error.
            ConnectionLost: the connection is, or got, lost.
        """
        return self._send(arguments, 1)

    def _send(self, arguments: Sequence[Argument], replies: int) -> Deferred[Any]:
        result: Deferred[Any] = Deferred()
        if not self.connected:
            result.errback(ConnectionLost(f"not connected; {arguments[0]!s} was not sent"))
            return result
        self._waiting.append(_Waiting(arguments, replies, result))
        self.transport.write(encode_command(arguments))
        return result

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
            waiting.result.errback(error)
        else:
            waiting.result.callback(reply)


class SubscriberProtocol(CommandProtocol, txredisapi.SubscriberProtocol):  # type: ignore[misc]
    """A connection that receives what is published.

    Args:
        on_lost: called once with the cause, before the waiting commands fail.
        on_message: called with pattern (or None), channel and payload; must not raise.
        on_acknowledged: called with the operation and the channel or pattern.
    """

    def __init__(
        self,
        on_lost: Callable[[Failure], None],
        on_message: Callable[[bytes | None, bytes, bytes], None],
        on_acknowledged: Callable[[Operation, bytes], None],
    ) -> None:
        super().__init__(on_lost)
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
        return self._send((operation, *names), len(names))

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
        if waiting is None or waiting.arguments[0] != operation:
            # The server may withdraw a subscription by itself, such as after a change of its ACL.
            self.abort("Redis ended a subscription by itself")
            return
        self._on_acknowledged(operation, name)
        waiting.replies -= 1
        if not waiting.replies:
            self._waiting.popleft()
            waiting.result.callback(None)
