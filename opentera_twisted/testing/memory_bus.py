"""`MemoryBus`: a complete `Bus` without a network, for tests."""

from __future__ import annotations

from typing import Any

from attrs import field, frozen
from google.protobuf.message import Message
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock

from opentera_twisted._internal.clock import clock_of
from opentera_twisted.bus import Bus
from opentera_twisted.link import Link, RedisAddress
from opentera_twisted.pubsub import Delivery, encode_payload
from opentera_twisted.redis_commands import RedisCommands
from opentera_twisted.testing.clock import MemoryClock
from opentera_twisted.testing.memory_redis import MemoryRedis
from opentera_twisted.topics import encode


@frozen
class _MemoryAddress(RedisAddress):
    """Address of a Redis in memory."""

    redis: IStreamClientEndpoint = field(kw_only=True)

    def endpoint(self, reactor: Any, timeout: float) -> IStreamClientEndpoint:
        """Return the Redis in memory."""
        return self.redis


class MemoryCommands(RedisCommands):
    """The commands of a `MemoryBus`, with the former names of its ``redis``.

    Attributes:
        server: the Redis in memory.
    """

    def __init__(self, link: Link, server: MemoryRedis) -> None:
        super().__init__(link)
        self.server = server

    @property
    def online(self) -> set[str]:
        """Identities with an open websocket: former name of ``server.online``."""
        return self.server.online

    @property
    def published(self) -> list[Delivery]:
        """All published messages: former name of ``server.published``."""
        return self.server.published


class MemoryBus(Bus):
    """A `Bus` on a Redis in memory, started and, with the default clock, connected when it is made.

    Everything that does not wait for time happens at once. The Deferred of a call has fired when
    the call returns, unless the procedure takes time. Timeouts and lifetimes follow the clock.

    Args:
        server: the ``server`` of another `MemoryBus`, to share; None makes a new one.
        reactor: clock of the bus. None makes a `MemoryClock`: ``bus.clock.advance(10)``. The real
            reactor lets real time pass.
        name: name of the bus.
        tracing: as in `Bus`.

    Attributes:
        clock: the reactor that was passed, or the new clock.
        server: the Redis in memory.
        redis: txredisapi's commands. A command that ``server`` lacks fails with `CommandFailed`.

    Example:
        >>> bus = MemoryBus()
        >>> result_of(bus.publish("service.Bell.events", "ring"))
        0
        >>> bus.published_on("service.Bell.events")
        [b'ring']
    """

    def __init__(
        self,
        server: MemoryRedis | MemoryCommands | None = None,
        *,
        reactor: Any = None,
        name: str = "memory",
        tracing: bool = False,
    ) -> None:
        self.clock = MemoryClock() if reactor is None else reactor
        if isinstance(server, MemoryCommands):
            server = server.server
        self.server = MemoryRedis(clock_of(self.clock)) if server is None else server
        address = _MemoryAddress(hosts=(("memory", 0),), redis=self.server)
        super().__init__(address, reactor=self.clock, name=name, tracing=tracing)
        self.redis: MemoryCommands = MemoryCommands(self.link, self.server)
        self.startService()
        if isinstance(self.clock, Clock):
            self.clock.advance(0)

    @property
    def published(self) -> list[Delivery]:
        """All published messages of the Redis, oldest first, including calls and replies."""
        return self.server.published

    def published_on(self, topic: str) -> list[bytes]:
        """List the payloads published on one topic, oldest first."""
        return [delivery.payload for delivery in self.published if delivery.topic == topic]

    def deliver(self, topic: str, payload: bytes | str | Message) -> int:
        """Publish a message as another program would; return the number of receivers."""
        return self.server.publish(encode(topic), encode_payload(payload))

    def disconnect(self) -> None:
        """Make Redis unreachable for all its buses, until `reconnect`."""
        self.server.go_away()

    def reconnect(self) -> None:
        """Make Redis reachable again; its buses connect within a second of the clock."""
        self.server.come_back()
