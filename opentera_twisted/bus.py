"""`Bus`: variables, pub/sub, calls and servers over one link; the object that programs embed."""

from __future__ import annotations

from typing import Any, Final, NoReturn

from google.protobuf.message import Message
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.logger import Logger

from opentera_twisted import topics
from opentera_twisted._internal.timeouts import check_timeout
from opentera_twisted.errors import AlreadyServed, InvalidArgument
from opentera_twisted.link import DEFAULT_URL, MAX_WAITING, Link, RedisAddress
from opentera_twisted.presence import Presence
from opentera_twisted.pubsub import Handler, OnGap, PubSub, Subscription
from opentera_twisted.rpc import (
    CALL_TIMEOUT,
    DEFAULT_LIMITS,
    Answer,
    ArgumentValue,
    Caller,
    Description,
    Json,
    Limits,
    Listening,
    Procedures,
    ProcedureServer,
    Proxy,
    Served,
    describe,
    services,
)
from opentera_twisted.variables import Variables

DISCOVERY_TIMEOUT: Final = 1.0
"""Seconds that servers may take to answer a question to all."""

DRAIN_TIMEOUT: Final = 10.0
"""Seconds that stopping waits for the calls that run."""


class Bus(Service):
    """A program's access to what others share on one Redis: two connections, whatever the load.

    A service of Twisted: give it a parent, or call `startService` and `stopService`. It connects
    for ever; what is asked while Redis is away waits for it.

    Args:
        url: ``redis://``, ``rediss://``, ``unix://`` or ``redis+sentinel://``: see
            `RedisAddress.parse`; or such an address.
        reactor: the global one when None.
        name: shown in Redis's list of clients, with ``.client`` and ``.subscriber``.
        max_waiting: commands, and calls, that may wait for the link; more fail at once.

    Attributes:
        link: the two connections, their state, and lists of functions to call when it changes.
        variables: shared variables.
        pubsub: publishing and subscriptions.
        caller: calls under way.
        served: counts of the calls that this program's servers answered.
        presence: who is online at the gateways.
    """

    _log = Logger()

    def __init__(
        self,
        url: str | RedisAddress = DEFAULT_URL,
        *,
        reactor: Any = None,
        name: str = "opentera-bus",
        max_waiting: int = MAX_WAITING,
    ) -> None:
        if reactor is None:
            from twisted.internet import reactor  # noqa: PLC0415 (importing it installs it)
        self.setName(name)
        address = url if isinstance(url, RedisAddress) else RedisAddress.parse(url)
        self.link = Link(address, reactor=reactor, name=name, max_waiting=max_waiting)
        self.variables = Variables(self.link)
        self.pubsub = PubSub(self.link)
        self.caller = Caller(self.link, self.pubsub)
        self.served = Served()
        self.presence = Presence(self.link, self.pubsub)
        self._servers: set[ProcedureServer] = set()
        self._stopping: Deferred[None] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} at {self.link.address}: {self.link.status}>"

    def startService(self) -> None:
        """Begin to connect; if the bus is being stopped, after that."""
        if self.running:
            return
        super().startService()
        if self._stopping is None:
            self.link.start()

    def stopService(self) -> Deferred[None]:
        """Finish what runs, up to `DRAIN_TIMEOUT`, and close; the bus can be started again.

        Returns:
            Fires when nothing is left.
        """
        super().stopService()
        if self._stopping is None:
            self._stopping = Deferred.fromCoroutine(self._stop())
            if self._stopping.called:
                self._stopping = None
                return succeed(None)
        stopped: Deferred[None] = Deferred()
        self._stopping.chainDeferred(stopped)
        return stopped

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
        self._stopping = None
        if self.running:  # started again meanwhile
            self.link.start()

    def connected(self, timeout: float | None = None) -> Deferred[None]:
        """Wait for Redis.

        Args:
            timeout: seconds; None waits as long as it takes.

        Returns:
            Fires when both connections are logged in and restored.

        Raises:
            InvalidArgument: the timeout is not a number above 0.

        Fails with:
            BusUnavailable: the bus was stopped, or there was no link in that time, and why.
        """
        if timeout is None:
            return self.link.ready()
        check_timeout(timeout)

        def late(_: object, seconds: float) -> NoReturn:
            error = self.link.unavailable(seconds)
            raise error from error.__cause__

        return self.link.ready().addTimeout(timeout, self.link.clock, late)

    def publish(self, topic: str, payload: bytes | str | Message) -> Deferred[int]:
        """Publish a message: see `PubSub.publish`."""
        return self.pubsub.publish(topic, payload)

    def publish_event(self, topic: str, *events: Message) -> Deferred[int]:
        """Publish events in a ``TeraEvent``: see `PubSub.publish_event`."""
        return self.pubsub.publish_event(topic, *events)

    def send_module_message(self, dest: str, *messages: Message, source: str) -> Deferred[int]:
        """Publish messages in a ``TeraModuleMessage``: see `PubSub.send_module_message`."""
        return self.pubsub.send_module_message(dest, *messages, source=source)

    def subscribe(
        self, topic: str, handler: Handler, on_gap: OnGap | None = None
    ) -> Deferred[Subscription]:
        """Have a handler called for a topic: see `PubSub.subscribe`."""
        return self.pubsub.subscribe(topic, handler, on_gap)

    def subscribe_pattern(
        self, pattern: str, handler: Handler, on_gap: OnGap | None = None
    ) -> Deferred[Subscription]:
        """Have a handler called for all topics of a pattern: see `PubSub.subscribe_pattern`."""
        return self.pubsub.subscribe_pattern(pattern, handler, on_gap)

    def call(
        self,
        module_name: str,
        function_name: str,
        *args: ArgumentValue,
        timeout: float = CALL_TIMEOUT,
    ) -> Deferred[Json]:
        """Call a procedure of a module and wait for its reply; cancelling forgets the call.

        Args:
            module_name: as in the topic, such as ``TeraServer.UserManagerModule``.
            function_name: of the procedure.
            args: bool, int, float, str or bytes.
            timeout: seconds until `CallTimeout`; waiting for the link counts.

        Returns:
            Fires with the procedure's return value.

        Raises:
            InvalidTopic, InvalidArgument: at once, before anything is sent.

        Fails with:
            NoResponder: no program listens (one round trip).
            CallTimeout: no reply came in time; `CallNotSent` when the link was down throughout.
            CallInterrupted: the link broke while waiting.
            ProcedureFailed, UnknownProcedure, ArgumentsRejected, Overloaded: as the server says.
            BadReply: the reply is not of a reply's form.

        Source: docs/reference/wire.md.
        """
        topic = topics.module_rpc(module_name)
        return self.call_server(topic, function_name, *args, timeout=timeout)

    def call_service(
        self,
        service_key: str,
        function_name: str,
        *args: ArgumentValue,
        timeout: float = CALL_TIMEOUT,
    ) -> Deferred[Json]:
        """Call a procedure of a service, by its key or its UUID; otherwise like `call`."""
        topic = topics.service_rpc(service_key)
        return self.call_server(topic, function_name, *args, timeout=timeout)

    def call_server(
        self,
        server: str,
        function_name: str,
        *args: ArgumentValue,
        timeout: float = CALL_TIMEOUT,
    ) -> Deferred[Json]:
        """Call a procedure of a service or a module; otherwise like `call`.

        Args:
            server: ``service.<key>`` or ``module.<name>``, as for `describe` and `call_all`.
            function_name: of the procedure.
            args: bool, int, float, str or bytes.
            timeout: seconds until `CallTimeout`; waiting for the link counts.
        """
        return self.caller.call(topics.rpc_of(server), function_name, args, timeout)

    def call_all(
        self,
        server: str,
        function_name: str,
        *args: ArgumentValue,
        timeout: float = DISCOVERY_TIMEOUT,
    ) -> Deferred[list[Answer]]:
        """Call a procedure of every server of a topic, and collect their replies.

        Args:
            server: ``service.<key>`` or ``module.<name>``.
            function_name: of the procedure.
            args: bool, int, float, str or bytes.
            timeout: seconds after which no more replies are waited for.

        Returns:
            Fires with an `Answer` of each server that answered in time; none when nobody listens.

        Raises:
            InvalidTopic, InvalidArgument: at once, before anything is sent.

        Fails with:
            BusUnavailable, ConnectionLost.
        """
        return self.caller.call_all(topics.rpc_of(server), function_name, args, timeout)

    def describe(self, server: str, timeout: float = CALL_TIMEOUT) -> Deferred[Description]:
        """What a server says of itself and its procedures; fails like `call`.

        Args:
            server: ``service.<key>`` or ``module.<name>``.
            timeout: seconds; a deployed server cannot describe itself, and does not answer.
        """
        check_timeout(timeout)
        return Deferred.fromCoroutine(describe(self.caller, topics.rpc_of(server), timeout))

    def services(self, timeout: float = DISCOVERY_TIMEOUT) -> Deferred[list[Listening]]:
        """Which services and modules listen now, deployed ones too.

        Args:
            timeout: seconds that each may take to describe itself.

        Returns:
            Fires with one `Listening` for each.

        Fails with:
            BusUnavailable, ConnectionLost, PermissionDenied.

        Source: Redis commands PUBSUB CHANNELS and PUBSUB NUMPAT.
        """
        check_timeout(timeout)
        return Deferred.fromCoroutine(services(self.link, self.caller, timeout))

    def proxy(self, server: str, timeout: float = CALL_TIMEOUT) -> Deferred[Proxy]:
        """A server's procedures as methods: ``sum_ = await bus.proxy("service.Sum")``.

        Args:
            server: ``service.<key>`` or ``module.<name>``.
            timeout: seconds of each call.

        Returns:
            Fires with a `Proxy` once the server has described itself; fails like `call`.
        """
        check_timeout(timeout)
        return Deferred.fromCoroutine(self._proxy(topics.rpc_of(server), timeout))

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
        """Answer calls of a service.

        Args:
            service_key: as in the topic.
            procedures: what it answers with.
            uuid: of the service, by which it can be called too.
            exclusive: of several servers of the service, exactly one executes each call; they
                agree on it in Redis, which takes a call one more round trip.
            limits: of calls at a time, and of the sizes of requests and replies.

        Returns:
            Fires with the server once Redis has acknowledged its topics; ``await server.stop()``
            takes no more calls and finishes those that run.

        Raises:
            InvalidTopic, InvalidArgument: the key or the procedures are not of their form.
            AlreadyServed: this bus serves it, and not both times with ``exclusive``.

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
        """Answer calls of a module; otherwise like `serve_service`."""
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
                "procedures are a Procedures object, such as Procedures.of(object), not "
                f"{type(procedures).__name__}"
            )
        for other in self._servers:
            shared = set(other.topics).intersection(rpc)
            if other.is_listening and shared and not (exclusive and other.is_exclusive):
                topic = min(shared)
                raise AlreadyServed(
                    f"this bus serves {topic} already, and each call would run twice: stop that "
                    "server first, or give exclusive=True both times",
                    topic=topic,
                )
        server = ProcedureServer(
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
