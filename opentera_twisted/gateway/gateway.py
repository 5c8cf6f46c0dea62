"""The gateway: websockets that log in with session keys, receive events, and are reported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Coroutine, Iterable, Mapping
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
from opentera_twisted._internal.timeouts import LONGEST
from opentera_twisted.bus import Bus
from opentera_twisted.errors import InvalidArgument
from opentera_twisted.gateway.access import DefaultPolicy
from opentera_twisted.gateway.admission import Admission
from opentera_twisted.gateway.compression import MAX_WINDOW_BITS, MIN_WINDOW_BITS
from opentera_twisted.gateway.contracts import IAccessPolicy, IIdentityResolver
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
    SERVICE_RESTART,
    ClientFactory,
    ClientProtocol,
)
from opentera_twisted.gateway.proxies import Peer, TrustedProxies
from opentera_twisted.gateway.recovery import (
    RECOVERY_BUFFER,
    RECOVERY_WINDOW,
    Recovery,
    RecoverySettings,
)
from opentera_twisted.gateway.resource import GatewayResource
from opentera_twisted.gateway.revoked import Revoked
from opentera_twisted.gateway.subprotocols import RECOVERY
from opentera_twisted.gateway.summed_log import SummedLog
from opentera_twisted.gateway.tls import failure_of_handshake
from opentera_twisted.lease import LEASE
from opentera_twisted.sessions import Identity, SessionKeys

OnGap = Literal["keep", "close"]

DEFAULT_LIMITS: Final = GatewayLimits()

HANDING_OVER: Final = 0.75
"""Part of the time for shutdown after which no client is waited for any more."""

_RECOVERY: Final = (RECOVERY,)

LARGEST_EVENT: Final = 16
"""Times ``max_send_buffer`` that an event may have; a larger one is delivered to no one."""

_OUTCOMES: Final[Mapping[HTTPStatus, str]] = {
    HTTPStatus.REQUEST_TIMEOUT: "gone",
    HTTPStatus.TOO_MANY_REQUESTS: "limited",
    HTTPStatus.INTERNAL_SERVER_ERROR: "failed",
    HTTPStatus.SERVICE_UNAVAILABLE: "unavailable",
}


class Gateway(Service):
    """Lets websockets in, hands them their events, and tells the bus who came and went.

    Listen with its `factory`: ``endpoint.listen(gateway.factory)``, or put its `resource` into a
    ``twisted.web`` site; stop listening before stopping it, and stop it before its bus.

    Args:
        bus: whose session keys and events these are; started and stopped by its owner.
        require_bound_keys: refuse the session keys of deployed servers.
        identities: says who a client is; by default its UUID and what its key says.
        policy: says which broadcast events a client sees; by default those about itself.
        limits: of clients and of what they may take.
        origins: of the pages that may open websockets; none given: any. See `Origins`.
        trusted_proxies: addresses whose ``X-Forwarded-For`` and ``-Proto`` are believed.
        on_gap: what is done with open websockets when events may have been missed: ``close`` them
            with 1012, so that browsers reload, or ``keep`` them.
        compression: logarithm of the window of permessage-deflate, 9 to 15; 0: none.
        presence_lease: seconds after which others report its clients gone, if it dies.
        presence_grace: seconds in which a client may come back before others see it go.
        recovery_window: seconds for which a client can return after a disconnect, and get what it
            missed; 0: it cannot.
        recovery_buffer: bytes of events that are kept for each such client.

    Raises:
        InvalidArgument: one of these is not of its form.

    Attributes:
        factory: makes the protocol of each connection.
        limits: as given.
        recovery: the clients that can return, and counts of those that did.
        logins: how many logins had which outcome: ``accepted``, ``refused`` (no valid key, a
            foreign origin, no such path, no handshake), ``limited``, ``unavailable`` (Redis, or the
            identity resolver), ``gone`` (it left, or ran out of time) or ``failed`` (an error
            here).
        limited: how often which limit was reached.
        tls_failures: how many TLS handshakes failed, by reason: ``error`` (either side refused what
            the other said) or ``closed`` (the client went away, or ran out of time).
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
    ) -> None:
        if on_gap not in {"keep", "close"}:
            raise InvalidArgument(f"on_gap is keep or close, not {on_gap!r}")
        if compression and not MIN_WINDOW_BITS <= compression <= MAX_WINDOW_BITS:
            raise InvalidArgument(
                f"compression is 0 or {MIN_WINDOW_BITS} to {MAX_WINDOW_BITS}, not {compression!r}"
            )
        if not 0 <= presence_grace < LONGEST:
            raise InvalidArgument(f"presence_grace is not {presence_grace!r}: expected seconds")
        if not 0 <= recovery_window < LONGEST:
            raise InvalidArgument(f"recovery_window is not {recovery_window!r}: expected seconds")
        if recovery_buffer < 0:
            raise InvalidArgument(f"recovery_buffer is not {recovery_buffer!r}: expected bytes")
        self.limits = limits
        self.logins: Counter[str] = Counter()
        self.limited: Counter[str] = Counter()
        self.tls_failures: Counter[str] = Counter()
        self._on_gap = on_gap
        self._bus = bus
        self._clock = bus.link.clock
        self._policy = policy or DefaultPolicy()
        self._strangers = SummedLog(self._log, self._clock)
        self._outbox = Outbox(self._clock)
        self._delivering = Delivering(
            self._policy, self._outbox, LARGEST_EVENT * limits.max_send_buffer
        )
        # Bound once, and not for each client.
        self._event, self._command = self._delivering.event, self._delivering.command
        self._own_event = self._delivering.own_event
        self._presence = LocalPresence(bus.link, presence_lease, self._conflicts, presence_grace)
        self._fanout = Fanout(bus.pubsub)
        self._revoked = Revoked(bus.pubsub, self._clock.seconds, self._close_revoked)
        self._clients: Counter[topics.Kind] = Counter()
        self._stopping = False
        self.factory = ClientFactory(
            self, self._clock, limits, TrustedProxies(trusted_proxies), compression
        )
        turn = self.factory.intake.turn
        joining = Joining(self._fanout, self._followings, self._policy, self._clock, turn)
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
        self._admission = Admission(
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
        """How many websockets are open, by kind."""
        return {kind: self._clients[kind] for kind in topics.KINDS}

    @property
    def delivered(self) -> int:
        """How many frames were written to clients."""
        return self._outbox.delivered

    @property
    def dropped(self) -> int:
        """Number of messages on clients' topics that were no event or command, or too large."""
        return self._delivering.dropped.count + self._delivering.too_large.count

    @property
    def backlog(self) -> int:
        """Bytes that wait for clients to read."""
        return sum(client.backlog for client in self.factory.connections)

    @property
    def lease(self) -> str:
        """Its name in Redis, under which its clients are online; another one in each process."""
        return self._presence.gateway

    def resource(self) -> IResource:
        """A resource for a ``twisted.web`` site: ``root.putChild(b"wss", gateway.resource())``.

        Below it are ``user``, ``participant`` and ``device``, wherever it is put.
        """
        return GatewayResource(self.factory)

    def startService(self) -> None:
        """Let clients in."""
        if self._on_gap == "close" and not self.running:
            self._bus.link.on_resumed.append(self._missed_something)
        super().startService()
        self._stopping = False
        self._revoked.start()
        self._strangers.start()
        self._presence.start()
        self.recovery.start()

    def stopService(self) -> Deferred[None]:
        """Close every websocket with 1001 and report everyone gone.

        Returns:
            Fires when all are closed and Redis has the reports, or after the limits'
            ``shutdown_timeout``.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._on_gap == "close" and self.running:
            self._bus.link.on_resumed.remove(self._missed_something)
        super().stopService()
        self._stopping = True
        self._revoked.stop()
        allowed = self.limits.shutdown_timeout
        began = self._clock.seconds()
        # Half of the time is for those who do not answer, the rest for the reports.
        await self.factory.close_all(GOING_AWAY, "the server is going away", allowed / 2)
        left = max(0.001, began + allowed * HANDING_OVER - self._clock.seconds())
        await self.recovery.hand_over(left if allowed else 0.0)
        self.recovery.stop()
        self._strangers.stop()
        reported = self._presence.stop()
        if allowed:
            left = max(0.0, began + allowed - self._clock.seconds())
            reported = reported.addTimeout(left, self._clock)
        try:
            await reported
        except DeferredTimeout:
            lost = self._presence.give_up()
            if lost:
                self._log.error(
                    "Redis did not take {count} reports of who went; another gateway, or this one "
                    "when it runs again, will make them",
                    count=lost,
                )

    # --- what the protocols ask

    def subprotocols(self) -> Collection[str]:
        """List the reserved subprotocols that can be spoken now."""
        return _RECOVERY if self.recovery.is_on else ()

    def admit(self, client: ClientProtocol, login: Login) -> Coroutine[Any, Any, Identity]:
        """Decide on a login: see `Admission.admit`."""
        if self._stopping:
            raise Refusal.for_now("the gateway ends")
        return self._admission.admit(client, login)

    def refused(self, peer: Peer, refusal: Refusal) -> None:
        """Count and log a login that failed."""
        self.logins[_OUTCOMES.get(refusal.status, "refused")] += 1
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
        """Report that a client came; its topics are subscribed."""
        self.logins["accepted"] += 1
        self._clients[identity.kind] += 1
        self._presence.opened(identity)
        if client.session is not None:
            self.recovery.opened(client.session, client)

    def closed(self, client: ClientProtocol, identity: Identity) -> None:
        """Forget a client; report it if it had come."""
        self._admission.left(client, identity)
        if client.was_opened:
            self._clients[identity.kind] -= 1
            self._presence.closed(identity)
        if client.session is not None:
            self.recovery.left(client.session, client, for_good=client.said_goodbye)

    def reached(self, limit: str, client: ClientProtocol) -> None:
        """Count a client that is sent away because of a limit."""
        self.limited[limit] += 1
        who = "not logged in" if client.identity is None else f"a {client.identity.kind}"
        self._strangers.add(
            (limit, who),
            LogLevel.info,
            "a client is sent away: {limit} is reached; it is {who}, and {backlog} bytes wait",
            limit=limit,
            who=who,
            backlog=client.backlog,
        )

    def _followings(self, identity: Identity) -> tuple[Following, ...]:
        """What a client follows: its own topics wholly, broadcasts as the policy says."""
        command = topics.disconnect_command(identity.uuid)
        own = topics.websocket_events(identity.kind, identity.uuid)
        followings = {
            topic: Following(topic, self._event, wholly=False)
            for topic in self._policy.topics(identity)
        }
        for topic in identity.topics:
            followings[topic] = Following(topic, self._event)
        followings[own] = Following(own, self._own_event)
        followings[command] = Following(command, self._command)
        return tuple(followings.values())

    def _clients_of(self, kind: topics.Kind, uuid: str) -> list[Client]:
        command = Following(topics.disconnect_command(uuid), self._command)
        return self._fanout.clients_of((kind, uuid), command)

    def _close_revoked(self, kind: topics.Kind, uuid: str) -> None:
        """Close the clients of somebody who was deleted or disabled, as the command does."""
        for client in self._clients_of(kind, uuid):
            client.close(DISCONNECTED_BY_COMMAND, "CMD_CLIENT_DISCONNECT")

    def _conflicts(self, identity: Identity) -> None:
        """Close the clients of an identity whose UUID is open under another kind."""
        self._log.warn(
            "closing the clients of a {kind}: its UUID is connected as another kind",
            kind=identity.kind,
        )
        for client in self._clients_of(identity.kind, identity.uuid):
            client.close(POLICY_VIOLATION, "that UUID is connected as another kind")

    def _missed_something(self) -> None:
        self.factory.close_open(SERVICE_RESTART, "events may have been missed")
