"""Listening sockets that workers share; the parent binds them, and does not accept on them.

The parent keeps them open, so that the replacement of a dead worker serves its accept queue. On
Linux each worker has its own TCP socket on the same port (SO_REUSEPORT), and the kernel spreads
the connections evenly. Elsewhere, and with sockets of Unix or systemd, all workers accept on one
socket.
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
"""True if the kernel spreads connections over the sockets of one port."""


@frozen
class Shared:
    """An endpoint on which workers accept.

    Attributes:
        ports: one port for each worker, or one for all; this process does not read them.
    """

    ports: Sequence[Any]

    def descriptor(self, worker: int) -> int:
        """Return the socket of a worker, by its number from 1."""
        number: int = self.ports[(worker - 1) % len(self.ports)].fileno()
        return number

    def close(self) -> Deferred[Any]:
        """Close the sockets in this process, and remove the file of a Unix socket."""
        for port in self.ports:
            # As for a socket adopted by Twisted: shutting it down would break the workers.
            port._shouldShutdown = False  # noqa: SLF001
        return DeferredList([port.stopListening() for port in self.ports])


def share(reactor: Any, endpoint: str, workers: int) -> Shared:
    """Bind an endpoint for a number of workers.

    Raises:
        CannotListenError, OSError, OverflowError: the endpoint cannot be bound.
    """
    listening = serverFromString(_Binding(reactor, workers), endpoint).listen(_Websockets())
    found: list[Any] = []
    failed: list[Any] = []
    listening.addCallbacks(found.append, failed.append)  # synchronously
    if failed:
        failed[0].raiseException()
    ports = found[0] if isinstance(found[0], list) else found
    for port in ports:
        port.stopReading()
    return Shared(ports)


class _Binding:
    """A stand-in for the reactor of an endpoint, which binds a socket for each worker."""

    def __init__(self, reactor: Any, workers: int) -> None:
        self._reactor = reactor
        self._workers = workers
        self.listenUNIX = reactor.listenUNIX
        self.adoptStreamPort = reactor.adoptStreamPort

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        """Bind a socket for each worker, if the kernel spreads connections over them."""
        first = Port(port, factory, backlog, interface, self._reactor)
        # Bind the first exclusively, to detect a port of another program even if that program
        # shares it. Allow sharing only afterwards.
        first.startListening()
        if not IS_SPREAD:
            return first
        first.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        ports = [first]
        number = first.getHost().port
        for _ in range(1, self._workers):
            further = _Further(number, factory, backlog, interface, self._reactor)
            further.startListening()
            ports.append(further)
        return ports


class _Further(Port):
    """A further socket on the same port."""

    def createInternetSocket(self) -> Any:
        """Make a socket that shares its port."""
        made = super().createInternetSocket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        return made


class _Websockets(Factory):
    """A factory that names the ports in the log."""

    noisy = False


def accept(reactor: Any, descriptor: int, factory: Any) -> Any:
    """Accept on an inherited socket.

    Args:
        reactor: Twisted reactor.
        descriptor: file descriptor of the socket, which this function takes over.
        factory: factory of the connections' protocols.

    Returns:
        The port.
    """
    inherited = socket.socket(fileno=descriptor)
    inherited.setblocking(False)
    if inherited.family == socket.AF_UNIX:
        port = _Inherited(inherited, factory, reactor)
        port.startListening()
        return port
    with inherited:  # Twisted adopts a copy
        return reactor.adoptStreamPort(inherited.fileno(), inherited.family, factory)


class _Inherited(UnixPort):
    """A Unix socket whose file belongs to the parent.

    Twisted's own adoption would make the file writable for everyone, shorten the accept queue, and
    remove the file at the end.
    """

    _shouldShutdown = False  # other workers accept on it

    def __init__(self, inherited: socket.socket, factory: Any, reactor: Any) -> None:
        super().__init__(inherited.getsockname(), factory, reactor=reactor)
        self.socket = inherited

    def startListening(self) -> None:
        """Start accepting on the listening socket."""
        factory: Any = self.factory
        factory.doStart()
        self.connected = True
        self.fileno = self.socket.fileno  # type: ignore[method-assign]  # as Twisted does
        self.numberAccepts = 100
        self.startReading()

    def connectionLost(self, reason: Any) -> None:
        """Close the socket in this process, and keep its file."""
        Port.connectionLost(self, reason)
