"""An endpoint that asks sentinels for the primary's address, before each attempt to connect.

Source: Redis documentation, "Guidelines for Redis clients with support for Redis Sentinel".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from zope.interface import implementer

from opentera_twisted._internal.clock import clock_of
from opentera_twisted.errors import BusError
from opentera_twisted.link.credentials import Credentials
from opentera_twisted.link.protocol import CommandProtocol

SENTINEL_TIMEOUT: Final = 2.0
"""Seconds until the endpoint tries the next sentinel."""

_Sentinel = tuple[str, IStreamClientEndpoint]


@implementer(IStreamClientEndpoint)
class SentinelEndpoint:
    """Connect to the primary that sentinels name.

    Args:
        reactor: provides the clock.
        sentinels: endpoint of each sentinel, by its host and port.
        primary: name of the primary.
        login: credentials for the sentinels.
        endpoint_of: makes the endpoint of a host and port.
    """

    def __init__(
        self,
        reactor: Any,
        sentinels: Mapping[str, IStreamClientEndpoint],
        primary: str,
        login: Credentials,
        endpoint_of: Callable[[str, int], IStreamClientEndpoint],
    ) -> None:
        self._clock = clock_of(reactor)
        self._sentinels = list(sentinels.items())
        self._primary = primary
        self._login = login
        self._endpoint_of = endpoint_of
        self._used: WeakKeyDictionary[IProtocol, _Sentinel] = WeakKeyDictionary()

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Ask the sentinels in turn, and connect to the primary.

        Fails with:
            ConnectError: no sentinel knows the primary, or it is unreachable.
        """
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        causes = []
        for sentinel in list(self._sentinels):
            name, endpoint = sentinel
            asking = Deferred.fromCoroutine(self._locate(endpoint))
            try:
                host, port = await asking.addTimeout(SENTINEL_TIMEOUT, self._clock)
            except CancelledError:
                raise
            except DeferredTimeout:
                causes.append(f"{name}: no answer in time")
            except Exception as error:  # noqa: BLE001 (the next sentinel may know)
                causes.append(f"{name}: {str(error).rstrip('.')}")
            else:
                # Ask this sentinel first next time.
                self._sentinels.remove(sentinel)
                self._sentinels.insert(0, sentinel)
                try:
                    protocol = await self._endpoint_of(host, port).connect(factory)
                except CancelledError:
                    raise
                except Exception:
                    self._ask_last(sentinel)
                    raise
                self._used[protocol] = sentinel
                return protocol
        raise ConnectError(
            string=f"no sentinel knows where {self._primary} is ({'; '.join(causes)})"
        )

    def doubt(self, protocol: IProtocol) -> None:
        """Ask the others first next time, because this connection leads to no primary."""
        self._ask_last(self._used[protocol])

    def _ask_last(self, sentinel: _Sentinel) -> None:
        # A sentinel that lost the others names the former primary indefinitely.
        self._sentinels.remove(sentinel)
        self._sentinels.append(sentinel)

    async def _locate(self, sentinel: IStreamClientEndpoint) -> tuple[str, int]:
        factory = Factory.forProtocol(partial(CommandProtocol, lambda _: None))
        factory.noisy = False
        protocol: Any = await sentinel.connect(factory)
        try:
            await self._login.log_in(protocol, "the sentinel")
            # Source: Redis command SENTINEL GET-MASTER-ADDR-BY-NAME
            reply = await protocol.execute_command(
                "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._primary
            )
        finally:
            protocol.transport.abortConnection()
        if reply is None:
            raise BusError("the name is unknown")
        return reply[0].decode(), int(reply[1])
