"""Listening sockets that workers share: bound by the parent, which accepts nothing on them.

The parent keeps them open, so who waits in the queue of a worker that died is served by the next.
On Linux each worker has a TCP socket of its own on the same port (SO_REUSEPORT), and the kernel
spreads the connections evenly. Elsewhere, and on Unix sockets or those of systemd, all accept on
the same one: whoever is free takes what waits.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from typing import Any, Final

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.internet.tcp import Port
from twisted.internet.unix import Port as UnixPort

IS_SPREAD: Final = sys.platform == "linux"
"""Whether the kernel spreads connections over the sockets of one port."""


@frozen
class Shared:
    """An endpoint that workers accept on.

    Attributes:
        ports: one for each worker, or one for all; none of them is read here.
    """

    ports: Sequence[Any]

    def descriptor(self, worker: int) -> int:
        """The socket of a worker, by its number, from 1 on."""
        number: int = self.ports[(worker - 1) % len(self.ports)].fileno()
        return number

    def close(self) -> Deferred[Any]:
        """Close them here; a Unix socket's file is removed."""
        for port in self.ports:
            # As of a socket that Twisted adopts: to shut it down would fail those who accept on it.
            port._shouldShutdown = False  # noqa: SLF001
        return DeferredList([port.stopListening() for port in self.ports])


def share(reactor: Any, endpoint: str, workers: int) -> Shared:
    """Listen at an endpoint, for so many workers.

    Raises:
        CannotListenError, OSError, OverflowError: that is not possible.
    """
    listening = serverFromString(_Binding(reactor, workers), endpoint).listen(_Websockets())
    found: list[Any] = []
    failed: list[Any] = []
    listening.addCallbacks(found.append, failed.append)  # at once: nothing is waited for
    if failed:
        failed[0].raiseException()
    ports = found[0] if isinstance(found[0], list) else found
    for port in ports:
        port.stopReading()
    return Shared(ports)


class _Binding:
    """Stands for the reactor that an endpoint listens with, and makes as many sockets as needed."""

    def __init__(self, reactor: Any, workers: int) -> None:
        self._reactor = reactor
        self._workers = workers
        self.listenUNIX = reactor.listenUNIX
        self.adoptStreamPort = reactor.adoptStreamPort

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        """Make one socket for each worker, where the kernel spreads connections over them."""
        first = Port(port, factory, backlog, interface, self._reactor)
        # Bound for itself alone: a port that another program has is an error, even if that program
        # shares it. Only now it is opened to those below.
        first.startListening()
        if not IS_SPREAD:
            return first
        first.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        ports = [first]
        number = first.getHost().port
        for _ in range(1, self._workers):
            one = _Another(number, factory, backlog, interface, self._reactor)
            one.startListening()
            ports.append(one)
        return ports


class _Another(Port):
    """One more socket on a port of our own."""

    def createInternetSocket(self) -> Any:
        """Make one that shares its port."""
        made = super().createInternetSocket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        return made


class _Websockets(Factory):
    """Named in the log; it answers nobody."""

    noisy = False


def accept(reactor: Any, descriptor: int, factory: Any) -> Any:
    """Accept on a socket that was inherited.

    Args:
        reactor: reads it.
        descriptor: of the socket; taken over.
        factory: makes the protocol of each connection.

    Returns:
        The port.
    """
    inherited = socket.socket(fileno=descriptor)
    inherited.setblocking(False)
    if inherited.family == socket.AF_UNIX:
        port = _Inherited(inherited, factory, reactor)
        port.startListening()
        return port
    with inherited:  # what is adopted is a copy
        return reactor.adoptStreamPort(inherited.fileno(), inherited.family, factory)


class _Inherited(UnixPort):
    """A Unix socket whose file is the parent's.

    Twisted's own way to adopt one would let everybody write to that file, shorten the queue, and
    remove the file at the end.
    """

    _shouldShutdown = False  # others accept on it

    def __init__(self, inherited: socket.socket, factory: Any, reactor: Any) -> None:
        super().__init__(inherited.getsockname(), factory, reactor=reactor)
        self.socket = inherited

    def startListening(self) -> None:
        """Accept; it listens already."""
        factory: Any = self.factory
        factory.doStart()
        self.connected = True
        self.fileno = self.socket.fileno  # type: ignore[method-assign]  # as Twisted does
        self.numberAccepts = 100
        self.startReading()

    def connectionLost(self, reason: Any) -> None:
        """Close it here; its file stays."""
        Port.connectionLost(self, reason)
