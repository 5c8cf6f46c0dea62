"""Endpoints that wait for no thread of the program: a bus reconnects while all of them are busy.

An address connects directly. A name is resolved in a thread of its own, because Twisted would use
the reactor's thread pool, which the program's own functions may occupy.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from threading import Thread
from typing import Any, NoReturn

from attrs import frozen
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
)
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import (
    IHostnameResolver,
    IHostResolution,
    IProtocol,
    IProtocolFactory,
    IReactorPluggableNameResolver,
    IReactorTime,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from zope.interface import implementer

from opentera_twisted._internal.clock import clock_of

_ADDRESSES = {socket.AF_INET: IPv4Address, socket.AF_INET6: IPv6Address}


def tcp_endpoint(reactor: Any, host: str, port: int, timeout: float) -> IStreamClientEndpoint:
    """An endpoint of a host.

    Args:
        reactor: connects.
        host: IP address, or a name, all of whose addresses are tried.
        port: number of the TCP port.
        timeout: seconds that an attempt may take, name resolution included.
    """
    endpoint: IStreamClientEndpoint
    if isIPAddress(host):
        endpoint = TCP4ClientEndpoint(reactor, host, port, timeout=None)  # type: ignore[arg-type]
    elif isIPv6Address(host):
        endpoint = TCP6ClientEndpoint(reactor, host, port, timeout=None)
    else:
        endpoint = HostnameEndpoint(_Resolving(reactor), host, port, timeout=None)  # type: ignore[arg-type]
    return _Bounded(endpoint, clock_of(reactor), timeout, f"{host} port {port}")


def unix_endpoint(reactor: Any, path: str, timeout: float) -> IStreamClientEndpoint:
    """An endpoint of a Unix socket.

    Args:
        reactor: connects.
        path: of the socket.
        timeout: seconds that an attempt may take.
    """
    endpoint = UNIXClientEndpoint(reactor, path, timeout=None)
    return _Bounded(endpoint, clock_of(reactor), timeout, path)


@implementer(IStreamClientEndpoint)
@frozen
class _Bounded:
    """Gives up an attempt after a time, by a clock that ignores steps of the system's."""

    endpoint: IStreamClientEndpoint
    clock: IReactorTime
    timeout: float
    target: str

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect.

        Fails with:
            ConnectError: no connection in time, or as the endpoint does.
        """

        def late(_: object, seconds: float) -> NoReturn:
            raise ConnectError(string=f"no answer from {self.target} within {seconds:g} seconds")

        attempt: Deferred[IProtocol] = self.endpoint.connect(protocolFactory)
        return attempt.addTimeout(self.timeout, self.clock, late)


@implementer(IReactorPluggableNameResolver)
class _Resolving:
    """A reactor whose ``HostnameEndpoint`` resolves names in threads of their own."""

    def __init__(self, reactor: Any) -> None:
        clock = clock_of(reactor)
        self.nameResolver = Resolver(reactor)
        self.callLater = clock.callLater
        self.seconds = clock.seconds
        self._reactor = reactor

    def __getattr__(self, name: str) -> Any:
        """Everything else is the reactor's."""
        return getattr(self._reactor, name)


@implementer(IHostResolution)
@frozen
class _Resolution:
    name: str

    def cancel(self) -> None:
        """Do nothing: the lookup ends by itself, and serves the next attempt."""


@implementer(IHostnameResolver)
class Resolver:
    """Looks names up, each in a daemon thread, and shares the lookup that already runs.

    Args:
        reactor: gets the results.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._receivers: dict[tuple[str, int], list[IResolutionReceiver]] = {}

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[Any]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """Look a name up; one that is unknown has no addresses."""
        resolution: IHostResolution = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        wanted = (hostName, portNumber)
        waiting = self._receivers.setdefault(wanted, [])
        waiting.append(resolutionReceiver)
        if len(waiting) == 1:
            thread = Thread(target=self._look_up, args=wanted, name="redis-lookup", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no thread to spare: the next attempt may find one
                self._found(*wanted, [])
        return resolution

    def _look_up(self, name: str, port: int) -> None:
        try:
            found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        except Exception:  # noqa: BLE001 (whatever it is, the attempt has to end)
            found = []
        self._reactor.callFromThread(self._found, name, port, found)

    def _found(self, name: str, port: int, found: Sequence[Any]) -> None:
        for receiver in self._receivers.pop((name, port)):
            for family, _, _, _, address in found:
                if family in _ADDRESSES:
                    receiver.addressResolved(_ADDRESSES[family]("TCP", *address))
            receiver.resolutionComplete()
