"""Endpoints that need no thread of the reactor's pool, so that a bus reconnects while it is busy.

An IP address connects directly. A name is resolved in a separate thread: Twisted would use the
reactor's thread pool, which the program's functions may occupy.
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
    """Make an endpoint for a host.

    Args:
        reactor: reactor to connect with.
        host: IP address, or a name, whose addresses are all tried.
        port: TCP port.
        timeout: seconds until an attempt fails, including name resolution.
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
    """Make an endpoint for a Unix socket.

    Args:
        reactor: reactor to connect with.
        path: path of the socket.
        timeout: seconds until an attempt fails.
    """
    endpoint = UNIXClientEndpoint(reactor, path, timeout=None)
    return _Bounded(endpoint, clock_of(reactor), timeout, path)


@implementer(IStreamClientEndpoint)
@frozen
class _Bounded:
    """An endpoint whose attempts time out, by a clock that ignores changes of the system time."""

    endpoint: IStreamClientEndpoint
    clock: IReactorTime
    timeout: float
    target: str

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect.

        Fails with:
            ConnectError: the timeout expired, or the endpoint's own error.
        """

        def late(_: object, seconds: float) -> NoReturn:
            raise ConnectError(string=f"no answer from {self.target} within {seconds:g} seconds")

        attempt: Deferred[IProtocol] = self.endpoint.connect(protocolFactory)
        return attempt.addTimeout(self.timeout, self.clock, late)


@implementer(IReactorPluggableNameResolver)
class _Resolving:
    """A reactor whose ``HostnameEndpoint`` resolves names in separate threads."""

    def __init__(self, reactor: Any) -> None:
        clock = clock_of(reactor)
        self.nameResolver = Resolver(reactor)
        self.callLater = clock.callLater
        self.seconds = clock.seconds
        self._reactor = reactor

    def __getattr__(self, name: str) -> Any:
        """Delegate everything else to the reactor."""
        return getattr(self._reactor, name)


@implementer(IHostResolution)
@frozen
class _Resolution:
    name: str

    def cancel(self) -> None:
        """Do nothing: the lookup continues, and serves the next attempt."""


@implementer(IHostnameResolver)
class Resolver:
    """Resolve names, each in a daemon thread; share a lookup that is already running."""

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
        """Resolve a name; an unknown name has no addresses."""
        resolution: IHostResolution = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        wanted = (hostName, portNumber)
        waiting = self._receivers.setdefault(wanted, [])
        waiting.append(resolutionReceiver)
        if len(waiting) == 1:
            thread = Thread(target=self._resolve, args=wanted, name="name-lookup", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no free thread: the next attempt may find one
                self._found(*wanted, [])
        return resolution

    def _resolve(self, name: str, port: int) -> None:
        try:
            found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        except Exception:  # noqa: BLE001 (the attempt has to end in any case)
            found = []
        self._reactor.callFromThread(self._found, name, port, found)

    def _found(self, name: str, port: int, found: Sequence[Any]) -> None:
        for receiver in self._receivers.pop((name, port)):
            for family, _, _, _, address in found:
                if family in _ADDRESSES:
                    receiver.addressResolved(_ADDRESSES[family]("TCP", *address))
            receiver.resolutionComplete()
