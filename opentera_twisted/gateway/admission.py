"""Admission: limits, session key, identity, subscriptions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.logger import Logger
from twisted.python.failure import Failure

from opentera_twisted._internal.failed_logins import FailedLogins
from opentera_twisted.errors import BusError
from opentera_twisted.gateway.contracts import (
    IAccessPolicy,
    IIdentityResolver,
    IPreparedPolicy,
)
from opentera_twisted.gateway.fanout import Fanout, Following, Who
from opentera_twisted.gateway.identity import checked
from opentera_twisted.gateway.limits import GatewayLimits
from opentera_twisted.gateway.login import Login, Refusal
from opentera_twisted.gateway.origins import Origins
from opentera_twisted.gateway.outbox import Client
from opentera_twisted.link import Link
from opentera_twisted.sessions import Identity, Redeemed, SessionKeys, is_bound
from opentera_twisted.topics import Kind

REDEEM_TIMEOUT: Final = 5.0
"""Seconds that Redis may take over a session key; then the client is told to come again."""

RESOLVE_TIMEOUT: Final = 5.0
"""Seconds that the identity resolver or the access policy may take; then the client is told to
come again."""


class Admission:
    """Decides on logins, and knows who is inside.

    Args:
        link: has to be ready.
        limits: of clients.
        keys: redeems their session keys.
        identities: says who a client is; None: its key does.
        origins: of the pages that are let in.
        fanout: subscribes what clients follow.
        followings: what somebody follows.
        policy: the access policy, to prepare it for clients.
        is_revoked: tells whether somebody was deleted or disabled since its key was issued.
        turn: waits until there is time for a step of a login, as many can be decided at once.
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
        fanout: Fanout,
        followings: Callable[[Identity], tuple[Following, ...]],
        policy: IAccessPolicy,
        is_revoked: Callable[[Kind, str], bool],
        turn: Callable[[], Deferred[None]],
    ) -> None:
        self._link = link
        self._limits = limits
        self._keys = keys
        self._identities = identities
        self._origins = origins
        self._fanout = fanout
        self._followings = followings
        self._prepared: Any = policy if isinstance(policy, IPreparedPolicy) else None
        self._is_revoked = is_revoked
        self._turn = turn
        self._failed = FailedLogins(limits.failed_logins_per_minute, link.clock.seconds)
        self._inside = 0  # from the attempt on
        self._present: Counter[Who] = Counter()  # from the session key on

    async def admit(self, client: Client, login: Login) -> Identity:
        """Redeem the session key and subscribe the client's topics.

        A key is given back unless it was decided whether the client may come in. One that names no
        kind is given back in any case: it may be for another kind than the client says.

        Returns:
            Who that is; call `left` when the client is gone.

        Raises:
            Refusal: 403 for a key that is not valid, whatever it is; 503 when the key may be good
                but that cannot be said now; 429 for who has failed, or is connected, too often.
        """
        self._check(login)
        self._inside += 1
        try:
            redeemed = await self._redeem(login)
            who = (redeemed.identity.kind, redeemed.identity.uuid)
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
        except BaseException:
            self._inside -= 1
            raise

    def left(self, client: Client, identity: Identity) -> None:
        """An admitted client is gone."""
        self._inside -= 1
        self._fanout.unfollow(client)
        if self._prepared is not None:
            self._prepared.forget(identity)
        self._gone((identity.kind, identity.uuid))

    def _gone(self, who: Who) -> None:
        self._present[who] -= 1
        if not self._present[who]:
            del self._present[who]

    def _check(self, login: Login) -> None:
        """Refuse a login that can be decided without Redis."""
        if not self._link.is_ready:
            raise Refusal.for_now("no link to Redis")
        limit = self._limits.max_clients
        if limit and self._inside >= limit:
            raise Refusal.for_now("too many clients", limit="max_clients")
        if self._failed.are_too_many(login.peer.address):
            raise _failed_too_often()
        if not self._origins.allow(login.origin):
            raise Refusal(HTTPStatus.FORBIDDEN, "a page of a foreign origin")

    async def _redeem(self, login: Login) -> Redeemed:
        address = login.peer.address
        if not await self._failed.begin(address):
            raise _failed_too_often()
        failed = False
        try:
            redeemed = await self._taken(login).addTimeout(REDEEM_TIMEOUT, self._link.clock)
            failed = redeemed is None
        except DeferredTimeout:
            raise Refusal.for_now("Redis did not answer") from None
        except BusError as error:
            raise Refusal.for_now(str(error)) from None
        finally:
            self._failed.end(address, failed=failed)
        if redeemed is None:
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

    async def _prepare(self, client: Client, known: Identity) -> Identity:
        """Find out who that is, and subscribe what it follows."""
        limit = self._limits.max_clients_per_identity
        if limit and self._present[known.kind, known.uuid] > limit:
            raise Refusal(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"that {known.kind} is connected too often",
                limit="max_clients_per_identity",
                retry_after=60,
            )
        if self._is_revoked(known.kind, known.uuid):
            raise Refusal(HTTPStatus.FORBIDDEN, f"that {known.kind} was deleted or disabled")
        identity = known
        if self._identities is not None:
            identity = await self._resolve(self._identities, known)
        if self._prepared is None:
            await self._follow(client, identity)
            return identity
        await self._guarded("access policy", self._prepared.prepare, identity)
        try:
            await self._follow(client, identity)
        except BaseException:
            self._prepared.forget(identity)
            raise
        return identity

    async def _follow(self, client: Client, identity: Identity) -> None:
        who = (identity.kind, identity.uuid)
        followings = self._followings(identity)
        try:
            await self._fanout.follow(client, who, followings)
            await self._turn()
        except BaseException as error:
            self._fanout.unfollow(client)
            if isinstance(error, BusError):
                raise Refusal.for_now(str(error)) from None
            raise

    @staticmethod
    async def _resolved(resolver: IIdentityResolver, known: Identity) -> Identity | None:
        return checked(await maybeDeferred(resolver.resolve, known.kind, known.uuid))

    async def _guarded(self, what: str, ask: Callable[..., Any], *arguments: object) -> Any:
        """Ask what a user has given; the client shall come again when that fails."""
        try:
            asking = maybeDeferred(ask, *arguments)
            return await asking.addTimeout(RESOLVE_TIMEOUT, self._link.clock)
        except DeferredTimeout:
            raise Refusal.for_now(f"the {what} did not answer") from None
        except CancelledError:  # the client has gone
            raise
        except Exception as error:  # noqa: BLE001 (it is anybody's)
            if not isinstance(error, BusError):
                self._log.failure("the {what} failed", what=what)
            raise Refusal.for_now(f"the {what} failed: {error}") from None

    async def _resolve(self, resolver: IIdentityResolver, known: Identity) -> Identity:
        identity: Identity | None = await self._guarded(
            "identity resolver", self._resolved, resolver, known
        )
        if identity is None:
            raise Refusal(HTTPStatus.FORBIDDEN, f"the identity resolver refuses that {known.kind}")
        return evolve(
            identity,
            kind=known.kind,
            uuid=known.uuid,
            name=identity.name or known.name,
            topics=(*known.topics, *identity.topics),
        )


def _failed_too_often() -> Refusal:
    return Refusal(
        HTTPStatus.TOO_MANY_REQUESTS,
        "too many failed logins",
        limit="failed_logins_per_minute",
        retry_after=60,
    )
