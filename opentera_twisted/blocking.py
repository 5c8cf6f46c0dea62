"""`BlockingBus`: the methods of `Bus` for blocking threads, as in Flask, Django and scripts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from inspect import iscoroutinefunction
from typing import Any, Protocol, Self, TypeVar

from attrs import evolve
from google.protobuf.message import Message
from twisted.internet.defer import Deferred

from opentera_twisted._internal.redis_signatures import Blocking
from opentera_twisted._internal.thread_pool import THREADS, ContextThreadPool, ThreadPool
from opentera_twisted.bus import DISCOVERY_TIMEOUT, Bus
from opentera_twisted.errors import BusUnavailable, ForkedProcess
from opentera_twisted.link import DEFAULT_URL, RedisAddress
from opentera_twisted.logs import LogPublisher
from opentera_twisted.pubsub import Handler, OnGap, check_handlers
from opentera_twisted.reactor_thread import (
    BusLease,
    ContextQueue,
    SerialQueue,
    ThreadLogPublisher,
    in_thread,
    run,
    run_in_context,
)
from opentera_twisted.rpc import (
    CALL_TIMEOUT,
    DEFAULT_LIMITS,
    Answer,
    ArgumentValue,
    Description,
    Json,
    Limits,
    Listening,
    Procedures,
    Proxy,
)
from opentera_twisted.rpc.procedures import Procedure
from opentera_twisted.sessions import Identity, SessionKeys
from opentera_twisted.topics import Kind
from opentera_twisted.variables import SESSION_KEY_LIFETIME
from opentera_twisted.watches import WatchHandler, check_watch_handler

__all__ = [
    "BlockingBus",
    "BlockingPresence",
    "BlockingProxy",
    "BlockingRedis",
    "BlockingVariables",
    "Ending",
    "Handle",
]

T = TypeVar("T")


class Do(Protocol):
    """Run a function with the bus in the reactor's thread, and wait for its result."""

    def __call__(self, function: Callable[[Bus], Awaitable[T]]) -> T:
        """Return the result of the function's Deferred or coroutine."""


class Handle:
    """A running subscription, watch or server, which can be ended.

    Args:
        end: function that ends it and waits until it has ended.

    Example:
        >>> handle = bus.subscribe("service.Bell.events", print)
        >>> handle.cancel()
    """

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end

    def cancel(self) -> None:
        """End it: finish what is running, and begin nothing new."""
        self._end()

    stop = cancel


Ending = Handle
"""Former name of `Handle`.

Example:
    >>> Ending is Handle
    True
"""


class BlockingProxy(Proxy):
    """A server's procedures as methods that block until the result arrives; see `Proxy`.

    Example:
        >>> sums = bus.proxy("service.Sum")
        >>> sums.add(1, b=2)
        3
    """

    def __getattr__(self, name: str) -> Callable[..., Json]:  # type: ignore[override]
        return super().__getattr__(name)  # type: ignore[return-value]  # what `call` returns


class BlockingVariables:
    """Shared variables, as `Variables`, for threads that may block.

    Example:
        >>> bus.variables.set("greeting", "hello")
        True
        >>> bus.variables.get("greeting")
        b'hello'
    """

    def __init__(self, do: Do, lease: BusLease, threads: ThreadPool) -> None:
        self._do = do
        self._lease = lease
        self._threads = threads

    def get(self, name: str) -> bytes | None:
        """Read a variable: see `Variables.get`."""
        return self._do(lambda bus: bus.variables.get(name))

    def set(
        self,
        name: str,
        value: bytes | str,
        ttl: float | None = None,
        only_if_absent: bool = False,
    ) -> bool:
        """Write a variable: see `Variables.set`."""
        return self._do(lambda bus: bus.variables.set(name, value, ttl, only_if_absent))

    def delete(self, *names: str) -> int:
        """Delete variables: see `Variables.delete`."""
        return self._do(lambda bus: bus.variables.delete(*names))

    def compare_and_set(
        self, name: str, expected: bytes | str | None, value: bytes | str, ttl: float | None = None
    ) -> bool:
        """Write a variable if it has the expected value: see `Variables.compare_and_set`."""
        return self._do(lambda bus: bus.variables.compare_and_set(name, expected, value, ttl))

    def watch(self, name: str, handler: WatchHandler) -> Handle:
        """Call a handler in a thread when a variable changes: see `Variables.watch`."""
        check_watch_handler(handler)

        async def watch(bus: Bus) -> Handle:
            what = f"a handler of the variable {name}"
            called = in_thread(bus.link.reactor, self._threads, what, handler)
            watch = await bus.variables.watch(name, called)
            return _handle(self._lease, watch.cancel)

        return self._do(watch)


