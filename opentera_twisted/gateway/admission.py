"""Admission: limits, session key, identity, subscriptions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final, Protocol, TypeVar

from attrs import evolve
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from opentera_twisted._internal.failed_logins import FailedLogins
from opentera_twisted.errors import BusError
from opentera_twisted.gateway.contracts import IIdentityResolver
from opentera_twisted.gateway.fanout import Who, who_is
from opentera_twisted.gateway.identity import checked
from opentera_twisted.gateway.joining import Joining, guarded
from opentera_twisted.gateway.limits import GatewayLimits
from opentera_twisted.gateway.login import Login, Refusal
from opentera_twisted.gateway.origins import Origins
from opentera_twisted.gateway.outbox import Client
from opentera_twisted.gateway.recovery.recovery import Recovery
from opentera_twisted.gateway.recovery.session import Session
from opentera_twisted.holders import REPORTS
from opentera_twisted.link import Link
from opentera_twisted.revocation import topic_of
from opentera_twisted.sessions import Identity, Redeemed, SessionKeys, is_bound
from opentera_twisted.topics import Kind

REDEEM_TIMEOUT: Final = 5.0
"""Seconds allowed for Redis to redeem a session key; after that, the client gets 503."""


T = TypeVar("T")


class AdmittedClient(Client, Protocol):
    """A websocket that requests admission.

    Attributes:
        wants_recovery: True if it speaks the recovery subprotocol.
        session: Its recovery session, once admitted.
    """

    session: Session | None

    @property
    def wants_recovery(self) -> bool:
        """True if the websocket speaks the recovery subprotocol."""


class Admission:
    """Admission control of one gateway, with counts of the admitted clients.

    Args:
        link: The link to Redis. On a cluster, a login needs only some of the nodes.
        limits: Limits of the gateway.
        keys: Store of session keys.
        identities: Resolver of identities; None uses the identity of the session key.
        origins: Allowed origins of web pages.
        joining: Subscribes clients to their events.
        recovery: Sessions of returning clients.
        is_revoked: Returns True for an identity that was deleted or disabled after its key was
            issued.
        turn: Waits for a slot in the intake, so that many logins do not block the reactor.
    """

    _log = Logger()

    def __init__(
        self,
        link: Link,
        limits: GatewayLimits,
        *,
        keys: SessionKeys,
        identities: IIdentityResolver | None,
        origins: Origins,
        joining: Joining,
        recovery: Recovery,
        is_revoked: Callable[[Kind, str], bool],
        turn: Callable[[], Awaitable[None]],
    ) -> None:
        self._link = link
        self._limits = limits
        self._keys = keys
        self._identities = identities
        self._origins = origins
        self._joining = joining
        self._recovery = recovery
        self._is_revoked = is_revoked
        self._turn = turn
        self._failed = FailedLogins(limits.failed_logins_per_minute, link.clock.seconds)
        self._inside = 0  # counts pending logins too
        self._present: Counter[Who] = Counter()  # counts from the redeemed key on

    async def admit(self, client: AdmittedClient, login: Login) -> Identity:
        """Redeem the session key and subscribe the client's topics, or continue its session.

        The key becomes valid again if the login fails without a final decision. A key that names
        no kind always becomes valid again, because the client may have tried the wrong kind.

        Returns:
            The client's identity; call `left` when the client disconnects.

        Raises:
            Refusal: 403 for an invalid key; 503 if the key could not be checked; 429 after too
                many failed logins, or for too many clients of one identity.
        """
        self._check(login)
        self._inside += 1
        try:
            if login.received is not None:
                return await self._return(client, login, login.received)
            return await self._log_in(client, login)
        except BaseException:
            self._inside -= 1
            raise

    async def _log_in(self, client: AdmittedClient, login: Login) -> Identity:
        redeemed = await self._decided(
            login, lambda: self._keys.take(login.kind, login.key), self._give_back
        )
        if redeemed is None:
            raise Refusal(HTTPStatus.FORBIDDEN, "the session key is not valid")
        who = who_is(redeemed.identity.kind, redeemed.identity.uuid)
        self._present[who] += 1
        try:
            await self._turn()
            return await self._prepare(client, redeemed.identity)
        except BaseException as error:
            self._gone(who)
            is_decided = isinstance(error, Refusal) and not error.is_for_now
            if not is_decided or not is_bound(login.key):
                self._give_back(redeemed)
            raise

    async def _return(self, client: AdmittedClient, login: Login, received: int) -> Identity:
        """Admit a client with a recovery token; only a 403 invalidates the token."""
        recovery = self._recovery
        if not client.wants_recovery:
            raise Refusal(HTTPStatus.BAD_REQUEST, "a return without the recovery subprotocol")
        taken = await self._decided(
            login, lambda: recovery.take(login.kind, login.key), recovery.put_back
        )
        if taken is None:
            raise Refusal(HTTPStatus.FORBIDDEN, "the recovery token is not valid")
        identity = taken.identity
        who = who_is(identity.kind, identity.uuid)
        was_kept = recovery.keeps(taken)
        self._present[who] += 1
        try:
            try:
                # Do not count the websocket that the client has left.
                self._allow(identity, self._present[who] - recovery.has_open(taken))
                await self._turn()
                if was_kept and not recovery.keeps(taken):  # such as by the disconnect command
                    raise Refusal(HTTPStatus.FORBIDDEN, "the session ended during the return")
            except BaseException as error:
                is_final = isinstance(error, Refusal) and error.status is HTTPStatus.FORBIDDEN
                if is_final or (was_kept and not recovery.keeps(taken)):
                    recovery.discard(taken)
                else:
                    await recovery.put_back(taken)
                raise
            client.session = await recovery.resume(taken, received)
        except BaseException:
            self._gone(who)
            raise
        return identity

    def left(self, client: AdmittedClient, identity: Identity) -> None:
        """Forget an admitted client; its recovery session, if any, may continue."""
        self._inside -= 1
        self._gone(who_is(identity.kind, identity.uuid))
        if client.session is None:
            self._joining.leave(client, identity)

    def _gone(self, who: Who) -> None:
        self._present[who] -= 1
        if not self._present[who]:
            del self._present[who]

    def _check(self, login: Login) -> None:
        """Refuse a login for reasons that need no Redis command."""
        if not self._is_ready_for(login):
            raise Refusal.for_now("no link to Redis")
        limit = self._limits.max_clients
        if limit and self._inside >= limit:
            raise Refusal.for_now("too many clients", limit="max_clients")
        if self._failed.are_too_many(login.peer.address):
            raise _failed_too_often()
        if not self._origins.allow(login.origin):
            raise Refusal(HTTPStatus.FORBIDDEN, "the page has a foreign origin")

    def _is_ready_for(self, login: Login) -> bool:
        """Return True if the nodes of the key, of presence and of revocations are ready."""
        if not self._link.address.is_cluster:
            return self._link.is_ready
        key = login.key if login.received is None else self._recovery.key_of(login.key)
        return all(map(self._link.is_node_ready, (key, REPORTS, topic_of(login.kind))))

    async def _decided(
        self, login: Login, take: Callable[[], Deferred[T | None]], give_back: Callable[[T], object]
    ) -> T | None:
        """Redeem a key or token; limit the attempts in flight from one address.

        Returns:
            The redeemed key or token, or None if it is not valid.
        """
        address = login.peer.address
        if not await self._failed.begin(address):
            raise _failed_too_often()
        failed = False
        try:
            taken = await _taken(take(), give_back, self._link.clock)
            failed = taken is None
        except DeferredTimeout:
            raise Refusal.for_now("Redis did not answer") from None
        except BusError as error:
            raise Refusal.for_error(error) from None
        finally:
            self._failed.end(address, failed=failed)
        return taken

    def _give_back(self, redeemed: Redeemed) -> None:
        """Make a session key valid again after its client was refused for now."""

        def failed(failure: Failure) -> None:
            failure.trap(BusError)
            self._log.warn(
                "restoring a session key failed: {reason}", reason=failure.getErrorMessage()
            )

        self._keys.give_back(redeemed).addErrback(failed)

    async def _prepare(self, client: AdmittedClient, known: Identity) -> Identity:
        """Resolve the client's identity and subscribe its topics."""
        self._allow(known, self._present[who_is(known.kind, known.uuid)])
        identity = known
        if self._identities is not None:
            identity = await self._resolve(self._identities, known)
        if not client.wants_recovery:
            await self._joining.join(client, identity)
            return identity
        session = self._recovery.session(identity)
        await self._joining.join(session, identity)
        try:
            await self._recovery.register(session)
        except BaseException as error:
            self._joining.leave(session, identity)
            if isinstance(error, BusError):
                raise Refusal.for_error(error) from None
            raise
        client.session = session
        return identity

    def _allow(self, identity: Identity, present: int) -> None:
        """Refuse an identity with too many clients, or a revoked one."""
        limit = self._limits.max_clients_per_identity
        if limit and present > limit:
            raise Refusal(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"the {identity.kind} has too many clients",
                limit="max_clients_per_identity",
                retry_after=60,
            )
        if self._is_revoked(identity.kind, identity.uuid):
            raise Refusal(HTTPStatus.FORBIDDEN, f"the {identity.kind} was deleted or disabled")

    @staticmethod
    async def _resolved(resolver: IIdentityResolver, known: Identity) -> Identity | None:
        return checked(await maybeDeferred(resolver.resolve, known.kind, known.uuid))

    async def _resolve(self, resolver: IIdentityResolver, known: Identity) -> Identity:
        identity: Identity | None = await guarded(
            self._link.clock, "identity resolver", self._resolved, resolver, known
        )
        await self._turn()
        if identity is None:
            raise Refusal(HTTPStatus.FORBIDDEN, f"the identity resolver rejected the {known.kind}")
        return evolve(
            identity,
            kind=known.kind,
            uuid=known.uuid,
            name=identity.name or known.name,
            topics=(*known.topics, *identity.topics),
        )


def _taken(
    taking: Deferred[T | None], give_back: Callable[[T], object], clock: IReactorTime
) -> Deferred[T | None]:
    """Wait for a key, up to `REDEEM_TIMEOUT`; restore it if Redis replies after the wait."""
    waiting: Deferred[T | None] = Deferred(lambda _: late.cancel())
    late = clock.callLater(REDEEM_TIMEOUT, waiting.errback, DeferredTimeout())

    def taken(result: T | None) -> None:
        if not waiting.called:
            late.cancel()
            waiting.callback(result)
        elif result is not None:
            give_back(result)

    def failed(failure: Failure) -> None:
        if not waiting.called:
            late.cancel()
            waiting.errback(failure)

    taking.addCallbacks(taken, failed)
    return waiting


def _failed_too_often() -> Refusal:
    return Refusal(
        HTTPStatus.TOO_MANY_REQUESTS,
        "too many failed logins",
        limit="failed_logins_per_minute",
        retry_after=60,
    )
