"""Joining: a client's access policy is prepared, and its topics are subscribed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from opentera_twisted.errors import BusError
from opentera_twisted.gateway.contracts import IAccessPolicy, IPreparedPolicy
from opentera_twisted.gateway.fanout import Fanout, Following
from opentera_twisted.gateway.login import Refusal
from opentera_twisted.gateway.outbox import Client
from opentera_twisted.sessions import Identity

RESOLVE_TIMEOUT: Final = 5.0
"""Seconds that the identity resolver or the access policy may take; then the client is told to
come again."""

_log = Logger()


class Joining:
    """Adds clients to the fan-out, and takes them away.

    Args:
        fanout: subscribes what clients follow.
        followings: what somebody follows.
        policy: the access policy, to prepare it for clients.
        clock: for its timeout.
        turn: waits until there is time for a step of a login, as many can be decided at once.
    """

    def __init__(
        self,
        fanout: Fanout,
        followings: Callable[[Identity], tuple[Following, ...]],
        policy: IAccessPolicy,
        clock: IReactorTime,
        turn: Callable[[], Deferred[None]],
    ) -> None:
        self._fanout = fanout
        self._followings = followings
        self._prepared: Any = policy if isinstance(policy, IPreparedPolicy) else None
        self._clock = clock
        self._turn = turn

    async def join(self, client: Client, identity: Identity) -> None:
        """Have a client receive its events from now on; call `leave` when it is gone.

        Raises:
            Refusal: it does not, and may come again.
        """
        if self._prepared is None:
            await self._follow(client, identity)
            return
        await guarded(self._clock, "access policy", self._prepared.prepare, identity)
        try:
            await self._follow(client, identity)
        except BaseException:
            self._prepared.forget(identity)
            raise

    def leave(self, client: Client, identity: Identity) -> None:
        """Have a client receive nothing any more."""
        self._fanout.unfollow(client)
        if self._prepared is not None:
            self._prepared.forget(identity)

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


async def guarded(
    clock: IReactorTime, what: str, ask: Callable[..., Any], *arguments: object
) -> Any:
    """Ask what a user has given; the client shall come again when that fails.

    Raises:
        Refusal: it failed, or did not answer in time.
    """
    try:
        asking = maybeDeferred(ask, *arguments)
        return await asking.addTimeout(RESOLVE_TIMEOUT, clock)
    except DeferredTimeout:
        raise Refusal.for_now(f"the {what} did not answer") from None
    except CancelledError:  # the client has gone
        raise
    except Exception as error:  # noqa: BLE001 (it is anybody's)
        if not isinstance(error, BusError):
            _log.failure("the {what} failed", what=what)
        raise Refusal.for_now(f"the {what} failed: {error}") from None
