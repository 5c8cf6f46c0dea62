"""Joining: prepare the access policy for a client, and subscribe the client's topics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container
from typing import Any, Final

from twisted.internet.defer import CancelledError, maybeDeferred
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
"""Seconds allowed for the identity resolver or the access policy; then the client gets 503."""

_log = Logger()


class Joining:
    """Adds clients to the fan-out, and removes them."""

    def __init__(
        self,
        fanout: Fanout,
        followings: Callable[[Identity], tuple[Following, ...]],
        policy: IAccessPolicy,
        clock: IReactorTime,
        turn: Callable[[], Awaitable[None]],
        is_node_ready: Callable[[str], bool],
    ) -> None:
        self._fanout = fanout
        self._followings = followings
        self._prepared: Any = policy if isinstance(policy, IPreparedPolicy) else None
        self._clock = clock
        self._turn = turn
        self._is_node_ready = is_node_ready

    async def join(self, client: Client, identity: Identity) -> None:
        """Start to deliver a client's events; call `leave` when the client disconnects.

        Raises:
            Refusal: Joining failed; the client may retry.
        """
        if self._prepared is None:
            await self._follow(client, identity)
            return
        await guarded(self._clock, "access policy", self._prepared.prepare, identity)
        try:
            await self._turn()
            await self._follow(client, identity)
        except BaseException:
            self._forget(identity)
            raise

    def topics_of(self, client: Client) -> tuple[str, ...]:
        """Return the topics that a client follows."""
        return self._fanout.topics_of(client)

    def concerned(self, names: Container[bytes]) -> list[Client]:
        """Return the clients that follow any of some topics, each once."""
        return self._fanout.concerned(names)

    def pause(self, client: Client, topic: str) -> None:
        """Stop the deliveries on a topic to a client, but keep the subscription."""
        self._fanout.pause(client, topic)

    def resume(self, client: Client, topic: str) -> None:
        """End a pause, if there is one."""
        self._fanout.resume(client, topic)

    def leave(self, client: Client, identity: Identity) -> None:
        """Stop delivering events to a client."""
        self._fanout.unfollow(client)
        if self._prepared is not None:
            self._forget(identity)

    def _forget(self, identity: Identity) -> None:
        try:
            self._prepared.forget(identity)
        except Exception:  # noqa: BLE001 (the client must be reported all the same)
            _log.failure("the access policy failed to forget a {kind}", kind=identity.kind)

    async def _follow(self, client: Client, identity: Identity) -> None:
        who = (identity.kind, identity.uuid)
        followings = self._followings(identity)
        if not all(self._is_node_ready(following.topic) for following in followings):
            raise Refusal.for_now("no link to the Redis of the client's topics")
        try:
            await self._fanout.follow(client, who, followings)
            await self._turn()
        except BaseException as error:
            self._fanout.unfollow(client)
            if isinstance(error, BusError):
                raise Refusal.for_error(error) from None
            raise


async def guarded(
    clock: IReactorTime, name: str, function: Callable[..., Any], *arguments: object
) -> Any:
    """Call a function of the embedding program, with a timeout.

    Raises:
        Refusal: The function failed or timed out; the client may retry.
    """
    try:
        result = maybeDeferred(function, *arguments)
        return await result.addTimeout(RESOLVE_TIMEOUT, clock)
    except DeferredTimeout:
        raise Refusal.for_now(f"the {name} did not answer") from None
    except CancelledError:  # the client disconnected
        raise
    except Exception as error:  # noqa: BLE001 (the program may raise anything)
        if not isinstance(error, BusError):
            _log.failure("the {name} failed", name=name)
        counted = f"the {name} failed"
        raise Refusal.for_now(f"{counted}: {error}", counted=counted) from None
