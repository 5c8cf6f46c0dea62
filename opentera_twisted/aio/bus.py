"""`AsyncioBus`: the methods of `Bus` for asyncio, as in FastAPI, aiohttp and notebooks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from attrs import evolve
from google.protobuf.message import Message
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from opentera_twisted._internal.redis_signatures import Awaited
from opentera_twisted._internal.timeouts import check_positive, check_timeout
from opentera_twisted.aio.deliveries import (
    ContextItems,
    Deliveries,
    Items,
    call_handlers,
    in_context,
)
from opentera_twisted.aio.loops import in_loop, running_loop
from opentera_twisted.bus import DISCOVERY_TIMEOUT, Bus
from opentera_twisted.errors import BusUnavailable, ForkedProcess
from opentera_twisted.link import DEFAULT_URL, RedisAddress
from opentera_twisted.logs import LogPublisher
from opentera_twisted.pubsub import Handler, OnGap, check_handlers
from opentera_twisted.reactor_thread import (
    BusLease,
    ThreadLogPublisher,
    run_in_loop,
    run_in_loop_in_context,
    running_reactor,
)
from opentera_twisted.reactor_thread.handlers import MOST_WAITING
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

T = TypeVar("T")


class Do(Protocol):
    """Run a function with the bus in the reactor's thread, and await its result."""

    async def __call__(self, function: Callable[[Bus], Awaitable[T]]) -> T:
        """Return the result of the function's Deferred or coroutine."""


class _Running:
    """Something that runs in the reactor's thread until it is ended.

    Args:
        lease: the bus whose closing ends it too.
    """

    def __init__(self, lease: BusLease) -> None:
        self._lease = lease
        self._end: Callable[[], Deferred[None]] | None = None

    def started(self, end: Callable[[], Deferred[None]]) -> None:
        """Note that it runs, and how to end it, in the reactor's thread."""
        self._end = end
        self._lease.keep(self, end)

    def end(self) -> Deferred[None]:
        """End it, unless it has ended, in the reactor's thread."""
        self._lease.forget(self)
        end, self._end = self._end, None
        return succeed(None) if end is None else end()

    def end_from_loop(self) -> None:
        """End it without waiting, in any thread."""
        reactor = running_reactor()
        if reactor is not None:
            reactor.callFromThread(self.end)


Begin = Callable[[Bus, _Running], Awaitable[None]]
"""Begins something, and notes that it runs."""


class Handle:
    """A running subscription, watch or server, which can be ended.

    Args:
        running: the subscription, watch or server.

    Example:
        >>> handle = await bus.subscribe("service.Bell.events", print)
        >>> await handle.cancel()
    """

    def __init__(self, running: _Running) -> None:
        self._running = running

    async def cancel(self) -> None:
        """End it: finish what is running, and begin nothing new."""
        with suppress(BusUnavailable, ForkedProcess):  # the reactor has stopped, and ended it
            await run_in_loop(self._running.end)

    stop = cancel


class AsyncioProxy(Proxy):
    """A server's procedures as coroutine functions; see `Proxy`.

    Example:
        >>> sums = await bus.proxy("service.Sum")
        >>> await sums.add(1, b=2)
        3
    """

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Json]]:  # type: ignore[override]
        return super().__getattr__(name)  # type: ignore[return-value]  # what `call` returns


class AsyncioVariables:
    """Shared variables, as `Variables`, for asyncio.

    Example:
        >>> await bus.variables.set("greeting", "hello")
        True
        >>> await bus.variables.get("greeting")
        b'hello'
    """

    def __init__(self, do: Do, lease: BusLease) -> None:
        self._do = do
        self._lease = lease

    async def get(self, name: str) -> bytes | None:
        """Read a variable: see `Variables.get`."""
        return await self._do(lambda bus: bus.variables.get(name))

    async def set(
        self,
        name: str,
        value: bytes | str,
        ttl: float | None = None,
        only_if_absent: bool = False,
    ) -> bool:
        """Write a variable: see `Variables.set`."""
        return await self._do(lambda bus: bus.variables.set(name, value, ttl, only_if_absent))

    async def delete(self, *names: str) -> int:
        """Delete variables: see `Variables.delete`."""
        return await self._do(lambda bus: bus.variables.delete(*names))

    async def compare_and_set(
        self, name: str, expected: bytes | str | None, value: bytes | str, ttl: float | None = None
    ) -> bool:
        """Write a variable if it has the expected value: see `Variables.compare_and_set`."""
        return await self._do(lambda bus: bus.variables.compare_and_set(name, expected, value, ttl))

    async def watch(self, name: str, handler: WatchHandler) -> Handle:
        """Call a handler in this event loop when a variable changes: see `Variables.watch`."""
        check_watch_handler(handler)
        loop = running_loop()

        async def begin(bus: Bus, running: _Running) -> None:
            called = in_loop(bus.link.reactor, loop, handler)
            watch = await bus.variables.watch(name, called)
            running.started(watch.cancel)

        return Handle(await _begin(self._do, _Running(self._lease), begin))


