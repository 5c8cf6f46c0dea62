"""`Bus`, the object that programs embed: variables, pub/sub, calls and servers over one link."""

from __future__ import annotations

from typing import Any, Final, NoReturn

from google.protobuf.message import Message
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from opentera_twisted import topics
from opentera_twisted._internal.shared_stop import SharedStop
from opentera_twisted._internal.timeouts import check_timeout
from opentera_twisted._internal.unused import needs_use
from opentera_twisted.errors import AlreadyServed, InvalidArgument
from opentera_twisted.link import (
    DEFAULT_URL,
    MAX_WAITING,
    Link,
    RedisAddress,
)
from opentera_twisted.parts import PLAIN, Parts
from opentera_twisted.presence import Presence
from opentera_twisted.pubsub import Handler, OnGap, Subscription
from opentera_twisted.redis_commands import RedisCommands
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
    ProcedureServer,
    Proxy,
    describe,
    services,
)
from opentera_twisted.variables import Variables

DISCOVERY_TIMEOUT: Final = 1.0
"""Default seconds to wait for replies to a request to all servers."""

DRAIN_TIMEOUT: Final = 10.0
"""Seconds that stopping waits for running calls."""


class Bus(Service):
    """Variables, pub/sub, remote calls and servers on one Redis, over two connections.

    A Twisted service: set its parent, or call `startService` and `stopService`. It reconnects
    indefinitely; commands wait while Redis is down.

    Args:
        url: ``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://`` or
            ``redis+cluster://`` URL, as `RedisAddress.parse` accepts; or a `RedisAddress`.
        reactor: reactor to use; None uses the global reactor.
        name: name of the connections in Redis's client list, with the suffix ``.client`` or
            ``.subscriber``.
        max_waiting: commands and calls that may wait for the link; further ones fail at once.
        tracing: record spans with OpenTelemetry, and send their context with calls.

    Raises:
        InvalidArgument: the URL is invalid.
        ModuleNotFoundError: tracing needs the extra ``tracing``, which is not installed.

    Attributes:
        is_traced: True with tracing.
        link: the two connections, their state, and lists of functions to call when it changes.
        variables: shared variables.
        pubsub: publishing and subscriptions.
        caller: pending calls.
        served: counts of the calls that this bus's servers answered.
        presence: users, participants and devices connected to gateways.
        redis: txredisapi's commands, over the client connection.

    Example:
        >>> bus = Bus("redis://127.0.0.1:6379/0", name="my-service")
        >>> bus.startService()
        >>> await bus.variables.set("greeting", "hello", ttl=60)
        True
        >>> await bus.variables.get("greeting")
        b'hello'
        >>> await bus.stopService()
    """

    _log = Logger()

    def __init__(
        self,
        url: str | RedisAddress = DEFAULT_URL,
        *,
        reactor: Any = None,
        name: str = "opentera-bus",
        max_waiting: int = MAX_WAITING,
        tracing: bool = False,
    ) -> None:
        if reactor is None:
            from twisted.internet import reactor  # noqa: PLC0415 (importing it installs it)
        self.setName(name)
        address = url if isinstance(url, RedisAddress) else RedisAddress.parse(url)
        self.is_traced = tracing
        self._parts = _traced_parts() if tracing else PLAIN
        kind = self._parts.cluster_link if address.is_cluster else self._parts.server_link
        self.link: Link = kind(address, reactor=reactor, name=name, max_waiting=max_waiting)
        self.variables = Variables(self.link)
        self.pubsub = self._parts.pubsub(self.link)
        self.caller = self._parts.caller(self.link, self.pubsub)
        self.served = self._parts.served()
        self.presence = Presence(self.link, self.pubsub)
        self.redis = RedisCommands(self.link)
        self._servers: set[ProcedureServer] = set()
        self._shared_stop = SharedStop(self, self.link.start)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} at {self.link.address}: {self.link.status}>"

    def startService(self) -> None:
        """Connect to Redis; if the bus is stopping, connect afterwards."""
        self.link.check_thread()
        if self.running:
            return
        super().startService()
        self._shared_stop.start()

    def stopService(self) -> Deferred[None]:
        """Finish running calls, up to `DRAIN_TIMEOUT`, and disconnect; the bus can start again.

        Returns:
            Fires when both connections are closed. Cancelling it ends only the wait.
        """
        self.link.check_thread()
        super().stopService()
        return self._shared_stop.stop(self._stop)

    async def _stop(self) -> None:
        servers = list(self._servers)
        self._servers.clear()
        drained = DeferredList([server.stop() for server in servers], consumeErrors=True)
        if self.link.is_ready:
            await drained.addTimeout(DRAIN_TIMEOUT, self.link.clock)
            running = sum(server.in_flight for server in servers)
            if running:
                self._log.warn("stopping with {running} calls unfinished", running=running)
        await self.link.stop()

    def connected(self, timeout: float | None = None) -> Deferred[None]:
        """Wait until the bus is connected.

        Args:
            timeout: seconds; None waits indefinitely.

        Returns:
            Fires when both connections are logged in and all subscriptions are restored.

        Raises:
            InvalidArgument: the timeout is not a number above 0.

        Fails with:
            BusUnavailable: the timeout expired, with the reason, or the bus was stopped.
        """
        if timeout is None:
            return self.link.ready()
        check_timeout(timeout)

        def late(_: object, seconds: float) -> NoReturn:
            error = self.link.unavailable(seconds)
            raise error from error.__cause__

        return self.link.ready().addTimeout(timeout, self.link.clock, late)

    def publish(self, topic: str, payload: bytes | str | Message) -> Deferred[int]:
        """Publish a message.

        Args:
            topic: the topic to publish on.
            payload: bytes, text (encoded in UTF-8) or a protobuf message (serialized).

        Returns:
            Fires with the number of connections that received it.

        Raises:
            InvalidTopic, InvalidArgument: at once, before anything is sent.

        Fails with:
            BusUnavailable, ConnectionLost, CommandFailed.
        """
        return self.pubsub.publish(topic, payload)

    def publish_event(self, topic: str, *events: Message) -> Deferred[int]:
        """Publish events in a ``TeraEvent``; otherwise like `publish`."""
        return self.pubsub.publish_event(topic, *events)

    def send_module_message(self, dest: str, *messages: Message, source: str) -> Deferred[int]:
        """Publish messages in a ``TeraModuleMessage``; otherwise like `publish`.

        Args:
            dest: topic to publish on, such as ``module.TeraServer.UserManagerModule.messages``.
            messages: protobuf messages to wrap.
            source: sender, as a topic or ``websocket.<kind>.<uuid>``.
        """
        return self.pubsub.send_module_message(dest, *messages, source=source)

    def subscribe(
        self, topic: str, handler: Handler, on_gap: OnGap | None = None
    ) -> Deferred[Subscription]:
        """Subscribe a handler to a topic.

        Args:
            topic: exact name of the topic.
            handler: function or coroutine function, called with each `Delivery`.
            on_gap: called when the link is restored after a loss, as messages may have been missed.

        Returns:
            Fires with the `Subscription` when Redis has acknowledged it; ``cancel`` ends it.

        Raises:
            InvalidTopic: the topic is empty, or a pattern of OpenTera topics.
            InvalidArgument: a handler has the wrong parameters.

        Fails with:
            BusUnavailable: Redis did not acknowledge in time; the subscription is cancelled.
            CommandFailed: Redis refused the topic.
        """
        return self.pubsub.subscribe(topic, handler, on_gap)

    def subscribe_pattern(
        self, pattern: str, handler: Handler, on_gap: OnGap | None = None
    ) -> Deferred[Subscription]:
        """Subscribe a handler to all topics that match a pattern; otherwise like `subscribe`.

        Args:
            pattern: pattern with ``*``, ``?`` and ``[...]``; a backslash escapes them.
            handler: function or coroutine function, called with each `Delivery`.
            on_gap: as in `subscribe`.
        """
        return self.pubsub.subscribe_pattern(pattern, handler, on_gap)

    def call(
        self,
        module_name: str,
        function_name: str,
        *args: ArgumentValue,
        timeout: float = CALL_TIMEOUT,
    ) -> Deferred[Json]:
        """Call a procedure of a module and wait for its reply; cancelling abandons the call.

        Args:
            module_name: name in the topic, such as ``TeraServer.UserManagerModule``.
            function_name: name of the procedure.
            args: arguments: bool, int, float, str or bytes.
            timeout: seconds until `CallTimeout`, including the wait for the link.

        Returns:
            Fires with the procedure's return value.

        Raises:
            InvalidTopic, InvalidArgument: at once, before anything is sent.

        Fails with:
            NoResponder: no program listens on the topic (known after one round trip).
            CallTimeout: no reply arrived in time; `CallNotSent` if the link was down throughout.
            CallInterrupted: the link broke while the call was pending.
            ProcedureFailed, UnknownProcedure, ArgumentsRejected, Overloaded: the server's error.
            BadReply: the reply has an invalid form.

        Source: docs/reference/wire.md.
        """
        topic = topics.module_rpc(module_name)
        return self.caller.call(topic, function_name, args, timeout)

    def call_service(
        self,
        service_key: str,
        function_name: str,
        *args: ArgumentValue,
        timeout: float = CALL_TIMEOUT,
    ) -> Deferred[Json]:
        """Call a procedure of a service, given its key or UUID; otherwise like `call`."""
        topic = topics.service_rpc(service_key)
        return self.caller.call(topic, function_name, args, timeout)

    def call_server(
        self,
        server: str,
        function_name: str,
        *args: ArgumentValue,
        timeout: float = CALL_TIMEOUT,
    ) -> Deferred[Json]:
        """Call a procedure of a service or a module; otherwise like `call`.

        Args:
            server: ``service.<key>`` or ``module.<name>``.
            function_name: name of the procedure.
            args: arguments: bool, int, float, str or bytes.
            timeout: seconds until `CallTimeout`, including the wait for the link.
        """
        return self.caller.call(topics.rpc_of(server), function_name, args, timeout)

    def call_all(
        self,
        server: str,
        function_name: str,
        *args: ArgumentValue,
        timeout: float = DISCOVERY_TIMEOUT,
    ) -> Deferred[list[Answer]]:
        """Call a procedure of every server on a topic and collect the replies.

        Args:
            server: ``service.<key>`` or ``module.<name>``.
            function_name: name of the procedure.
            args: arguments: bool, int, float, str or bytes.
            timeout: seconds to wait for replies.

        Returns:
            Fires with an `Answer` for each reply that arrived in time; empty without servers.

        Raises:
            InvalidTopic, InvalidArgument: at once, before anything is sent.

        Fails with:
            BusUnavailable, ConnectionLost.
        """
        return self.caller.call_all(topics.rpc_of(server), function_name, args, timeout)

    def describe(self, server: str, timeout: float = CALL_TIMEOUT) -> Deferred[Description]:
        """Get a server's description of itself and its procedures; fails like `call`.

        Args:
            server: ``service.<key>`` or ``module.<name>``.
            timeout: seconds; servers of existing OpenTera programs do not answer.

        Returns:
            Fires with the `Description`.

        Raises:
            InvalidTopic, InvalidArgument: at once, before anything is sent.
        """
        check_timeout(timeout)
        description = describe(self.caller, topics.rpc_of(server), timeout)
        return needs_use(Deferred.fromCoroutine(description), "describe")

    def services(self, timeout: float = DISCOVERY_TIMEOUT) -> Deferred[list[Listening]]:
        """List the services and modules that listen now, including existing OpenTera programs.

        Args:
            timeout: seconds for each to describe itself.

        Returns:
            Fires with one `Listening` for each.

        Raises:
            InvalidArgument: the timeout is not a number above 0.

        Fails with:
            BusUnavailable, ConnectionLost, PermissionDenied.

        Source: Redis commands PUBSUB CHANNELS and PUBSUB NUMPAT.
        """
        check_timeout(timeout)
        found = Deferred.fromCoroutine(services(self.link, self.caller, timeout))
        return needs_use(found, "services")

    def proxy(self, server: str, timeout: float = CALL_TIMEOUT) -> Deferred[Proxy]:
        """Make an object with a server's procedures as methods.

        For example: ``sums = await bus.proxy("service.Sum")``, then ``await sums.add(1, 2)``.

        Args:
            server: ``service.<key>`` or ``module.<name>``.
            timeout: seconds for each call.

        Returns:
            Fires with a `Proxy` when the server has described itself; fails like `call`.
        """
        check_timeout(timeout)
        proxy = Deferred.fromCoroutine(self._proxy(topics.rpc_of(server), timeout))
        return needs_use(proxy, "proxy")

    async def _proxy(self, topic: str, timeout: float) -> Proxy:
        description = await describe(self.caller, topic, timeout)
        return Proxy(
            description, lambda name, arguments: self.caller.call(topic, name, arguments, timeout)
        )

    def serve_service(
        self,
        service_key: str,
        procedures: Procedures,
        uuid: str | None = None,
        exclusive: bool = False,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Deferred[ProcedureServer]:
        """Serve the calls of a service.

        Args:
            service_key: key in the topic.
            procedures: the procedures to serve.
            uuid: UUID of the service, as a second name to call it by.
            exclusive: run each call on exactly one of several servers of the service; they agree
                through Redis, which costs one more round trip per call.
            limits: limits on concurrent calls and on the sizes of requests and replies.

        Returns:
            Fires with the server when Redis has acknowledged its topics. ``await server.stop()``
            unsubscribes it and finishes the running calls.

        Raises:
            InvalidTopic, InvalidArgument: the key or the procedures are invalid.
            AlreadyServed: this bus already serves it; two servers must both be ``exclusive``.

        Fails with:
            BusUnavailable, CommandFailed.
        """
        names = [service_key] if uuid is None else [service_key, uuid]
        rpc = [topics.service_rpc(name) for name in names]
        return self._serve(service_key, rpc, procedures, exclusive, limits)

    def serve_module(
        self,
        module_name: str,
        procedures: Procedures,
        exclusive: bool = False,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Deferred[ProcedureServer]:
        """Serve the calls of a module; otherwise like `serve_service`."""
        rpc = [topics.module_rpc(module_name)]
        return self._serve(module_name, rpc, procedures, exclusive, limits)

    def _serve(
        self,
        name: str,
        rpc: list[str],
        procedures: Procedures,
        exclusive: bool,
        limits: Limits,
    ) -> Deferred[ProcedureServer]:
        if not isinstance(procedures, Procedures):
            raise InvalidArgument(
                "expected a Procedures object, such as Procedures.of(object), not "
                f"{type(procedures).__name__}"
            )
        for other in self._servers:
            shared = set(other.topics).intersection(rpc)
            if other.is_listening and shared and not (exclusive and other.is_exclusive):
                topic = min(shared)
                raise AlreadyServed(
                    f"this bus already serves {topic}, and each call would run twice; stop that "
                    "server first, or pass exclusive=True to both",
                    topic=topic,
                )
        server = self._parts.server(
            self.link,
            self.pubsub,
            name,
            rpc,
            procedures,
            limits,
            exclusive,
            self._servers.discard,
            self.served,
        )
        self._servers.add(server)
        return Deferred.fromCoroutine(self._start_server(server))

    async def _start_server(self, server: ProcedureServer) -> ProcedureServer:
        try:
            await server.start()
        except BaseException:
            self._servers.discard(server)
            raise
        return server


def _traced_parts() -> Parts:
    from opentera_twisted.tracing import TRACED  # noqa: PLC0415 (an extra)

    return TRACED