class BlockingPresence:
    """Identities online, as `Presence`, for threads that may block.

    Example:
        >>> bus.presence.online("user")
        []
    """

    def __init__(self, do: Do) -> None:
        self._do = do

    def online(self, kind: Kind) -> list[str]:
        """List the identities of one kind with an open websocket: see `Presence.online`."""
        return self._do(lambda bus: bus.presence.online(kind))

    def everyone(self) -> dict[Kind, list[str]]:
        """List the identities with an open websocket, by kind: see `Presence.everyone`."""
        return self._do(lambda bus: bus.presence.everyone())

    def disconnect(self, kind: Kind, uuid: str) -> int:
        """Close the websockets of one identity at every gateway: see `Presence.disconnect`."""
        return self._do(lambda bus: bus.presence.disconnect(kind, uuid))


class BlockingRedis(Blocking):
    """txredisapi's commands, as `RedisCommands`, for threads that may block.

    Example:
        >>> bus.redis.hset("colours", "sky", "blue")
        1
        >>> bus.redis.hgetall("colours")
        {b'sky': b'blue'}
    """

    def __init__(self, do: Do) -> None:
        self._do = do

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*arguments: Any, **named: Any) -> Any:
            return self._do(lambda bus: getattr(bus.redis, name)(*arguments, **named))

        call.__name__ = call.__qualname__ = name
        return call