class AsyncioPresence:
    """Identities online, as `Presence`, for asyncio.

    Example:
        >>> await bus.presence.online("user")
        []
    """

    def __init__(self, do: Do) -> None:
        self._do = do

    async def online(self, kind: Kind) -> list[str]:
        """List the identities of one kind with an open websocket: see `Presence.online`."""
        return await self._do(lambda bus: bus.presence.online(kind))

    async def everyone(self) -> dict[Kind, list[str]]:
        """List the identities with an open websocket, by kind: see `Presence.everyone`."""
        return await self._do(lambda bus: bus.presence.everyone())

    async def disconnect(self, kind: Kind, uuid: str) -> int:
        """Close the websockets of one identity at every gateway: see `Presence.disconnect`."""
        return await self._do(lambda bus: bus.presence.disconnect(kind, uuid))


class AsyncioRedis(Awaited):
    """txredisapi's commands, as `RedisCommands`, for asyncio.

    Example:
        >>> await bus.redis.hset("colours", "sky", "blue")
        1
        >>> await bus.redis.hgetall("colours")
        {b'sky': b'blue'}
    """

    def __init__(self, do: Do) -> None:
        self._do = do

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        if name.startswith("_"):
            raise AttributeError(name)

        async def call(*arguments: Any, **named: Any) -> Any:
            return await self._do(lambda bus: getattr(bus.redis, name)(*arguments, **named))

        call.__name__ = call.__qualname__ = name
        return call


