"""`MemoryBus`: a complete `Bus` without a network, for tests."""

from __future__ import annotations

from typing import Any

from attrs import field, frozen
from google.protobuf.message import Message
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock

from opentera_twisted._internal.clock import clock_of
from opentera_twisted.bus import Bus
from opentera_twisted.link import RedisAddress
from opentera_twisted.pubsub import Delivery, encode_payload
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


class MemoryBus(Bus):
    """A `Bus` on a Redis in memory, started and, with the default clock, connected when it is made.

    Everything that does not wait for time happens at once. The Deferred of a call has fired when
    the call returns, unless the procedure takes time. Timeouts and lifetimes follow the clock.

    Args:
        redis: a Redis in memory to share with other buses; None makes a new one.
        reactor: clock of the bus. None makes a `MemoryClock`: ``bus.clock.advance(10)``. The real
            reactor lets real time pass.
        name: name of the bus.

    Attributes:
        clock: the reactor that was passed, or the new clock.
        redis: the Redis in memory.
    """

    def __init__(
        self, redis: MemoryRedis | None = None, *, reactor: Any = None, name: str = "memory"
    ) -> None:
        self.clock = MemoryClock() if reactor is None else reactor
        self.redis = MemoryRedis(clock_of(self.clock)) if redis is None else redis
        super().__init__(
            _MemoryAddress(hosts=(("memory", 0),), redis=self.redis), reactor=self.clock, name=name
        )
        self.startService()
        if isinstance(self.clock, Clock):
            self.clock.advance(0)

    @property
    def published(self) -> list[Delivery]:
        """All published messages of the Redis, oldest first, including calls and replies."""
        return self.redis.published

    def published_on(self, topic: str) -> list[bytes]:
        """List the payloads published on one topic, oldest first."""
        return [delivery.payload for delivery in self.published if delivery.topic == topic]

    def deliver(self, topic: str, payload: bytes | str | Message) -> int:
        """Publish a message as another program would; return the number of receivers."""
        return self.redis.publish(encode(topic), encode_payload(payload))

    def disconnect(self) -> None:
        """Make Redis unreachable for all its buses, until `reconnect`."""
        self.redis.go_away()

    def reconnect(self) -> None:
        """Make Redis reachable again; its buses connect within a second of the clock."""
        self.redis.come_back()
