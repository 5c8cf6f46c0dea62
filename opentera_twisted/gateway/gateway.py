"""The gateway: websockets that log in with session keys, receive events, and are reported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final, Literal

from attrs import evolve
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource

from opentera_twisted import topics
from opentera_twisted.bus import Bus
from opentera_twisted.errors import BusError, InvalidArgument
from opentera_twisted.gateway.access import DefaultPolicy, IAccessPolicy
from opentera_twisted.gateway.compression import MAX_WINDOW_BITS, MIN_WINDOW_BITS
from opentera_twisted.gateway.delivery import Delivering
from opentera_twisted.gateway.fanout import Fanout, Following
from opentera_twisted.gateway.identity import IIdentityResolver, checked
from opentera_twisted.gateway.limits import FailedLogins, GatewayLimits
from opentera_twisted.gateway.login import Login, Refusal
from opentera_twisted.gateway.origins import Origins
from opentera_twisted.gateway.outbox import Outbox
from opentera_twisted.gateway.presence import LocalPresence
from opentera_twisted.gateway.protocol import (
    GOING_AWAY,
    SERVICE_RESTART,
    ClientFactory,
    ClientProtocol,
)
from opentera_twisted.gateway.proxies import Peer, TrustedProxies
from opentera_twisted.gateway.resource import GatewayResource
from opentera_twisted.presence import LEASE
from opentera_twisted.sessions import Identity, Redeemed, SessionKeys

REDEEM_TIMEOUT: Final = 5.0
"""Seconds that Redis may take over a session key; then the client is told to come again."""

RESOLVE_TIMEOUT: Final = 5.0
"""Seconds that the identity resolver may take; then the client is told to come again."""

OnGap = Literal["keep", "close"]

DEFAULT_LIMITS: Final = GatewayLimits()

_OUTCOMES: Final[Mapping[HTTPStatus, str]] = {
    HTTPStatus.REQUEST_TIMEOUT: "gone",
    HTTPStatus.TOO_MANY_REQUESTS: "limited",
    HTTPStatus.INTERNAL_SERVER_ERROR: "failed",
    HTTPStatus.SERVICE_UNAVAILABLE: "unavailable",
}

_Who = tuple[topics.Kind, str]


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

    Raises:
        InvalidArgument: one of these is not of its form.

    Attributes:
        factory: makes the protocol of each connection.
        limits: as given.
        logins: how many logins had which outcome: ``accepted``, ``refused`` (no valid key, a
            foreign origin, no such path, no handshake), ``limited``, ``unavailable`` (Redis, or the
            identity resolver), ``gone`` (it left, or ran out of time) or ``failed`` (an error
            here).
        limited: how often which limit was reached.
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
    ) -> None:
        if on_gap not in {"keep", "close"}:
            raise InvalidArgument(f"on_gap is keep or close, not {on_gap!r}")
        if compression and not MIN_WINDOW_BITS <= compression <= MAX_WINDOW_BITS:
            raise InvalidArgument(
                f"compression is 0 or {MIN_WINDOW_BITS} to {MAX_WINDOW_BITS}, not {compression!r}"
            )
        self.limits = limits
        self.logins: Counter[str] = Counter()
        self.limited: Counter[str] = Counter()
        self._on_gap = on_gap
        self._bus = bus
        self._reactor: Any = bus.link.reactor
        self._keys = SessionKeys(bus, require_bound=require_bound_keys)
        self._identities = identities
        self._policy = policy or DefaultPolicy()
        self._origins = Origins(origins)
        self._failed = FailedLogins(limits.failed_logins_per_minute, self._reactor.seconds)
        self._outbox = Outbox(self._reactor)
        self._delivering = Delivering(self._policy, self._outbox)
        # Bound once, and not for each client.
        self._event, self._command = self._delivering.event, self._delivering.command
        self._fanout = Fanout(bus.pubsub)
        self._presence = LocalPresence(bus.link, presence_lease)
        self._present: Counter[_Who] = Counter()  # from the session key on
        self._clients: Counter[topics.Kind] = Counter()
        self._admitting = 0
        self._stopping = False
        self.factory = ClientFactory(
            self, self._reactor, limits, TrustedProxies(trusted_proxies), compression
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
        """How many messages on clients' topics were neither an event nor a command."""
        return self._delivering.dropped.count

    @property
    def backlog(self) -> int:
        """Bytes that wait for clients to read."""
        return sum(client.backlog for client in self.factory.connections)

    @property
    def lease(self) -> str:
        """Its name in Redis, under which its clients are online; another one in each process."""
        return self._presence.gateway

    @property
    def takes_any_origin(self) -> bool:
        """Whether pages of any origin may open websockets."""
        return self._origins.any

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
        self._presence.start()

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
        allowed = self.limits.shutdown_timeout
        began = self._reactor.seconds()
        # Half of the time is for those who do not answer, the rest for the reports.
        await self.factory.close_all(GOING_AWAY, "the server is going away", allowed / 2)
        reported = self._presence.stop()
        if allowed:
            left = max(0.0, began + allowed - self._reactor.seconds())
            reported = reported.addTimeout(left, self._reactor)
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

    async def admit(self, client: ClientProtocol, login: Login) -> Identity:
        """Redeem the session key and subscribe the client's topics.

        A key is given back unless it was decided whether the client may come in.

        Raises:
            Refusal: 403 for a key that is not valid, whatever it is; 503 when the key may be good
                but that cannot be said now; 429 for who has failed, or is connected, too often.
        """
        self._check(login)
        self._admitting += 1
        try:
            redeemed = await self._redeem(login)
            who = (redeemed.identity.kind, redeemed.identity.uuid)
            self._present[who] += 1
            try:
                return await self._prepare(client, redeemed.identity)
            except BaseException as error:
                self._gone(who)
                if not isinstance(error, Refusal) or error.is_for_now:
                    self._give_back(redeemed)
                raise
        finally:
            self._admitting -= 1

    def _check(self, login: Login) -> None:
        """Whether there is any use in asking Redis."""
        if self._stopping or not self._bus.link.is_ready:
            raise _unavailable("no link to Redis")
        limit = self.limits.max_clients
        if limit and self._clients.total() + self._admitting >= limit:
            raise _unavailable("too many clients", limit="max_clients")
        if self._failed.are_too_many(login.peer.address):
            raise Refusal(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too many failed logins",
                limit="failed_logins_per_minute",
                retry_after=60,
            )
        if not self._origins.allow(login.origin):
            raise Refusal(HTTPStatus.FORBIDDEN, "a page of a foreign origin")

    async def _redeem(self, login: Login) -> Redeemed:
        try:
            redeemed = await self._taken(login).addTimeout(REDEEM_TIMEOUT, self._reactor)
        except DeferredTimeout:
            raise _unavailable("Redis did not answer") from None
        except BusError as error:
            raise _unavailable(str(error)) from None
        if redeemed is None:
            self._failed.add(login.peer.address)
            raise Refusal(HTTPStatus.FORBIDDEN, "the session key is not valid")
        return redeemed

    def _taken(self, login: Login) -> Deferred[Redeemed | None]:
        """Take the key; if Redis answers when nobody waits any more, give it back."""
        waiting: Deferred[Redeemed | None] = Deferred()

        def taken(redeemed: Redeemed | None) -> None:
            if not waiting.called:
                waiting.callback(redeemed)
            elif redeemed is not None:
                self._give_back(redeemed)

        def failed(failure: Failure) -> None:
            if not waiting.called:
                waiting.errback(failure)

        self._keys.take(login.kind, login.key).addCallbacks(taken, failed)
        return waiting

    def _give_back(self, redeemed: Redeemed) -> None:
        """Let a client that could not be let in come again with its key."""

        def failed(failure: Failure) -> None:
            failure.trap(BusError)
            self._log.warn(
                "a session key could not be given back: {reason}", reason=failure.getErrorMessage()
            )

        self._keys.give_back(redeemed).addErrback(failed)

    async def _prepare(self, client: ClientProtocol, known: Identity) -> Identity:
        """Find out who that is, and subscribe what it follows."""
        limit = self.limits.max_clients_per_identity
        if limit and self._present[known.kind, known.uuid] > limit:
            raise Refusal(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"that {known.kind} is connected too often",
                limit="max_clients_per_identity",
                retry_after=60,
            )
        identity = known
        if self._identities is not None:
            identity = await self._resolve(self._identities, known)
        who = (identity.kind, identity.uuid)
        followings = self._followings(identity)
        try:
            await self._fanout.follow(client, who, followings)
        except BaseException as error:
            self._fanout.unfollow(client)
            if isinstance(error, BusError):
                raise _unavailable(str(error)) from None
            raise
        return identity

    async def _resolve(self, resolver: IIdentityResolver, known: Identity) -> Identity:
        try:
            resolving = resolver.resolve(known.kind, known.uuid)
            identity = checked(await resolving.addTimeout(RESOLVE_TIMEOUT, self._reactor))
        except DeferredTimeout:
            raise _unavailable("the identity resolver did not answer") from None
        except CancelledError:  # the client has gone
            raise
        except Exception as error:  # noqa: BLE001 (it is anybody's; the client shall come again)
            if not isinstance(error, BusError):
                self._log.failure("the identity resolver failed")
            raise _unavailable(f"the identity resolver failed: {error}") from None
        if identity is None:
            raise Refusal(HTTPStatus.FORBIDDEN, f"the identity resolver refuses that {known.kind}")
        return evolve(
            identity,
            kind=known.kind,
            uuid=known.uuid,
            name=identity.name or known.name,
            topics=(*known.topics, *identity.topics),
        )

    def refused(self, peer: Peer, refusal: Refusal) -> None:
        """Count and log a login that failed."""
        self.logins[_OUTCOMES.get(refusal.status, "refused")] += 1
        if refusal.limit is not None:
            self.limited[refusal.limit] += 1
        self._log.info(
            "login from {address} over {scheme} refused with {status}: {cause}",
            address=peer.address,
            scheme="wss" if peer.secure else "ws",
            status=int(refusal.status),
            cause=refusal.cause,
        )

    def opened(self, client: ClientProtocol, identity: Identity) -> None:
        """Report that a client came; its topics are subscribed."""
        self.logins["accepted"] += 1
        self._clients[identity.kind] += 1
        self._presence.opened(identity)

    def closed(self, client: ClientProtocol, identity: Identity) -> None:
        """Forget a client; report it if it had come."""
        self._fanout.unfollow(client)
        self._gone((identity.kind, identity.uuid))
        if client.was_opened:
            self._clients[identity.kind] -= 1
            self._presence.closed(identity)

    def reached(self, limit: str, client: ClientProtocol) -> None:
        """Count a client that is sent away because of a limit."""
        self.limited[limit] += 1
        self._log.info(
            "a client is sent away: {limit} is reached; it is {who}, and {backlog} bytes wait",
            limit=limit,
            who="not logged in" if client.identity is None else f"a {client.identity.kind}",
            backlog=client.backlog,
        )

    def _gone(self, who: _Who) -> None:
        self._present[who] -= 1
        if not self._present[who]:
            del self._present[who]

    def _followings(self, identity: Identity) -> tuple[Following, ...]:
        """What a client follows: its own topics wholly, broadcasts as the policy says."""
        command = topics.disconnect_command(identity.uuid)
        own = topics.websocket_events(identity.kind, identity.uuid)
        followings = {
            topic: Following(topic, self._event, wholly=False)
            for topic in self._policy.topics(identity)
        }
        for topic in (*identity.topics, own):
            followings[topic] = Following(topic, self._event)
        followings[command] = Following(command, self._command)
        return tuple(followings.values())

    def _missed_something(self) -> None:
        self.factory.close_open(SERVICE_RESTART, "events may have been missed")


def _unavailable(cause: str, *, limit: str | None = None) -> Refusal:
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, cause, limit=limit, retry_after=5)