class AsyncioBus:
    """`Bus` for asyncio: same names, errors and timeouts; every method is a coroutine.

    It works in any asyncio event loop, also in several ones after each other. No reactor has to be
    installed: all objects of a process share one reactor thread and, for each Redis, two
    connections, which the first call opens. Cancelling a coroutine cancels what it waits for.

    Every method raises what the method of `Bus` raises or fails with. It can also raise
    `ForkedProcess`, or `BusUnavailable` after `close`.

    As an asynchronous context manager, it closes at the end of the block.

    Args:
        url: as in `Bus`.
        name: name in Redis's client list; the first object's name applies to all of them.
        tracing: as in `Bus`; traced objects have two connections of their own.

    Attributes:
        variables: shared variables.
        presence: users, participants and devices connected to gateways.
        redis: txredisapi's commands.

    Example:
        >>> async with AsyncioBus("redis://127.0.0.1:6379/0") as bus:
        ...     await bus.call_service("Sum", "add", 1, 2)
        3
    """

    _log = Logger()

    def __init__(
        self,
        url: str | RedisAddress = DEFAULT_URL,
        *,
        name: str = "opentera-bus",
        tracing: bool = False,
    ) -> None:
        address = url if isinstance(url, RedisAddress) else RedisAddress.parse(url)
        self._lease = BusLease(address, name, tracing)
        self._is_traced = tracing
        self._run: Callable[[Callable[[], Any]], Awaitable[Any]] = (
            run_in_loop_in_context if tracing else run_in_loop
        )
        self._handling: set[asyncio.Task[None]] = set()
        self.variables = AsyncioVariables(self._do, self._lease)
        self.presence = AsyncioPresence(self._do)
        self.redis = AsyncioRedis(self._do)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End this object's subscriptions, watches and servers.

        The last object of a Redis closes the connections. A program's exit closes all objects.
        """
        if self._lease.close_unused():
            return
        # The reactor may have stopped, with everything in it, or belong to the parent process.
        with suppress(BusUnavailable, ForkedProcess):
            await run_in_loop(self._lease.close)

    async def connected(self, timeout: float | None = None) -> None:
        """Wait until the bus is connected.

        Args:
            timeout: seconds; None waits indefinitely.

        Raises:
            InvalidArgument: the timeout is not a number above 0.
            BusUnavailable: the timeout expired, with the reason.
        """
        await self._do(lambda bus: bus.connected(timeout))

    async def publish(self, topic: str, payload: bytes | str | Message) -> int:
        """Publish a message: see `Bus.publish`."""
        return await self._do(lambda bus: bus.publish(topic, payload))

    async def publish_event(self, topic: str, *events: Message) -> int:
        """Publish events in a ``TeraEvent``: see `Bus.publish_event`."""
        return await self._do(lambda bus: bus.publish_event(topic, *events))

    async def send_module_message(self, dest: str, *messages: Message, source: str) -> int:
        """Publish messages in a ``TeraModuleMessage``: see `Bus.send_module_message`."""
        return await self._do(lambda bus: bus.send_module_message(dest, *messages, source=source))

    async def subscribe(self, topic: str, handler: Handler, on_gap: OnGap | None = None) -> Handle:
        """Subscribe a handler to a topic: see `Bus.subscribe`.

        Args:
            topic: exact name of the topic.
            handler: function or coroutine function, called in this event loop for one delivery at a
                time. Above 10,000 queued deliveries, the oldest are dropped and ``on_gap``
                is called.
            on_gap: called in the same way when deliveries may have been missed.

        Returns:
            A `Handle` that ends the subscription.
        """
        return await self._subscribe(False, topic, handler, on_gap)

    async def subscribe_pattern(
        self, pattern: str, handler: Handler, on_gap: OnGap | None = None
    ) -> Handle:
        """Subscribe a handler to the topics of a pattern; otherwise like `subscribe`."""
        return await self._subscribe(True, pattern, handler, on_gap)

    def subscription(self, topic: str, max_pending: int = 1000) -> Deliveries:
        """Subscribe to a topic with ``async for delivery in bus.subscription(topic)``.

        Args:
            topic: exact name of the topic.
            max_pending: number of waiting deliveries above which the oldest are dropped.

        Returns:
            `Deliveries`, which yields each `Delivery`, and a `Gap` where messages may be missing.

        Raises:
            InvalidArgument: ``max_pending`` is not an integer above 0.
        """
        return self._deliveries(False, topic, max_pending)

    def subscription_pattern(self, pattern: str, max_pending: int = 1000) -> Deliveries:
        """Subscribe to the topics of a pattern; otherwise like `subscription`."""
        return self._deliveries(True, pattern, max_pending)

    def _deliveries(self, is_pattern: bool, topic: str, max_pending: int) -> Deliveries:
        check_positive("max_pending", max_pending)

        async def open_items() -> tuple[Items, Callable[[], Awaitable[None]]]:
            items, running = await self._items(is_pattern, topic, max_pending)
            return items, Handle(running).cancel

        return Deliveries(topic, open_items)

    async def _subscribe(
        self, is_pattern: bool, topic: str, handler: Handler, on_gap: OnGap | None
    ) -> Handle:
        check_handlers(handler, on_gap)
        items, running = await self._items(is_pattern, topic, MOST_WAITING)
        if self._is_traced:
            handler = in_context(handler)
        task = asyncio.ensure_future(call_handlers(items, f"a handler of {topic}", handler, on_gap))
        self._handling.add(task)  # asyncio keeps only weak references

        def done(task: asyncio.Task[None]) -> None:
            self._handling.discard(task)
            running.end_from_loop()

        task.add_done_callback(done)
        return Handle(running)

    async def _items(
        self, is_pattern: bool, topic: str, max_pending: int
    ) -> tuple[Items, _Running]:
        """Subscribe a queue of this event loop."""

        def warn() -> None:
            self._log.warn(
                "the reader of {topic} is too slow: more than {most} deliveries wait; dropping the "
                "oldest",
                topic=topic,
                most=max_pending,
            )

        subscribed = _Running(self._lease)
        kind = ContextItems if self._is_traced else Items
        items = kind(running_loop(), topic, max_pending, warn, subscribed.end)

        async def begin(bus: Bus, running: _Running) -> None:
            method = bus.subscribe_pattern if is_pattern else bus.subscribe
            subscription = await method(topic, items.put, items.put_gap)

            def end() -> Deferred[None]:
                items.end()
                return subscription.cancel()

            running.started(end)

        await _begin(self._do, subscribed, begin)
        return items, subscribed

    async def call(
        self,
        module_name: str,
        function_name: str,
        *args: ArgumentValue,
        timeout: float = CALL_TIMEOUT,
    ) -> Json:
        """Call a procedure of a module: see `Bus.call`."""
        return await self._do(
            lambda bus: bus.call(module_name, function_name, *args, timeout=timeout)
        )

    async def call_service(
        self,
        service_key: str,
        function_name: str,
        *args: ArgumentValue,
        timeout: float = CALL_TIMEOUT,
    ) -> Json:
        """Call a procedure of a service: see `Bus.call_service`."""
        return await self._do(
            lambda bus: bus.call_service(service_key, function_name, *args, timeout=timeout)
        )

    async def call_server(
        self,
        server: str,
        function_name: str,
        *args: ArgumentValue,
        timeout: float = CALL_TIMEOUT,
    ) -> Json:
        """Call a procedure of a service or a module: see `Bus.call_server`."""
        return await self._do(
            lambda bus: bus.call_server(server, function_name, *args, timeout=timeout)
        )

    async def call_all(
        self,
        server: str,
        function_name: str,
        *args: ArgumentValue,
        timeout: float = DISCOVERY_TIMEOUT,
    ) -> list[Answer]:
        """Call a procedure of every server of a topic: see `Bus.call_all`."""
        return await self._do(
            lambda bus: bus.call_all(server, function_name, *args, timeout=timeout)
        )

    async def describe(self, server: str, timeout: float = CALL_TIMEOUT) -> Description:
        """Get a server's description of itself and its procedures: see `Bus.describe`."""
        return await self._do(lambda bus: bus.describe(server, timeout))

    async def services(self, timeout: float = DISCOVERY_TIMEOUT) -> list[Listening]:
        """List the services and modules that listen now: see `Bus.services`."""
        return await self._do(lambda bus: bus.services(timeout))

    async def proxy(self, server: str, timeout: float = CALL_TIMEOUT) -> AsyncioProxy:
        """Make an object with a server's procedures as coroutine functions: see `Bus.proxy`."""
        check_timeout(timeout)

        def call(procedure: str, arguments: Sequence[ArgumentValue]) -> Any:
            return self.call_server(server, procedure, *arguments, timeout=timeout)

        return AsyncioProxy(await self.describe(server, timeout), call)

    async def serve_service(
        self,
        service_key: str,
        procedures: Procedures,
        uuid: str | None = None,
        exclusive: bool = False,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Handle:
        """Serve the calls of a service: see `Bus.serve_service`.

        Procedures run in this event loop; those with ``thread=True`` run in threads.

        Returns:
            A `Handle` that stops the server.
        """
        return await self._serve(
            procedures,
            lambda bus, adapted: bus.serve_service(service_key, adapted, uuid, exclusive, limits),
        )

    async def serve_module(
        self,
        module_name: str,
        procedures: Procedures,
        exclusive: bool = False,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Handle:
        """Serve the calls of a module; otherwise like `serve_service`."""
        return await self._serve(
            procedures,
            lambda bus, adapted: bus.serve_module(module_name, adapted, exclusive, limits),
        )

    async def _serve(
        self, procedures: Procedures, serve: Callable[[Bus, Procedures], Deferred[Any]]
    ) -> Handle:
        loop = running_loop()

        async def begin(bus: Bus, running: _Running) -> None:
            def adapt(procedure: Procedure) -> Procedure:
                if procedure.thread:
                    return procedure
                return evolve(
                    procedure, function=in_loop(bus.link.reactor, loop, procedure.function)
                )

            adapted = (
                procedures.adapted(adapt) if isinstance(procedures, Procedures) else procedures
            )
            server = await serve(bus, adapted)
            running.started(server.stop)

        return Handle(await _begin(self._do, _Running(self._lease), begin))

    async def issue_key(
        self,
        kind: Kind,
        uuid: str,
        ttl: float = SESSION_KEY_LIFETIME,
        name: str | None = None,
        topics: Sequence[str] = (),
    ) -> str:
        """Make a session key: see `SessionKeys.issue`."""
        return await self._do(lambda bus: SessionKeys(bus).issue(kind, uuid, ttl, name, topics))

    async def redeem_key(
        self, kind: Kind, key: str, require_bound: bool = False
    ) -> Identity | None:
        """Redeem a session key: see `SessionKeys.redeem`."""
        return await self._do(lambda bus: SessionKeys(bus, require_bound).redeem(kind, key))

    def log_publisher(self, sender: str) -> LogPublisher:
        """Publish the program's log: ``addHandler(bus.log_publisher("me").handler())``.

        Args:
            sender: sender of messages that name none.
        """
        return ThreadLogPublisher(self._lease, sender)

    async def _do(self, function: Callable[[Bus], Awaitable[T]]) -> T:
        running_loop()
        value: T = await self._run(lambda: function(self._lease.bus))
        return value


async def _begin(do: Do, running: _Running, begin: Begin) -> _Running:
    """Begin something; end it if the caller is cancelled meanwhile."""
    try:
        await do(lambda bus: begin(bus, running))
    except asyncio.CancelledError:
        running.end_from_loop()  # it may have begun just before
        raise
    return running
