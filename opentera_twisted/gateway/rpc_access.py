"""An access policy that calls a service to learn whose events each client may see."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any, Final

from google.protobuf.message import Message
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from opentera_twisted import topics
from opentera_twisted.bus import Bus
from opentera_twisted.errors import BadReply, BusError, InvalidArgument, InvalidTopic
from opentera_twisted.gateway.access_policy import DefaultPolicy, concerned
from opentera_twisted.gateway.contracts import EVERYONE, Audience
from opentera_twisted.gateway.fanout import Who
from opentera_twisted.messages import DeviceEvent, ParticipantEvent, StopSessionEvent, UserEvent
from opentera_twisted.pubsub import Subscription
from opentera_twisted.sessions import Identity
from opentera_twisted.topics import KINDS

MOST_SEEN: Final = 100_000
"""Maximum number of UUIDs in an answer."""

MOST_KEPT: Final = 10_000
"""Maximum number of answers kept for clients that left."""

MOST_CALLS: Final = 10
"""Concurrent calls during a renewal."""

SETTLING: Final = 1.0
"""Seconds from a database change to the renewal; longer after a long renewal."""

MOST_PAUSE: Final = 30.0
"""Longest interval in seconds between retries for clients without an answer."""

MOST_AGE: Final = 300.0
"""Seconds until answers are renewed without an announced change."""

_CHANGING: Final = (
    *("user", "participant", "device", "project", "site", "user_group", "user_user_group"),
    *("participant_group", "device_participant", "device_project", "device_site"),
    *("service_role", "service_access"),
)
"""Models of OpenTera whose changes may change who sees whom."""


class RpcAccess(DefaultPolicy):
    """Calls ``may_see(kind, uuid)`` of a service when a client logs in.

    The procedure returns an object with lists of UUIDs under ``user``, ``participant`` and
    ``device``. A client sees their user, participant and device events, in addition to those of
    `DefaultPolicy`. ``null`` adds nothing. As at existing gateways, every client sees a
    ``StopSessionEvent``.

    Answers are kept while their client is connected, and for the last clients that left. A
    ``DatabaseEvent`` of a user, a project and the like renews those of connected clients and
    forgets the others. A client whose answer cannot be renewed sees only what is about itself, and
    its answer alone is retried.

    Args:
        bus: carries the calls.
        server: ``service.<key>`` or ``module.<name>``.
        broadcasts: as for `DefaultPolicy`.
        timeout: seconds to wait for a reply.

    Raises:
        InvalidArgument: the server's name or a broadcast is malformed.

    Example:
        >>> gateway = Gateway(bus, policy=RpcAccess(bus, "service.Access"))
    """

    _log = Logger()

    def __init__(
        self, bus: Bus, server: str, broadcasts: Iterable[str] = (), timeout: float = 5.0
    ) -> None:
        super().__init__(broadcasts)
        try:
            self._topic = topics.rpc_of(server)
        except InvalidTopic as error:
            raise InvalidArgument(str(error)) from None
        self._bus = bus
        self._server = server
        self._timeout = timeout
        self._clients: Counter[Who] = Counter()
        self._kept: OrderedDict[Who, None] = OrderedDict()
        self._answers: dict[Who, tuple[int, frozenset[Who]]] = {}
        # Clients of one project see the same: one set for all of them.
        self._seers: dict[frozenset[Who], set[Who]] = {}
        self._numbers = count()
        self._following: list[Subscription] = []
        self._renewal: IDelayedCall | None = None
        self._is_renewing = False
        self._has_changed = False
        self._all_due = 0.0  # by the clock of the link, as is `_took`
        self._took = 0.0
        self._failures = 0  # in a row

    def audience(self, topic: str, event: Message) -> Audience:
        """Add the clients that may see the user, participant or device of an event."""
        if isinstance(event, StopSessionEvent):
            return EVERYONE
        audience = super().audience(topic, event)
        if not isinstance(event, (UserEvent, ParticipantEvent, DeviceEvent)):
            return audience
        (subject,) = concerned(event)
        seers = [clients for seen, clients in self._seers.items() if subject in seen]
        return Audience(audience.kinds, audience.members.union(*seers))

    def prepare(self, identity: Identity) -> Deferred[None]:
        """Get the identities that a client may see; fail as `Bus.call` or with `BadReply`."""
        return Deferred.fromCoroutine(self._prepare(identity))

    async def _prepare(self, identity: Identity) -> None:
        who = (identity.kind, identity.uuid)
        self._clients[who] += 1
        self._kept.pop(who, None)
        try:
            await self._follow_changes()
            if who not in self._answers:
                await self._ask(who)
        except BaseException:
            self.forget(identity)
            raise

    def forget(self, identity: Identity) -> None:
        """Forget a client; drop all answers with the last one."""
        who = (identity.kind, identity.uuid)
        self._clients[who] -= 1
        if self._clients[who] > 0:
            return
        del self._clients[who]
        if who in self._answers:
            self._kept[who] = None
        if not self._clients:
            self._stop_following()
        while len(self._kept) > (MOST_KEPT if self._clients else 0):
            self._drop(self._kept.popitem(last=False)[0])

    async def _ask(self, who: Who) -> None:
        number = next(self._numbers)
        answer = await self._bus.caller.call(self._topic, "may_see", who, self._timeout)
        seen = self._checked(answer)
        known = self._answers.get(who)
        # A later call may have returned first, and the client may have left.
        if who in self._clients and (known is None or known[0] < number):
            self._drop(who)
            self._answers[who] = (number, seen)
            self._seers.setdefault(seen, set()).add(who)

    def _checked(self, answer: Any) -> frozenset[Who]:
        if answer is None:
            return frozenset()
        if not isinstance(answer, Mapping):
            raise BadReply(f"may_see of {self._server} returned neither an object nor null")
        seen: list[Who] = []
        for kind in KINDS:
            uuids = answer.get(kind) or []
            if not isinstance(uuids, list) or not all(isinstance(uuid, str) for uuid in uuids):
                raise BadReply(f"may_see of {self._server}: {kind} is not a list of text")
            seen += [(kind, uuid) for uuid in uuids]
        if len(seen) > MOST_SEEN:
            raise BadReply(
                f"may_see of {self._server} returned {len(seen)} UUIDs; at most {MOST_SEEN} are "
                "allowed"
            )
        return frozenset(seen)

    def _drop(self, who: Who) -> None:
        _, seen = self._answers.pop(who, (0, None))
        if seen is None:
            return
        self._seers[seen].discard(who)
        if not self._seers[seen]:
            del self._seers[seen]

    # --- changes

    async def _follow_changes(self) -> None:
        if not self._following:
            self._following = [
                self._bus.pubsub.attach(
                    topics.module_events(topics.DATABASE_MODULE, name), lambda _: self._changed()
                )
                for name in _CHANGING
            ]
            self._bus.link.on_resumed.append(self._changed)
            self._all_due = self._bus.link.clock.seconds() + MOST_AGE
            self._renew_in(MOST_AGE)
        await self._bus.pubsub.acknowledged(*self._following)

    def _stop_following(self) -> None:
        following, self._following = self._following, []
        if not following:
            return
        for subscription in following:
            subscription.cancel()
        self._bus.link.on_resumed.remove(self._changed)
        if self._renewal is not None and self._renewal.active():
            self._renewal.cancel()
        self._has_changed, self._took, self._failures = False, 0.0, 0

    def _changed(self, _topics: object = None) -> None:
        self._drop_kept()
        if self._has_changed:  # a renewal is due already; further changes must not defer it
            return
        self._has_changed = True
        if not self._is_renewing:
            self._renew_in(self._pause())

    def _drop_kept(self) -> None:
        while self._kept:
            self._drop(self._kept.popitem()[0])

    def _pause(self) -> float:
        """Seconds until the next renewal; at most half of the time goes into renewing."""
        if self._has_changed:
            return max(SETTLING, self._took)
        until_all = max(self._all_due - self._bus.link.clock.seconds(), 0.0)
        if not self._failures:
            return until_all
        return min(SETTLING * 2.0 ** min(self._failures - 1, 10), MOST_PAUSE, until_all)

    def _renew_in(self, seconds: float) -> None:
        if self._renewal is not None and self._renewal.active():
            self._renewal.cancel()
        self._renewal = self._bus.link.clock.callLater(seconds, self._renew)

    def _renew(self) -> None:
        now = self._bus.link.clock.seconds()
        is_for_all = self._has_changed or now >= self._all_due
        if is_for_all:
            self._drop_kept()
            self._all_due = now + MOST_AGE
        clients = [who for who in self._clients if is_for_all or who not in self._answers]
        self._is_renewing, self._has_changed = True, False
        Deferred.fromCoroutine(self._renew_for(clients)).addErrback(
            lambda failure: self._log.failure("answers of may_see were not renewed", failure)
        )

    async def _renew_for(self, clients: Sequence[Who]) -> None:
        began = self._bus.link.clock.seconds()
        failed = 0
        try:
            for first in range(0, len(clients), MOST_CALLS):
                asking = [self._renew_one(who) for who in clients[first : first + MOST_CALLS]]
                answered = [await answer for answer in asking]
                failed += answered.count(False)
                if not any(answered):
                    # The service may be down, and its earlier answers may be outdated.
                    for who in clients[first + MOST_CALLS :]:
                        self._drop(who)
        finally:
            self._is_renewing = False
            self._took = self._bus.link.clock.seconds() - began
            self._failures = self._failures + 1 if failed else 0
            if self._clients:
                self._renew_in(self._pause())
        if self._failures == 1:
            self._log.warn(
                "{server} did not answer may_see for {failed} clients: they see only what is "
                "about themselves until it does",
                server=self._server,
                failed=failed,
            )

    def _renew_one(self, who: Who) -> Deferred[bool]:
        async def ask() -> bool:
            try:
                await self._ask(who)
            except BusError:
                self._drop(who)
                return False
            return True

        return Deferred.fromCoroutine(ask())
