"""`MemoryBus`: the whole of `Bus`, in one process and without a network, for tests."""

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
    """Leads to a Redis in memory."""

    redis: IStreamClientEndpoint = field(kw_only=True)

    def endpoint(self, reactor: Any, timeout: float) -> IStreamClientEndpoint:
        """That Redis."""
        return self.redis


class MemoryBus(Bus):
    """A `Bus` on a Redis in memory, started and, with a clock, connected as soon as it is made.

    All that does not wait for time happens at once: the Deferred of a call has fired when the call
    returns, unless the procedure takes time. Timeouts and lifetimes pass with the clock.

    Args:
        redis: shared with other buses; one of its own when None.
        reactor: for time; a `MemoryClock` when None: ``bus.clock.advance(10)``. The reactor itself
            lets real time pass.
        name: of the bus.

    Attributes:
        clock: what was given as reactor, or the clock that was made.
        redis: in memory.
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
        """What was published by all buses of the Redis, oldest first, calls and replies too."""
        return self.redis.published

    def published_on(self, topic: str) -> list[bytes]:
        """The payloads that were published on one topic, oldest first."""
        return [one.payload for one in self.published if one.topic == topic]

    def deliver(self, topic: str, payload: bytes | str | Message) -> int:
        """Publish something as another program would; how many receive it."""
        return self.redis.publish(encode(topic), encode_payload(payload))

    def disconnect(self) -> None:
        """Have Redis go away: for all its buses, until `reconnect`."""
        self.redis.go_away()

    def reconnect(self) -> None:
        """Have Redis come back; its buses connect within a second of the clock."""
        self.redis.come_back()
