"""`RedisClient`: variables, publishing and subscriptions as existing programs use them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

from google.protobuf.message import Message
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from opentera_twisted import topics
from opentera_twisted._internal import callbacks
from opentera_twisted.bus import Bus
from opentera_twisted.errors import BusError, InvalidArgument
from opentera_twisted.opentera import sync_commands
from opentera_twisted.opentera.names import prefer
from opentera_twisted.opentera.threads import (
    blocking_calls,
    check_may_block,
    global_reactor,
    in_reactor,
    in_reactor_thread,
    is_running,
)
from opentera_twisted.pubsub import Delivery, Subscription, encode_payload
from opentera_twisted.reactor_thread import BusLease, run

Callback = Callable[[str, str, bytes], Any]
"""Called with pattern, channel and message."""


class RedisClient:
    """A program's access to Redis; all of a process share two connections to it.

    Subscriptions come back by themselves after a break, so `redisConnectionMade` is called once.
    In the reactor's thread `publish`, `redisSet` and `redisDelete` do not wait, and return a
    Deferred instead of the result; `redisGet` cannot, and raises `InReactorThread`. After
    ``install(blocking_in_reactor=True)`` variables are read and written there as in any thread.

    Args:
        config: ``hostname``, ``port``, ``db``, ``username`` and ``password``; the Redis of this
            machine when None.

    Attributes:
        callbacks_dict: functions by the pattern that they are called for.
    """

    _log = Logger()

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        prefer("RedisClient", "Bus, or BlockingBus in threads")
        self.redisConfig: Mapping[str, Any] = (
            sync_commands.DEFAULT_CONFIG if config is None else config
        )
        self.callbacks_dict: dict[str, Callback] = {}
        self._address = sync_commands.address(self.redisConfig)
        self._lease = BusLease(self._address, type(self).__name__)
        self._subscriptions: dict[str, Deferred[Subscription]] = {}
        self._is_closed = False
        self._redis: Any = None
        # After the constructor of whatever class this is.
        in_reactor(self._connect_soon)

    @property
    def bus(self) -> Bus:
        """The bus, in the reactor's thread: with what this class has no name for."""
        return self._lease.bus

    @property
    def redis(self) -> Any:
        """A client of redis-py, made when it is first used; a program may assign another one.

        Raises:
            MissingExtra: redis-py is not installed.
        """
        if self._redis is None:
            from opentera_twisted.opentera import plain  # noqa: PLC0415 (redis-py may be missing)

            self._redis = plain.client(self._address, type(self).__name__)
        return self._redis

    @redis.setter
    def redis(self, client: Any) -> None:
        self._redis = client

    def getConfig(self) -> Mapping[str, Any]:
        """What was given as config."""
        return self.redisConfig

    def redisConnectionMade(self) -> None:
        """Called once, when Redis is there; for programs to subscribe what they want."""

    def redisConnectionLost(self, reason: Failure) -> None:
        """Called when the link breaks; it comes back, with all subscriptions."""

    def redisMessageReceived(self, pattern: str, channel: str, message: bytes) -> None:
        """Called for each message of a subscription; calls what was registered for its pattern."""
        callback = self.callbacks_dict.get(pattern)
        if callback is not None:
            callbacks.run(f"the callback of {pattern}", callback, pattern, channel, message)

    def subscribe(self, topic: str) -> Deferred[Any]:
        """Receive what is published on a topic or pattern; fires when Redis has acknowledged it."""
        return in_reactor(lambda: self._subscribe(topic))

    def unsubscribe(self, topic: str) -> Deferred[Any]:
        """Receive it no longer; fires when nothing more comes."""
        return in_reactor(lambda: self._unsubscribe(topic))

    def subscribe_pattern_with_callback(self, pattern: str, function: Callback) -> Deferred[Any]:
        """Have a function called for a pattern; a pattern has one function, the last given."""
        self.callbacks_dict[pattern] = function
        return self.subscribe(pattern)

    def unsubscribe_pattern_with_callback(self, pattern: str, function: Callback) -> Deferred[Any]:
        """Have it called no longer."""
        self.callbacks_dict.pop(pattern, None)
        return self.unsubscribe(pattern)

    def publish(self, topic: str, message: bytes | str | Message) -> Any:
        """Publish; how many received it."""
        return self._command("PUBLISH", topics.encode(topic), encode_payload(message))

    def redisGet(self, key: str) -> Any:
        """Read a variable: its bytes, or None.

        Raises:
            InReactorThread: waiting would stop all that the reactor does.
            InvalidArgument: the key is of a type that redis-py refuses.
        """
        check_may_block("redisGet", "await self.bus.variables.get(key)")
        return self._variable("GET", stored(key, "a key"))

    def redisSet(
        self, key: str, value: bytes | str | float, ex: int | timedelta | None = None
    ) -> Any:
        """Write a variable, for ``ex`` seconds or a ``timedelta``, or for ever; True.

        Raises:
            InvalidArgument: the key or the value is None, bool, or of another type that redis-py
                refuses.
        """
        name, data = stored(key, "a key"), stored(value)
        seconds = int(ex.total_seconds()) if isinstance(ex, timedelta) else ex
        lifetime = () if seconds is None else ("EX", seconds)
        reply = self._variable("SET", name, data, *lifetime)
        return reply if isinstance(reply, Deferred) else True

    def redisDelete(self, key: str) -> Any:
        """Delete a variable; how many there were.

        Raises:
            InvalidArgument: the key is of a type that redis-py refuses.
        """
        return self._variable("DEL", stored(key, "a key"))

    def redisClose(self) -> Deferred[Any]:
        """End the subscriptions, and with the last client of the process the connections."""
        self._is_closed = True
        return in_reactor(self._lease.close)

    def _variable(self, *command: bytes | str | int) -> Any:
        if blocking_calls.are_allowed and in_reactor_thread():
            # All on one connection: a variable that was written is there when it is read.
            return self.redis.execute_command(*command)
        return self._command(*command)

    def _command(self, *command: bytes | str | int) -> Any:
        def execute() -> Deferred[Any]:
            return self.bus.link.execute(*command)

        if not is_running():
            return sync_commands.execute(self._address, *command)
        return execute() if in_reactor_thread() else run(execute)

    def _connect_soon(self) -> None:
        global_reactor().callLater(0, self._connect)

    def _connect(self) -> None:
        if self._is_closed:
            return
        observers = self.bus.link.on_lost
        observers.append(self.redisConnectionLost)
        self._lease.keep(self, lambda: maybeDeferred(observers.remove, self.redisConnectionLost))
        Deferred.fromCoroutine(self._connected()).addErrback(lambda _: None)  # stopped before

    async def _connected(self) -> None:
        await self.bus.connected()
        # OpenTera's websocket modules make a client for each websocket, and have to read its
        # handshake first. A connection of their own took two round trips, the shared one none.
        for _ in range(2):
            with suppress(BusError):
                await self.bus.link.execute("PING")
        if not self._is_closed:
            callbacks.run(f"redisConnectionMade of {self}", self.redisConnectionMade)

    def _subscribe(self, pattern: str) -> Deferred[Any]:
        subscribing = self._subscriptions.get(pattern)
        if subscribing is None:
            subscribing = self._subscriptions[pattern] = self.bus.subscribe_pattern(
                pattern, self._received
            )
            subscribing.addCallbacks(self._subscribed, partial(self._not_subscribed, pattern))
        told: Deferred[Any] = Deferred()
        subscribing.addBoth(lambda outcome: _tell(told, outcome))
        return told

    def _subscribed(self, subscription: Subscription) -> Subscription:
        self._lease.keep(subscription, subscription.cancel)
        return subscription

    def _not_subscribed(self, pattern: str, failure: Failure) -> Failure:
        self._subscriptions.pop(pattern, None)
        return failure

    def _unsubscribe(self, pattern: str) -> Deferred[Any]:
        subscribing = self._subscriptions.pop(pattern, None)
        if subscribing is None:
            return succeed(None)

        def cancel(subscription: Subscription) -> Deferred[None]:
            self._lease.forget(subscription)
            return subscription.cancel()

        return subscribing.addCallback(cancel)

    def _received(self, delivery: Delivery) -> None:
        assert delivery.pattern is not None  # noqa: S101 (it was subscribed as one)
        self.redisMessageReceived(delivery.pattern, delivery.topic, delivery.payload)


def stored(value: Any, what: str = "a value") -> bytes | str:
    """Write a key or a value as redis-py does.

    Raises:
        InvalidArgument: redis-py refuses it, too.
    """
    if isinstance(value, (bytes, str)):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(value)
    raise InvalidArgument(
        f"{what} is bytes, str, int or float, not {type(value).__name__}: convert it first"
    )


def _tell(told: Deferred[Any], outcome: Any) -> Any:
    if isinstance(outcome, Failure):
        told.errback(outcome)
        return None
    told.callback(outcome)
    return outcome
