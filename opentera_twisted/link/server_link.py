"""The link to one server: a client and a subscriber connection, and the waiting commands."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import time
from typing import Any, Final

from attrs import evolve
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from opentera_twisted._internal.gathered import all_fired
from opentera_twisted._internal.timeouts import check_timeout
from opentera_twisted.errors import (
    AuthenticationFailed,
    BusUnavailable,
    CommandFailed,
    ConnectionLost,
    PermissionDenied,
    ServerLoading,
)
from opentera_twisted.link import strangers
from opentera_twisted.link.address import RedisAddress
from opentera_twisted.link.connection import CONNECT_TIMEOUT, State
from opentera_twisted.link.error_replies import no_database
from opentera_twisted.link.factory import ConnectionFactory, Probe
from opentera_twisted.link.link import COMMAND_TIMEOUT, EVERYTHING, MAX_WAITING, Link
from opentera_twisted.link.outage import Outage
from opentera_twisted.link.protocol import (
    Argument,
    CommandProtocol,
    Done,
    SubscriberProtocol,
)
from opentera_twisted.link.sentinel import SentinelEndpoint
from opentera_twisted.link.statistics import ConnectionStatistics
from opentera_twisted.link.subscriptions import SubscriptionTable
from opentera_twisted.link.waiting import WaitingCommands

STOP_TIMEOUT: Final = 5.0
"""Seconds that stopping waits for the replies of sent commands."""

_OVERFLOWS: Final = re.compile(rb"client_output_buffer_limit_disconnections:(\d+)")


class ServerLink(Link):
    """Two connections to one server.

    Args:
        address: address of the server, or of sentinels that know it.
        reactor: reactor to connect with; intervals follow its `clock_of`.
        name: name at Redis: ``<name>.client`` and ``<name>.subscriber`` (CLIENT SETNAME).
        max_waiting: commands and calls that may wait for the link; further ones fail at once.
        statistics: counts to share with other links; None makes new ones.
        probes: regular test of each connection, by ``client`` and ``subscriber``.
        is_node: True if the server belongs to a cluster.

    Attributes:
        connection: connection that sends a command at once; None while commands wait.
        subscriber_before: state of the subscriber connection before the present one.
    """

    _log = Logger()

    subscriptions: SubscriptionTable

    def __init__(
        self,
        address: RedisAddress,
        *,
        reactor: Any,
        name: str,
        max_waiting: int = MAX_WAITING,
        statistics: Mapping[str, ConnectionStatistics] | None = None,
        probes: Mapping[str, Probe] | None = None,
        is_node: bool = False,
    ) -> None:
        super().__init__(address, reactor=reactor, name=name, max_waiting=max_waiting)
        self.subscriptions = SubscriptionTable()
        if statistics is not None:
            self.statistics = statistics
        self._probes = probes or {}
        self._is_known_node = is_node
        self._endpoint = address.endpoint(reactor, CONNECT_TIMEOUT)
        self._states: dict[str, State] = {"client": "idle", "subscriber": "idle"}
        self.subscriber_before: State = "idle"
        self._client = self._factory(
            "client",
            lambda on_lost: CommandProtocol(on_lost, self.statistics["client"]),
            self._prepare_client,
        )
        self._subscriber = self._factory(
            "subscriber",
            lambda on_lost: SubscriberProtocol(
                on_lost,
                self._received,
                self.subscriptions.acknowledge,
                self.on_read.notify,
                self.statistics["subscriber"],
                self.subscriptions.removed,
            ),
            self._prepare_subscriber,
        )
        self.connection: CommandProtocol | None = None
        self._subscriber_id: int | None = None
        self._waiting = WaitingCommands(self.clock, max_waiting, self.unavailable)
        self._has_subscribed = False
        self._outage = Outage(self._log, address, self.clock)
        self._overflows: int | None = None

    @property
    def states(self) -> dict[str, State]:
        """State of each connection, by ``client`` and ``subscriber``."""
        return dict(self._states)

    def is_in_gap(self, topic: str) -> bool:
        """Return True if messages on a subscribed topic may be missed now."""
        return self._states["subscriber"] != "ready"

    @property
    def is_ready(self) -> bool:
        """True if both connections are logged in and restored."""
        states = self._states
        return not self._stopped and states["client"] == states["subscriber"] == "ready"

    @property
    def waiting(self) -> int:
        """Number of commands that wait for the link."""
        return len(self._waiting)

    def start(self) -> None:
        """Connect, and keep both connections open."""
        self._stopped = False
        self._was_started = True
        for factory in (self._client, self._subscriber):
            factory.startConnecting(self._endpoint)

    async def stop(self) -> None:
        """Finish the sent commands, fail the waiting ones, and close both connections."""
        self._stopped = True
        self._outage.stop()
        stopped = BusUnavailable("the bus was stopped")
        self._waiting.fail(stopped)
        self.subscriptions.fail_joining(stopped)
        self.on_stopped.notify()
        self._waiting_for_ready.fail(stopped)
        if self.connection is not None:
            try:
                # Redis replies in order: the reply to this command is the last.
                last = self.connection.execute_command("PING")
                await last.addTimeout(STOP_TIMEOUT, self.clock)
            except (CommandFailed, ConnectionLost, DeferredTimeout):
                pass
        # Close each, even if the other fails.
        kept = (self._client, self._subscriber)
        await all_fired(maybeDeferred(connection.disconnect) for connection in kept)

    def abandon(self, cause: str) -> None:
        """Fail the sent commands at once, because the server will not reply to them."""
        if self.connection is not None:
            self.connection.abort(cause)

    def execute(self, *arguments: Argument, timeout: float = COMMAND_TIMEOUT) -> Deferred[Any]:
        """Send a command when the link is ready."""
        self.check_thread()
        if timeout is not COMMAND_TIMEOUT:  # identity: the default is valid
            check_timeout(timeout)
        if self.connection is not None:
            return self.connection.execute_command(*arguments)
        if (stopped := self.stopped_error()) is not None:
            return fail(stopped)
        return self._waiting.add(arguments, timeout)

    def send(self, arguments: tuple[Argument, ...], done: Done) -> None:
        """Send a command without a Deferred."""
        if self.connection is not None:
            self.connection.send(arguments, done)
        else:
            # Not self.execute: a traced link would make a second span.
            waiting = ServerLink.execute(self, *arguments)
            waiting.addCallbacks(done, lambda failure: done(failure.value))

    def delete(self, names: Sequence[bytes]) -> Deferred[int]:
        """Delete variables.

        Source: Redis command DEL.
        """
        return self.execute("DEL", *names)

    def subscribed(self, pattern: str) -> Deferred[set[bytes]]:
        """List the topics with a subscriber.

        Source: Redis command PUBSUB CHANNELS.
        """
        return self.execute("PUBSUB", "CHANNELS", pattern).addCallback(set)

    def track(self) -> Deferred[Any]:
        """Enable invalidation messages for tracked variables."""
        if self._subscriber_id is None:
            return fail(CommandFailed("CLIENT TRACKING", "NOPERM of CLIENT ID"))
        return self.execute("CLIENT", "TRACKING", "ON", "REDIRECT", self._subscriber_id, "OPTIN")

    def read_tracked(self, name: bytes) -> Deferred[bytes | None]:
        """Read a variable and track it."""
        # The first command applies to the next one of the connection, so they are sent together.
        self.execute("CLIENT", "CACHING", "YES").addErrback(lambda _: None)
        return self.execute("GET", name)

    def _why_down(self) -> str:
        cause = self._last_cause
        if not cause and "authenticating" in self._states.values():
            cause = strangers.unanswered(is_secure=self.address.tls is not None)
        return f"{self.address} ({cause})" if cause else str(self.address)

    def _factory(self, role: str, build: Any, prepare: Any) -> ConnectionFactory:
        return ConnectionFactory(
            self.clock,
            build,
            prepare,
            lambda state, cause: self._entered(role, state, cause),
            self._probe(role),
        )

    def _probe(self, role: str) -> Probe:
        """Return the probe of a connection; that of the subscriber retries refused topics."""
        probe = self._probes.get(role, Probe())
        if role == "client":
            return probe

        def probed(reply: Any) -> None:
            probe.on_probed(reply)
            if reply is not None:
                self.subscriptions.retry_refused()

        return evolve(probe, on_probed=probed)

    async def _prepare_client(
        self, protocol: CommandProtocol, authenticated: Callable[[], None]
    ) -> None:
        await self._log_in(protocol, "client")
        if self.address.database:
            try:
                await protocol.execute_command("SELECT", self.address.database)
            except CommandFailed as error:
                raise no_database(self.address, error) from None
        authenticated()
        self.connection = protocol

    async def _prepare_subscriber(
        self, protocol: SubscriberProtocol, authenticated: Callable[[], None]
    ) -> None:
        await self._log_in(protocol, "subscriber")
        try:
            self._subscriber_id = await protocol.execute_command("CLIENT", "ID")
        except PermissionDenied:
            self._subscriber_id = None  # only watches need it
        authenticated()
        # Messages were missed until now, so restore all names on a new connection, as after a loss.
        allowed = "Redis allows a topic that it refused before"
        self.subscriptions.on_allowed = partial(protocol.abort, allowed)
        await self.subscriptions.restore(protocol.change)

    async def _log_in(self, protocol: CommandProtocol, role: str) -> None:
        await self.address.login.log_in(protocol, f"Redis at {self.address}")
        try:
            await protocol.execute_command("CLIENT", "SETNAME", f"{self._name}.{role}")
        except CommandFailed as error:
            if error.code == "NOAUTH":
                raise AuthenticationFailed(
                    f"Redis at {self.address} asks for a password; set one in the URL or the file"
                ) from None
            if error.code != "NOPERM":  # the name is optional
                raise
        try:
            answer = await protocol.execute_command("PING")
            if answer != b"PONG":
                raise BusUnavailable("something else answered instead of Redis: PING got no PONG")
        except PermissionDenied:
            pass
        except ServerLoading:
            # It would accept subscriptions, but refuse all other commands.
            raise BusUnavailable("Redis is loading its data") from None
        if self.address.primary:
            # Sentinels may name a server that is no longer the primary.
            kind, *_ = await protocol.execute_command("ROLE")
            if kind != b"master":
                if isinstance(self._endpoint, SentinelEndpoint):
                    self._endpoint.doubt(protocol)
                raise BusUnavailable("the sentinels' primary is a replica")
            protocol.leaves_replicas = True

    def _received(self, pattern: bytes | None, channel: bytes, payload: Any) -> None:
        if type(payload) is bytes:
            for observer in self.on_message:
                observer(pattern, channel, payload)
        else:  # from Redis: a list of names, or None, on __redis__:invalidate
            self.on_invalidated.notify(payload)

    def _entered(self, role: str, state: State, cause: Failure | None) -> None:
        self._count(role, self._states[role], state, cause)
        was_ready = self.is_ready
        before, self._states[role] = self._states[role], state
        if role == "subscriber":
            self.subscriber_before = before
            self._subscriber_entered(state)
        elif state == "ready":
            # Not self.execute: a traced link would make a second span.
            self._waiting.send(partial(ServerLink.execute, self))
        else:
            self.connection = None
        if cause is not None:
            self._down(role, cause, was_ready=was_ready)
        elif self.is_ready:
            self._up()

    def _count(self, role: str, before: State, state: State, cause: Failure | None) -> None:
        statistics = self.statistics[role]
        statistics.connected += state == "ready"
        statistics.failed += cause is not None
        if "ready" in {before, state}:
            statistics.since = time()

    def _subscriber_entered(self, state: State) -> None:
        if state == "ready":
            resumed, self._has_subscribed = self._has_subscribed, True
            if resumed:
                self.gaps += 1
                self._outage.gap_ended()
                self.on_resumed.notify(EVERYTHING)
        elif state in {"down", "idle"}:
            self.subscriptions.disconnected()
            if self._has_subscribed:
                self._outage.gap_began()
            self.on_interrupted.notify(EVERYTHING)

    def _up(self) -> None:
        self._last_cause = ""
        self._last_error = None
        self._outage.ended()
        self._waiting_for_ready.fire(None)
        self.on_ready.notify()
        self._check_server()

    def _down(self, role: str, cause: Failure, *, was_ready: bool) -> None:
        self._last_error = cause.value
        self._last_cause = cause.getErrorMessage()
        level = LogLevel.error if cause.check(AuthenticationFailed) else LogLevel.warn
        if not self._stopped:
            self._outage.failed(role, self._last_cause, level)
        (self.on_lost if was_ready else self.on_refused).notify(cause)

    def _check_server(self) -> None:
        """Warn about a cluster behind the URL of one server, and about closed connections."""
        self.execute("INFO").addCallbacks(self._examine, lambda _: None)  # optional

    def _examine(self, info: bytes) -> None:
        if b"cluster_enabled:1" in info and not self._is_known_node:
            self._is_known_node = True
            self._log.warn(
                "Redis at {address} is a node of a cluster; use the URL {url}",
                address=self.address,
                url=self.address.cluster_url,
            )
        self._count_overflows(info)

    def _count_overflows(self, info: bytes) -> None:
        """Warn if Redis closed a connection because its client read too slowly."""
        found = _OVERFLOWS.search(info)
        if found is None:
            return
        before, self._overflows = self._overflows, int(found[1])
        if before is not None and self._overflows > before:
            self._log.warn(
                "Redis has closed connections with a full output buffer "
                "(client-output-buffer-limit pubsub); this bus may have missed messages"
            )
