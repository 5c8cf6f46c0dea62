"""`RedisClient`: variables, publishing and subscriptions for existing OpenTera programs."""

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
"""Function called with pattern, channel and message."""


class RedisClient:
    """A program's access to Redis; all clients of a process share two connections.

    Subscriptions are restored after a break, so that `redisConnectionMade` is called only once. In
    the reactor's thread, `publish`, `redisSet` and `redisDelete` return a Deferred instead of the
    result, and `redisGet` raises `InReactorThread`. After ``install(blocking_in_reactor=True)``,
    variables are read and written there as in any other thread.

    Args:
        config: ``hostname``, ``port``, ``db``, ``username`` and ``password``; None uses the Redis
            of this machine.

    Attributes:
        callbacks_dict: callbacks by pattern.

    Example:
        >>> redis = RedisClient({"hostname": "127.0.0.1", "port": 6379, "db": 0})
        >>> redis.redisSet("greeting", "hello", ex=60)
        True
        >>> redis.redisGet("greeting")
        b'hello'
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
        # Connect after the constructor of a derived class.
        in_reactor(self._connect_soon)

    @property
    def bus(self) -> Bus:
        """The bus, for functions that this class lacks; use it in the reactor's thread."""
        return self._lease.bus

    @property
    def redis(self) -> Any:
        """A redis-py client, created on first use; a program may assign another one.

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
        """Return the config that was passed."""
        return self.redisConfig

    def redisConnectionMade(self) -> None:
        """Called once, when Redis is connected; override it to subscribe."""

    def redisConnectionLost(self, reason: Failure) -> None:
        """Called when the link breaks; it is restored with all subscriptions."""

    def redisMessageReceived(self, pattern: str, channel: str, message: bytes) -> None:
        """Called for each message of a subscription; calls the callback of its pattern."""
        callback = self.callbacks_dict.get(pattern)
        if callback is not None:
            callbacks.run(f"the callback of {pattern}", callback, pattern, channel, message)

    def subscribe(self, topic: str) -> Deferred[Any]:
        """Subscribe to a topic or pattern; fires when Redis has acknowledged it."""
        return in_reactor(lambda: self._subscribe(topic))

    def unsubscribe(self, topic: str) -> Deferred[Any]:
        """Unsubscribe from a topic or pattern; fires when no more messages arrive."""
        return in_reactor(lambda: self._unsubscribe(topic))

    def subscribe_pattern_with_callback(self, pattern: str, function: Callback) -> Deferred[Any]:
        """Subscribe a callback to a pattern, in place of any earlier callback."""
        self.callbacks_dict[pattern] = function
        return self.subscribe(pattern)

    def unsubscribe_pattern_with_callback(self, pattern: str, function: Callback) -> Deferred[Any]:
        """Unsubscribe the callback of a pattern."""
        self.callbacks_dict.pop(pattern, None)
        return self.unsubscribe(pattern)

    def publish(self, topic: str, message: bytes | str | Message) -> Any:
        """Publish a message; return the number of receivers."""
        return self._command("PUBLISH", topics.encode(topic), encode_payload(message))

    def redisGet(self, key: str) -> Any:
        """Read a variable: its bytes, or None.

        Raises:
            InReactorThread: waiting would block the reactor.
            InvalidArgument: redis-py refuses the key's type.
        """
        check_may_block("redisGet", "await self.bus.variables.get(key)")
        return self._variable("GET", stored(key, "a key"))

    def redisSet(
        self, key: str, value: bytes | str | float, ex: int | timedelta | None = None
    ) -> Any:
        """Write a variable, which expires after ``ex`` (seconds or a ``timedelta``); return True.

        Raises:
            InvalidArgument: redis-py refuses the type of the key or the value, such as None or
                bool.
        """
        name, data = stored(key, "a key"), stored(value)
        seconds = int(ex.total_seconds()) if isinstance(ex, timedelta) else ex
        lifetime = () if seconds is None else ("EX", seconds)
        reply = self._variable("SET", name, data, *lifetime)
        return reply if isinstance(reply, Deferred) else True

    def redisDelete(self, key: str) -> Any:
        """Delete a variable; return the number of deleted variables.

        Raises:
            InvalidArgument: redis-py refuses the key's type.
        """
        return self._variable("DEL", stored(key, "a key"))

    def redisClose(self) -> Deferred[Any]:
        """End the subscriptions; the process's last client closes the connections."""
        self._is_closed = True
        return in_reactor(self._lease.close)

    def _variable(self, *command: bytes | str | int) -> Any:
        if blocking_calls.are_allowed and in_reactor_thread():
            # All on one connection, so that a read returns what was written before.
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
        # OpenTera's websocket modules make a client for each websocket, and must read its handshake
        # first. A separate connection took two round trips, the shared one takes none.
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
        result: Deferred[Any] = Deferred()
        subscribing.addBoth(lambda outcome: _pass_on(outcome, result))
        return result

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
        assert delivery.pattern is not None  # noqa: S101 (it is a pattern subscription)
        self.redisMessageReceived(delivery.pattern, delivery.topic, delivery.payload)


def stored(value: Any, what: str = "a value") -> bytes | str:
    """Encode a key or a value as redis-py does.

    Raises:
        InvalidArgument: redis-py refuses it too.
    """
    if isinstance(value, (bytes, str)):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(value)
    raise InvalidArgument(
        f"{what} must be bytes, str, int or float, not {type(value).__name__}; convert it first"
    )


def _pass_on(outcome: Any, result: Deferred[Any]) -> Any:
    if isinstance(outcome, Failure):
        result.errback(outcome)
        return None
    result.callback(outcome)
    return outcome
