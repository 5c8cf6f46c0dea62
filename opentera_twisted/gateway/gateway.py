"""The gateway service: clients log in with session keys and receive events over websockets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Container, Coroutine, Iterable, Mapping
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Any, Final, Literal

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from twisted.web.resource import IResource

from opentera_twisted import topics
from opentera_twisted._internal.ip_addresses import network_of
from opentera_twisted._internal.shared_stop import SharedStop
from opentera_twisted._internal.timeouts import LONGEST
from opentera_twisted.bus import Bus
from opentera_twisted.errors import InvalidArgument
from opentera_twisted.gateway.access_policy import DefaultPolicy
from opentera_twisted.gateway.admission import Admission
from opentera_twisted.gateway.audit import GatewayAudit
from opentera_twisted.gateway.contracts import IAccessPolicy, IIdentityResolver
from opentera_twisted.gateway.deflate import MAX_WINDOW_BITS, MIN_WINDOW_BITS
from opentera_twisted.gateway.delivery import DISCONNECTED_BY_COMMAND, Delivering
from opentera_twisted.gateway.fanout import Fanout, Following
from opentera_twisted.gateway.joining import Joining
from opentera_twisted.gateway.limits import GatewayLimits
from opentera_twisted.gateway.login import Login, Refusal
from opentera_twisted.gateway.origins import Origins
from opentera_twisted.gateway.outbox import Client, Outbox
from opentera_twisted.gateway.presence import LocalPresence
from opentera_twisted.gateway.protocol import (
    GOING_AWAY,
    POLICY_VIOLATION,
    ClientFactory,
    ClientProtocol,
)
from opentera_twisted.gateway.recovery import (
    RECOVERY_BUFFER,
    RECOVERY_WINDOW,
    Recovery,
    RecoverySettings,
)
from opentera_twisted.gateway.recovery.session import Session
from opentera_twisted.gateway.revoked import Revoked
from opentera_twisted.gateway.subprotocols import RECOVERY
from opentera_twisted.gateway.summed_log import SummedLog
from opentera_twisted.gateway.tls import failure_of_handshake
from opentera_twisted.gateway.trusted_proxies import Peer, TrustedProxies
from opentera_twisted.presence_lease import LEASE
from opentera_twisted.sessions import Identity, SessionKeys

OnGap = Literal["keep", "close"]

DEFAULT_LIMITS: Final = GatewayLimits()

HANDING_OVER: Final = 0.75
"""Fraction of the shutdown timeout after which the gateway no longer waits for clients."""

REPORTING: Final = 0.9
"""Fraction of it after which the gateway no longer waits for Redis; the rest is for the bus."""

_RECOVERY: Final = (RECOVERY,)

LARGEST_EVENT: Final = 16
"""Maximum size of an event, as a multiple of ``max_send_buffer``; larger events are dropped."""

MOST_CAUSES: Final = 30
"""Maximum number of causes by which refused logins are counted."""

_OUTCOMES: Final[Mapping[HTTPStatus, str]] = {
    HTTPStatus.REQUEST_TIMEOUT: "gone",
    HTTPStatus.TOO_MANY_REQUESTS: "limited",
    HTTPStatus.INTERNAL_SERVER_ERROR: "failed",
    HTTPStatus.SERVICE_UNAVAILABLE: "unavailable",
}


class Gateway(Service):
    """A websocket server that delivers the bus's events and reports the presence of clients.

    Listen with its `factory`: ``endpoint.listen(gateway.factory)``, or put its `resource` into a
    ``twisted.web`` site. Stop listening before you stop the gateway; stop it before its bus.

    Args:
        bus: The bus for session keys and events; its owner starts and stops it.
        require_bound_keys: Refuse the session keys of existing OpenTera programs.
        identities: Resolver of identities; the default uses the UUID and the session key.
        policy: Access policy for broadcast events; the default allows events about the client.
        limits: Limits on clients and their resources.
        origins: Allowed origins of web pages; empty allows any. See `Origins`.
        trusted_proxies: Addresses whose ``X-Forwarded-For`` and ``-Proto`` headers are trusted.
        on_gap: Handling of open websockets when events may have been missed. ``close`` closes
            them with 1012, so that browsers reload; ``keep`` leaves them open.
        compression: Logarithm of the permessage-deflate window, 9 to 15; 0 disables compression.
        presence_lease: Seconds until other gateways report this gateway's clients as
            disconnected, if it dies.
        presence_grace: Seconds allowed for a client's return before it is reported as
            disconnected.
        recovery_window: Seconds after a disconnect during which a client can return and get the
            events it missed; 0 disables recovery.
        recovery_buffer: Bytes of events kept per client for recovery.
        audit: Write logins, refusals, disconnects and kicks to the logger
            ``opentera_twisted.audit``.

    Raises:
        InvalidArgument: An argument is out of range.

    Attributes:
        factory: Factory for the protocol of each connection.
        limits: Limits on clients and their resources.
        recovery: Sessions of clients that can return, with counts of returns.
        logins: Number of logins by outcome: ``accepted``, ``refused`` (invalid key, foreign
            origin, unknown path, no handshake), ``limited``, ``unavailable`` (Redis or the identity
            resolver), ``gone`` (the client left or timed out), ``failed`` (a gateway error).
        refusals: Number of failed logins by cause, a fixed text without the detail of the log;
            causes after the first `MOST_CAUSES` count as ``other``.
        limited: Number of times that each limit was reached.
        tls_failures: Number of failed TLS handshakes by reason: ``error`` (one side rejected the
            other's message) or ``closed`` (the client left or timed out).

    Example:
        >>> from twisted.internet import reactor
        >>> from twisted.internet.endpoints import serverFromString
        >>> gateway = Gateway(bus)
        >>> gateway.startService()
        >>> port = await serverFromString(reactor, "tcp:0").listen(gateway.factory)
        >>> await port.stopListening()
    """

    _log = Logger()

    def __init__(
        self,
        bus: Bus,
        *,
        require_bound_keys: bool = False,
        identities: IIdentityResolver | None = None,
        policy: IAccessPolicy | None = None,
        limits: GatewayLimits = DEFAULT_LIMITS,
        origins: Iterable[str] = (),
        trusted_proxies: Iterable[str] = (),
        on_gap: OnGap = "keep",
        compression: int = 0,
        presence_lease: float = LEASE,
        presence_grace: float = 0.0,
        recovery_window: float = RECOVERY_WINDOW,
        recovery_buffer: int = RECOVERY_BUFFER,
        audit: bool = False,
    ) -> None:
        if on_gap not in {"keep", "close"}:
            raise InvalidArgument(f"on_gap must be keep or close, not {on_gap!r}")
        if compression and not MIN_WINDOW_BITS <= compression <= MAX_WINDOW_BITS:
            raise InvalidArgument(
                f"compression must be 0 or {MIN_WINDOW_BITS} to {MAX_WINDOW_BITS}, "
                f"not {compression!r}"
            )
        if not 0 <= presence_grace < LONGEST:
            raise InvalidArgument(f"presence_grace must be seconds ≥ 0, not {presence_grace!r}")
        if not 0 <= recovery_window < LONGEST:
            raise InvalidArgument(f"recovery_window must be seconds ≥ 0, not {recovery_window!r}")
        if recovery_buffer < 0:
            raise InvalidArgument(f"recovery_buffer must be bytes ≥ 0, not {recovery_buffer!r}")
        self.limits = limits
        self.logins: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.limited: Counter[str] = Counter()
        self.tls_failures: Counter[str] = Counter()
        self._on_gap = on_gap
        self._bus = bus
        self._clock = bus.link.clock
        self._policy = policy or DefaultPolicy()
        self._strangers = SummedLog(self._log, self._clock)
        self._audit = GatewayAudit(self._clock, is_on=audit)
        self._outbox = Outbox(self._clock)
        self._delivering = Delivering(
            self._policy,
            self._outbox,
            LARGEST_EVENT * limits.max_send_buffer,
            lambda uuid, by, websockets: self._audit.kick(None, uuid, by, websockets),
        )
        # Bind the methods once, not for each client.
        self._event, self._command = self._delivering.event, self._delivering.command
        self._own_event = self._delivering.own_event
        # Nearly all clients follow the same few topics of the policy.
        self._filtered = lru_cache(64)(partial(Following, deliver=self._event, wholly=False))
        self._presence = LocalPresence(bus.link, presence_lease, self._conflicts, presence_grace)
        self._fanout = Fanout(bus.pubsub)
        self._revoked = Revoked(bus.pubsub, self._clock.seconds, self._close_revoked)
        self._clients: Counter[topics.Kind] = Counter()
        self._stopping = False
        self._shared_stop = SharedStop(self, self._start)
        self.factory = ClientFactory(
            self, self._clock, limits, TrustedProxies(trusted_proxies), compression
        )
        turn = self.factory.intake.turn
        joining = Joining(
            self._fanout,
            self._followings,
            self._policy,
            self._clock,
            turn,
            bus.link.is_node_ready,
        )
        self.recovery = Recovery(
            bus.link,
            bus.pubsub,
            self._outbox,
            RecoverySettings(
                window=recovery_window,
                buffer=recovery_buffer,
                max_held=limits.max_clients,
                max_held_per_identity=limits.max_clients_per_identity,
            ),
            joining,
            turn,
        )
        self._admission = _admission_class(bus)(
            bus.link,
            limits,
            keys=SessionKeys(bus, require_bound=require_bound_keys),
            identities=identities,
            origins=Origins(origins),
            joining=joining,
            recovery=self.recovery,
            is_revoked=self._revoked.includes,
            turn=turn,
        )

    @property
    def clients(self) -> Mapping[str, int]:
        """Number of open websockets by kind."""
        return {kind: self._clients[kind] for kind in topics.KINDS}

    @property
    def delivered(self) -> int:
        """Number of frames written to clients."""
        return self._outbox.delivered

    @property
    def dropped(self) -> int:
        """Number of messages on clients' topics that were malformed or too large."""
        return self._delivering.dropped.count + self._delivering.too_large.count

    @property
    def backlog(self) -> int:
        """Bytes queued for all clients."""
        return sum(client.backlog for client in self.factory.connections)

    @property
    def lease(self) -> str:
        """Name of this gateway's presence lease in Redis, unique to the process."""
        return self._presence.gateway

    def resource(self) -> IResource:
        """Make a resource for a site: ``root.putChild(b"wss", gateway.resource())``.

        Its children are ``user``, ``participant`` and ``device``, at any place in the site.
        """
        # Loads the parts of twisted.web that a gateway of its own does not need.
        from opentera_twisted.gateway.resource import GatewayResource  # noqa: PLC0415

        return GatewayResource(self.factory)

    def startService(self) -> None:
        """Start to admit clients; if the gateway is stopping, start afterwards."""
        if self.running:
            return
        super().startService()
        self._shared_stop.start()

    def _start(self) -> None:
        self._bus.link.on_read.append(self._outbox.read_ended)
        if self._on_gap == "close":
            self._bus.link.on_resumed.append(self._missed_events)
        self._stopping = False
        self._revoked.start()
        self._strangers.start()
        self._audit.start()
        self._presence.start()
        self.recovery.start()

    def stopService(self) -> Deferred[None]:
        """Close every websocket with 1001 and report all clients as disconnected.

        Returns:
            Fires when all websockets are closed and Redis has the reports, or before the limits'
            ``shutdown_timeout`` ends. Cancelling it ends only the wait.
        """
        was_running = bool(self.running)
        super().stopService()
        return self._shared_stop.stop(partial(self._stop, was_running))

    async def _stop(self, was_running: bool) -> None:
        if self._on_gap == "close" and was_running:
            self._bus.link.on_resumed.remove(self._missed_events)
        self._stopping = True
        self._revoked.stop()
        self._outbox.flush()
        allowed = self.limits.shutdown_timeout
        began = self._clock.seconds()
        try:
            # Spend half of the timeout on unresponsive clients, and the rest on the reports.
            await self.factory.close_all(GOING_AWAY, "the server is going away", allowed / 2)
            left = max(0.001, began + allowed * HANDING_OVER - self._clock.seconds())
            await self.recovery.hand_over(left if allowed else 0.0)
        finally:
            await self._stop_parts(was_running, began)

    async def _stop_parts(self, was_running: bool, began: float) -> None:
        allowed = self.limits.shutdown_timeout
        self.recovery.stop()
        if was_running:
            self._bus.link.on_read.remove(self._outbox.read_ended)
        self._outbox.flush()
        self._strangers.stop()
        self._audit.stop()
        reported = self._presence.stop()
        if allowed:
            left = max(0.0, began + allowed * REPORTING - self._clock.seconds())
            reported = reported.addTimeout(left, self._clock)
        try:
            await reported
        except DeferredTimeout:
            lost = self._presence.give_up()
            if lost:
                self._log.error(
                    "Redis did not confirm {count} presence reports; another gateway, or this one "
                    "after a restart, will make them",
                    count=lost,
                )

    # --- callbacks of the protocols

    def subprotocols(self) -> Collection[str]:
        """Return the reserved subprotocols that are available now."""
        return _RECOVERY if self.recovery.is_on else ()

    def admit(self, client: ClientProtocol, login: Login) -> Coroutine[Any, Any, Identity]:
        """Decide on a login: see `Admission.admit`."""
        if self._stopping:
            raise Refusal.for_now("the gateway is stopping")
        return self._admission.admit(client, login)

    def refused(self, peer: Peer, refusal: Refusal, kind: topics.Kind | None = None) -> None:
        """Count and log a login that failed."""
        self.logins[_OUTCOMES.get(refusal.status, "refused")] += 1
        self.refusals[self._counted_cause(refusal)] += 1
        if refusal.limit is not None:
            self.limited[refusal.limit] += 1
        self._strangers.add(
            (network_of(peer.address), refusal.status, refusal.cause),
            LogLevel.info,
            "login from {address} over {scheme} refused with {status}: {cause}",
            address=peer.address,
            scheme="wss" if peer.secure else "ws",
            status=int(refusal.status),
            cause=refusal.cause,
        )
        self._audit.refusal(kind, peer, refusal)

    def _counted_cause(self, refusal: Refusal) -> str:
        """Return the text by which a refusal is counted."""
        if refusal.status is HTTPStatus.BAD_REQUEST:
            return "malformed request"
        known, cause = self.refusals, refusal.counted
        return cause if cause in known or len(known) < MOST_CAUSES else "other"

    def tls_failed(self, peer: Peer, reason: Failure) -> None:
        """Count and log a TLS handshake that failed."""
        kind, text = failure_of_handshake(reason)
        self.tls_failures[kind] += 1
        self._strangers.add(
            (network_of(peer.address), kind),
            LogLevel.debug,
            "TLS handshake with {address} failed: {reason}",
            address=peer.address,
            reason=text,
        )

    def opened(self, client: ClientProtocol, identity: Identity) -> None:
        """Report a client as connected; its topics are subscribed."""
        self.logins["accepted"] += 1
        self._clients[identity.kind] += 1
        self._presence.opened(identity)
        self._audit.login(identity, client.address, is_return=client.is_return)
        if client.session is not None:
            self.recovery.opened(client.session, client)
        if self._revoked.includes(identity.kind, identity.uuid):  # during the login
            self._close_revoked(identity.kind, identity.uuid)

    def has_token(self, client: ClientProtocol) -> None:
        """Invalidate the previous token of a returned client."""
        if client.session is not None:
            self.recovery.has_token(client.session, client)

    def closed(self, client: ClientProtocol, identity: Identity) -> None:
        """Forget a client; report it as disconnected if it was open."""
        self._admission.left(client, identity)
        if client.was_opened:
            self._clients[identity.kind] -= 1
            self._presence.closed(identity)
            seconds = self._clock.seconds() - client.opened_at
            self._audit.disconnect(identity, client.address, seconds, client.cause)
        if client.session is not None:
            self.recovery.left(client.session, client, for_good=client.said_goodbye)

    def reached(self, limit: str, client: ClientProtocol) -> None:
        """Count and log a client that exceeded a limit."""
        self.limited[limit] += 1
        who = "not logged in" if client.identity is None else f"a {client.identity.kind}"
        self._strangers.add(
            (limit, who),
            LogLevel.info,
            "closing client ({who}): {limit} reached, {backlog} bytes queued",
            limit=limit,
            who=who,
            backlog=client.backlog,
        )

    def _followings(self, identity: Identity) -> tuple[Following, ...]:
        """Return a client's topics: its own without a filter, broadcasts filtered by the policy."""
        own = topics.websocket_events(identity.kind, identity.uuid)
        followings = {topic: self._filtered(topic) for topic in self._policy.topics(identity)}
        for topic in identity.topics:
            followings[topic] = Following(topic, self._event)
        followings[own] = Following(own, self._own_event)
        for command in topics.disconnect_commands(identity.uuid):
            followings[command] = Following(command, self._command)
        return tuple(followings.values())

    def _clients_of(self, kind: topics.Kind, uuid: str) -> list[Client]:
        command = Following(topics.disconnect_command(uuid.lower()), self._command)
        return self._fanout.clients_of((kind, uuid), command)

    def _close_revoked(self, kind: topics.Kind, uuid: str) -> None:
        """Close the clients of a deleted or disabled identity, as the command does."""
        clients = self._clients_of(kind, uuid)
        closed = self._delivering.close(clients, DISCONNECTED_BY_COMMAND, "CMD_CLIENT_DISCONNECT")
        self._audit.kick(kind, uuid, "OpenTera: deleted or disabled", closed)

    def _conflicts(self, identity: Identity) -> None:
        """Close the clients of an identity whose UUID is connected as another kind."""
        self._log.warn(
            "closing the clients of a {kind}: the UUID is connected as another kind",
            kind=identity.kind,
        )
        clients = self._clients_of(identity.kind, identity.uuid)
        closed = self._delivering.close(
            clients, POLICY_VIOLATION, "that UUID is connected as another kind"
        )
        self._audit.kick(
            identity.kind, identity.uuid, "this gateway: connected as another kind", closed
        )

    def _missed_events(self, concerned: Container[bytes]) -> None:
        for client in self._fanout.concerned(concerned):
            websocket = client.websocket if isinstance(client, Session) else client
            if isinstance(websocket, ClientProtocol):
                websocket.missed_events()


def _admission_class(bus: Bus) -> type[Admission]:
    if not bus.is_traced:
        return Admission
    from opentera_twisted.gateway.traced_admission import TracedAdmission  # noqa: PLC0415 (an extra)

    return TracedAdmission