class BlockingBus:
    """`Bus` for threads that may block: same names, errors and timeouts; results are returned.

    All objects of a process share one reactor thread. For each Redis they share two connections,
    which the first call opens. Handlers and procedures run in threads and may call the bus.

    Every method raises what the method of `Bus` raises or fails with. It can also raise
    `InReactorThread`, `ForkedProcess`, or `BusUnavailable` after `close`. An exception that
    interrupts a waiting call, such as Ctrl-C, abandons the call.

    Args:
        url: as in `Bus`.
        name: name in Redis's client list; the first object's name applies to all of them.
        handler_threads: number of threads for this object's handlers. Procedures have other
            threads, as many as the `Limits` of their server allow.
        tracing: as in `Bus`; traced objects have two connections of their own.

    Attributes:
        variables: shared variables.
        presence: users, participants and devices connected to gateways.
        redis: txredisapi's commands.

    Example:
        >>> with BlockingBus("redis://127.0.0.1:6379/0") as bus:
        ...     bus.call_service("Sum", "add", 1, 2)
        3
    """

    def __init__(
        self,
        url: str | RedisAddress = DEFAULT_URL,
        *,
        name: str = "opentera-bus",
        handler_threads: int = THREADS,
        tracing: bool = False,
    ) -> None:
        address = url if isinstance(url, RedisAddress) else RedisAddress.parse(url)
        self._lease = BusLease(address, name, tracing)
        self._run: Callable[[Callable[[], Any]], Any] = run_in_context if tracing else run
        self._queue = ContextQueue if tracing else SerialQueue
        pool = ContextThreadPool if tracing else ThreadPool
        self._threads = pool("handlers of a BlockingBus", handler_threads)
        self.variables = BlockingVariables(self._do, self._lease, self._threads)
        self.presence = BlockingPresence(self._do)
        self.redis = BlockingRedis(self._do)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End this object's subscriptions, watches and servers.

        The last object of a Redis closes the connections. A program's exit closes all objects.
        """
        if self._lease.close_unused():
            return
        # The reactor may have stopped, with everything in it, or belong to the parent process.
        with suppress(BusUnavailable, ForkedProcess):
            run(self._lease.close)
        self._threads.stop()

    def connected(self, timeout: float | None = None) -> None:
        """Wait until the bus is connected.

        Args:
            timeout: seconds; None waits indefinitely.

        Raises:
            InvalidArgument: the timeout is not a number above 0.
            BusUnavailable: the timeout expired, with the reason.
        """
        self._do(lambda bus: bus.connected(timeout))

    def publish(self, topic: str, payload: bytes | str | Message) -> int:
        """Publish a message: see `Bus.publish`."""
        return self._do(lambda bus: bus.publish(topic, payload))

    def publish_event(self, topic: str, *events: Message) -> int:
        """Publish events in a ``TeraEvent``: see `Bus.publish_event`."""
        return self._do(lambda bus: bus.publish_event(topic, *events))

    def send_module_message(self, dest: str, *messages: Message, source: str) -> int:
        """Publish messages in a ``TeraModuleMessage``: see `Bus.send_module_message`."""
        return self._do(lambda bus: bus.send_module_message(dest, *messages, source=source))

    def subscribe(self, topic: str, handler: Handler, on_gap: OnGap | None = None) -> Handle:
        """Subscribe a handler to a topic: see `Bus.subscribe`.

        Args:
            topic: exact name of the topic.
            handler: called in a thread, for one delivery at a time; a coroutine function runs in
                the reactor's thread. Above 10,000 queued deliveries, the oldest are dropped
                and ``on_gap`` is called.
            on_gap: called in the same way when deliveries may have been missed.

        Returns:
            A `Handle` that ends the subscription.
        """
        return self._subscribe(False, topic, handler, on_gap)

    def subscribe_pattern(
        self, pattern: str, handler: Handler, on_gap: OnGap | None = None
    ) -> Handle:
        """Subscribe a handler to the topics of a pattern; otherwise like `subscribe`."""
        return self._subscribe(True, pattern, handler, on_gap)

    def _subscribe(
        self, is_pattern: bool, topic: str, handler: Handler, on_gap: OnGap | None
    ) -> Handle:
        check_handlers(handler, on_gap)

        async def subscribe(bus: Bus) -> Handle:
            what = f"a handler of {topic}"
            queue = self._queue(bus.link.reactor, self._threads, what, handler, on_gap)
            method = bus.subscribe_pattern if is_pattern else bus.subscribe
            called = handler if iscoroutinefunction(handler) else queue
            gap = None if on_gap is None else lambda: queue.call(on_gap)
            subscription = await method(topic, called, gap)

            def cancel() -> Deferred[None]:
                queue.end()
                return subscription.cancel()

            return _handle(self._lease, cancel)

        return self._do(subscribe)

    def call(
        self,
        module_name: str,
        function_name: str,
        *args: ArgumentValue,
        timeout: float = CALL_TIMEOUT,
    ) -> Json:
        """Call a procedure of a module: see `Bus.call`."""
        return self._do(lambda bus: bus.call(module_name, function_name, *args, timeout=timeout))

    def call_service(
        self,
        service_key: str,
        function_name: str,
        *args: ArgumentValue,
        timeout: float = CALL_TIMEOUT,
    ) -> Json:
        """Call a procedure of a service: see `Bus.call_service`."""
        return self._do(
            lambda bus: bus.call_service(service_key, function_name, *args, timeout=timeout)
        )

    def call_server(
        self,
        server: str,
        function_name: str,
        *args: ArgumentValue,
        timeout: float = CALL_TIMEOUT,
    ) -> Json:
        """Call a procedure of a service or a module: see `Bus.call_server`."""
        return self._do(lambda bus: bus.call_server(server, function_name, *args, timeout=timeout))

    def call_all(
        self,
        server: str,
        function_name: str,
        *args: ArgumentValue,
        timeout: float = DISCOVERY_TIMEOUT,
    ) -> list[Answer]:
        """Call a procedure of every server of a topic: see `Bus.call_all`."""
        return self._do(lambda bus: bus.call_all(server, function_name, *args, timeout=timeout))

    def describe(self, server: str, timeout: float = CALL_TIMEOUT) -> Description:
        """Get a server's description of itself and its procedures: see `Bus.describe`."""
        return self._do(lambda bus: bus.describe(server, timeout))

    def services(self, timeout: float = DISCOVERY_TIMEOUT) -> list[Listening]:
        """List the services and modules that listen now: see `Bus.services`."""
        return self._do(lambda bus: bus.services(timeout))

    def proxy(self, server: str, timeout: float = CALL_TIMEOUT) -> BlockingProxy:
        """Make an object with a server's procedures as blocking methods: see `Bus.proxy`."""

        def call(procedure: str, arguments: Sequence[ArgumentValue]) -> Any:
            return self.call_server(server, procedure, *arguments, timeout=timeout)

        return BlockingProxy(self.describe(server, timeout), call)

    def serve_service(
        self,
        service_key: str,
        procedures: Procedures,
        uuid: str | None = None,
        exclusive: bool = False,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Handle:
        """Serve the calls of a service: see `Bus.serve_service`.

        Procedures run in threads; coroutine functions run in the reactor's thread.

        Returns:
            A `Handle` that stops the server.
        """
        return self._serve(
            procedures,
            lambda bus, adapted: bus.serve_service(service_key, adapted, uuid, exclusive, limits),
        )

    def serve_module(
        self,
        module_name: str,
        procedures: Procedures,
        exclusive: bool = False,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Handle:
        """Serve the calls of a module; otherwise like `serve_service`."""
        return self._serve(
            procedures,
            lambda bus, adapted: bus.serve_module(module_name, adapted, exclusive, limits),
        )

    def _serve(
        self, procedures: Procedures, serve: Callable[[Bus, Procedures], Deferred[Any]]
    ) -> Handle:
        async def start(bus: Bus) -> Handle:
            server = await serve(bus, procedures.adapted(_in_thread))
            return _handle(self._lease, server.stop)

        return self._do(start)

    def issue_key(
        self,
        kind: Kind,
        uuid: str,
        ttl: float = SESSION_KEY_LIFETIME,
        name: str | None = None,
        topics: Sequence[str] = (),
    ) -> str:
        """Make a session key: see `SessionKeys.issue`."""
        return self._do(lambda bus: SessionKeys(bus).issue(kind, uuid, ttl, name, topics))

    def redeem_key(self, kind: Kind, key: str, require_bound: bool = False) -> Identity | None:
        """Redeem a session key: see `SessionKeys.redeem`."""
        return self._do(lambda bus: SessionKeys(bus, require_bound).redeem(kind, key))

    def log_publisher(self, sender: str) -> LogPublisher:
        """Publish the program's log: ``addHandler(bus.log_publisher("me").handler())``.

        The publisher does not start the reactor's thread, so that it can be made and used before a
        fork.

        Args:
            sender: sender of messages that name none.
        """
        return ThreadLogPublisher(self._lease, sender)

    def _do(self, function: Callable[[Bus], Awaitable[T]]) -> T:
        value: T = self._run(lambda: function(self._lease.bus))
        return value


def _in_thread(procedure: Procedure) -> Procedure:
    if iscoroutinefunction(procedure.function):
        return procedure
    return evolve(procedure, thread=True)


def _handle(lease: BusLease, end: Callable[[], Deferred[None]]) -> Handle:
    """Make a handle, which also ends when the object that made it is closed."""

    def stop() -> Deferred[None]:
        lease.forget(handle)
        return end()

    handle = Handle(lambda: run(stop))
    lease.keep(handle, end)
    return handle
