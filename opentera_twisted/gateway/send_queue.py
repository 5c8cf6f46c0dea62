"""A client's send queue, whose bytes are shared with other clients' queues.

The queue passes small pieces to the transport (TCP, TLS, a PROXY protocol). A large event is
therefore in memory once for all its clients. The queue counts its bytes, and frees them with the
connection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

PIECE: Final = 131_072
"""Bytes passed to the transport at once; it requests more when it has sent them."""

STALLED: Final = 2.0
"""Seconds without progress after which a client over the bound is slow."""


@implementer(IPushProducer)
class Sending:
    """Writes to one client as fast as its transport allows, and queues the rest.

    A client is slow if more bytes than the bound are queued behind the batch being sent. The batch
    itself may have any size, so that a client that reads can receive it. A client is therefore also
    slow if more than the bound is queued and it makes no progress for `STALLED` seconds.

    Args:
        transport: transport to the client.
        clock: clock that measures progress.
        bound: bytes allowed behind the batch being sent; 0 for no limit.
        too_slow: called once when the client is slow.
    """

    def __init__(
        self, transport: Any, clock: Any, bound: int, too_slow: Callable[[], None]
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._bound = bound
        self._too_slow: Callable[[], None] | None = too_slow
        self._socket = socket_of(transport)
        self._waiting: deque[bytes | memoryview] = deque()
        self._size = 0
        self._given = 0
        self._is_registered = False
        self._is_paused = False
        self._finish: Callable[[], None] | None = None
        self._watch: IDelayedCall | None = None

    @property
    def is_idle(self) -> bool:
        """Return True if the queue is empty."""
        return not self._size

    @property
    def backlog(self) -> int:
        """Return the bytes queued here and at the socket."""
        return self._size + buffered(self._socket)

    def has_room(self, size: int) -> bool:
        """Return True if a batch of that size may be queued; otherwise the client is slow."""
        if not self._bound or self.backlog + size <= self._bound or self._too_slow is None:
            return True
        if self._size and self._size - len(self._waiting[0]) + size > self._bound:
            self._is_slow()
            return False
        if self._watch is None:
            self._watch_progress()
        return True

    def put(self, data: bytes | memoryview) -> None:
        """Queue bytes."""
        self._waiting.append(data)
        self._size += len(data)
        if not self._is_registered:
            self._is_registered = True
            self._transport.registerProducer(self, True)
        if not self._is_paused:
            self._pass_on()

    def finish(self, how: Callable[[], None]) -> None:
        """Call a function that ends the transport, once the queue is empty."""
        if self._size:
            self._finish = how
        else:
            self._unregister()
            how()

    def drop(self) -> None:
        """Free the queued bytes of a lost or aborted connection."""
        self._waiting.clear()
        self._size = 0
        self._finish = self._too_slow = None
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._unregister()
        if self._socket is not None:
            free(self._socket)

    def pauseProducing(self) -> None:
        """Queue further bytes: the transport's buffer is full."""
        self._is_paused = True

    def resumeProducing(self) -> None:
        """Pass more bytes to the transport."""
        self._is_paused = False
        self._pass_on()

    def stopProducing(self) -> None:
        """Pass no more bytes to the transport."""
        self._is_paused = True

    def _pass_on(self) -> None:
        while self._size and not self._is_paused:
            piece = self._next_piece()
            self._size -= len(piece)
            self._given += len(piece)
            self._transport.write(piece)
        if self._finish is not None and not self._size:
            finish, self._finish = self._finish, None
            self._unregister()
            finish()

    def _next_piece(self) -> bytes:
        first = self._waiting.popleft()
        if len(first) > PIECE:
            view = memoryview(first)
            self._waiting.appendleft(view[PIECE:])
            return bytes(view[:PIECE])
        pieces, size = [first], len(first)
        while self._waiting and size + len(self._waiting[0]) <= PIECE:
            pieces.append(self._waiting.popleft())
            size += len(pieces[-1])
        return b"".join(pieces)

    def _unregister(self) -> None:
        if self._is_registered:
            self._is_registered = False
            self._transport.unregisterProducer()

    def _watch_progress(self) -> None:
        taken = self._given - buffered(self._socket)
        self._watch = self._clock.callLater(STALLED, self._look, taken)

    def _look(self, before: int) -> None:
        self._watch = None
        if self.backlog <= self._bound:
            return
        if self._given - buffered(self._socket) > before:
            self._watch_progress()
        else:
            self._is_slow()

    def _is_slow(self) -> None:
        too_slow, self._too_slow = self._too_slow, None
        if too_slow is not None:
            too_slow()


def socket_of(transport: Any) -> FileDescriptor | None:
    """Find the transport of the socket, below TLS and other wrappers."""
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    return transport if isinstance(transport, FileDescriptor) else None


def has_foreign_layer(transport: Any) -> bool:
    """Return True if a layer other than TLS is in between, which may report another peer."""
    while isinstance(transport, ProtocolWrapper):
        if not isinstance(transport, TLSMemoryBIOProtocol):
            return True
        transport = transport.transport
    return False


def buffered(socket: Any) -> int:
    """Count the bytes queued at a socket."""
    if socket is None:
        return 0
    return socket._tempDataLen + len(socket.dataBuffer) - socket.offset  # type: ignore[no-any-return]  # noqa: SLF001


def free(socket: Any) -> None:
    """Drop the bytes queued at a socket."""
    socket.dataBuffer = b""
    socket.offset = socket._tempDataLen = 0  # noqa: SLF001
    socket._tempDataBuffer = []  # noqa: SLF001
