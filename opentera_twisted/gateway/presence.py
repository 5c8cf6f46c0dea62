"""The gateway's side of presence: reports its clients to Redis, in order and under a lease.

A lost DISCONNECTED would lock a person out, so the gateway retries each report until Redis has it.
It corrects Redis when the two may differ: after a lost link, and after the lease has expired.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Container
from itertools import chain
from typing import Final, Literal

from attrs import define, evolve
from google.protobuf.message import Message
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from opentera_twisted._internal.printable import encodable
from opentera_twisted._internal.waiters import Waiters
from opentera_twisted.errors import BusError
from opentera_twisted.holders import REPORTS
from opentera_twisted.link import Link, Retry
from opentera_twisted.messages import DeviceEvent, ParticipantEvent, UserEvent
from opentera_twisted.messages.envelopes import module_message
from opentera_twisted.messages.templates import template
from opentera_twisted.presence_lease import LEASE, Lease, Renewal, Transition
from opentera_twisted.sessions import Identity

GRACE_CHECK: Final = 1.0
"""Seconds between checks for grace periods that end."""

GRACE_LATE: Final = 0.2
"""Seconds until Redis has received and dated the disconnection that began a grace period."""

TRANSITION_BATCH: Final = 50
"""Transitions that one run of the script applies."""

PAUSE: Final = 0.01
"""Seconds from one run of the script to the next, so that the changes of a burst share runs."""


@define
class _Here:
    """An identity with open websockets here."""

    identity: Identity
    websockets: int = 0


@define(eq=False)
class _Change:
    """A pending report: an identity connected or disconnected, or an earlier report was lost.

    Redis has no record of an identity that has ``departed``; its grace had ``left`` seconds.
    """

    who: str
    identity: Identity | None
    what: Literal["came", "went", "departed", "again"]
    left: float = 0.0


class LocalPresence:
    """Counts each identity's websockets here, and reports the first to open and the last to close.

    Args:
        link: link to Redis.
        lease: seconds after which other gateways report a dead gateway's clients.
        grace: seconds in which a client may return before it is reported as disconnected.
        on_conflict: called with an identity that must not be open here, because its UUID is open
            under another kind; it is not reported.
    """

    _log = Logger()

    def __init__(
        self,
        link: Link,
        lease: float = LEASE,
        on_conflict: Callable[[Identity], None] = lambda _: None,
        grace: float = 0.0,
    ) -> None:
        self._link = link
        self._on_conflict = on_conflict
        self._lease = Lease(link, lease, grace)
        self._here: dict[str, _Here] = {}
        self._changes: deque[_Change] = deque()
        self._corrections: deque[_Change] = deque()
        self._is_doubtful = True
        self._joins = True
        self._renewal_is_due = False
        self._reaps = False
        self._settles = False
        self._settled_until = b"0"
        self._listening_since: bytes | None = None
        self._conflicts: set[str] = set()
        self._spoiled: tuple[str, ...] = ()
        self._working: Deferred[None] | None = None
        self._waiting: Waiters[None] = Waiters()
        self._renewal = LoopingCall(self._renew)
        self._renewal.clock = link.clock
        self._grace: IDelayedCall | None = None
        self._grace_ends = 0.0
        # Identities in their grace and its end, in the order of the ends; Redis may lose them.
        self._departed: OrderedDict[str, tuple[Identity, float]] = OrderedDict()
        self._has_lost_graces = False  # Redis, since the last correction
        self._ran = -PAUSE  # time of the last run of the script
        self._retry = Retry(link.clock, self._log)

    @property
    def gateway(self) -> str:
        """Return the gateway's name in Redis."""
        return self._lease.gateway

    def start(self) -> None:
        """Acquire and renew the lease, and report the clients of gateways whose lease expired."""
        if not self._renewal.running:
            for observers in (self._link.on_lost, self._link.on_refused):
                observers.append(self._lost)
            self._renewal.start(self._lease.seconds / 3)

    def stop(self) -> Deferred[None]:
        """Release the lease; close all clients first.

        Returns:
            Fires when Redis has all reports.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self.reported()
        self.give_up()
        try:
            if self._link.is_node_ready(REPORTS):
                await self._lease.end()
        except BusError:
            pass  # the lease expires

    def opened(self, identity: Identity) -> None:
        """Count an opened websocket; report the identity's first."""
        who = _who(identity)
        here = self._here.get(who)
        if here is None or who in self._conflicts:  # ask Redis again for each further one
            self._conflicts.discard(who)
            here = self._here.setdefault(who, _Here(identity))
            self._departed.pop(who, None)
            self._changes.append(_Change(who, identity, "came"))
            self._work()
        here.websockets += 1

    def closed(self, identity: Identity) -> None:
        """Count a closed websocket; report the identity's last."""
        who = _who(identity)
        here = self._here[who]
        here.websockets -= 1
        if not here.websockets:
            del self._here[who]
            if who in self._conflicts:  # never reported
                self._conflicts.remove(who)
                return
            self._changes.append(_Change(who, here.identity, "went"))
            self._work()
            self._begin_grace(who, here.identity)

    def _begin_grace(self, who: str, identity: Identity) -> None:
        """Renew at the end of a grace period, not only at the next regular renewal."""
        if not self._lease.grace:
            return
        self._grace_ends = self._link.clock.seconds() + self._lease.grace
        self._departed.pop(who, None)  # they are in the order of their ends
        self._departed[who] = (identity, self._grace_ends)
        if self._grace is None:
            self._grace = self._link.clock.callLater(self._lease.grace, self._check_grace)

    def _check_grace(self) -> None:
        self._grace = None
        if not self._renewal.running:
            return
        self._renew()
        left = self._grace_ends + GRACE_LATE - self._link.clock.seconds()
        if left > 0:
            self._grace = self._link.clock.callLater(min(left, GRACE_CHECK), self._check_grace)

    def _end_graces(self, until: float) -> None:
        """Forget the identities whose departure Redis has reported by that time."""
        departed = self._departed
        while departed and departed[who := next(iter(departed))][1] <= until:
            del departed[who]

    def reported(self) -> Deferred[None]:
        """Return a Deferred that fires when Redis has all reports."""
        if not self._changes and not self._corrections:
            return succeed(None)
        return self._waiting.wait()

    def give_up(self) -> int:
        """Stop retrying, let the lease expire, and return the number of lost reports."""
        if self._renewal.running:
            self._renewal.stop()
            if self._grace is not None:
                self._grace.cancel()
                self._grace = None
            for observers in (self._link.on_lost, self._link.on_refused):
                observers.remove(self._lost)
        lost = len(self._changes)
        self._changes.clear()
        self._corrections.clear()
        self._is_doubtful = True  # for the next start
        working, self._working = self._working, None
        if working is not None:
            working.cancel()
        return lost

    def _lost(self, cause: Failure) -> None:
        if self._link.is_node_ready(REPORTS):
            return  # a cluster has lost another node
        self._is_doubtful = self._renewal_is_due = True
        self._work()

    def _renew(self) -> None:
        self._renewal_is_due = True
        self._work()

    def _work(self) -> None:
        if self._working is None:
            self._working = Deferred.fromCoroutine(self._work_off())
            self._working.addBoth(self._worked)

    def _worked(self, result: Failure | None) -> None:
        self._working = None
        if isinstance(result, Failure) and not result.check(CancelledError):
            self._log.failure("presence failed", result)

    async def _work_off(self) -> None:
        """Take one step after another until Redis has all reports."""
        while (
            self._changes
            or self._corrections
            or self._renewal_is_due
            or self._reaps
            or self._settles
        ):
            try:
                await self._wait_for_more()
                await self._step()
            except BusError as error:
                await self._retry.pause(f"{len(self._changes)} reports of presence wait", error)
            else:
                self._retry.succeeded()

    async def _wait_for_more(self) -> None:
        """Wait for more changes to report with the first one, shortly after other reports."""
        if self._corrections or self._renewal_is_due or self._reaps or self._settles:
            return
        left = self._ran + PAUSE - self._link.clock.seconds()
        if left > 0 and len(self._changes) < TRANSITION_BATCH:
            await deferLater(self._link.clock, left)

    async def _step(self) -> None:
        await self._link.node_ready(REPORTS)  # on a cluster, another node may be lost
        if self._is_doubtful:
            self._is_doubtful = False
            try:
                await self._correct()
            except BaseException:
                self._is_doubtful = True
                raise
        batch, is_everything = self._batch()
        # Until Redis replies, they count as not reported, although it may have published them.
        transitions = [_transition(change) for change in batch]
        self._renewal_is_due, was_due = False, self._renewal_is_due
        began = self._ran = self._link.clock.seconds()
        expected = len(self._here) - len(self._conflicts) if is_everything else -1
        try:
            renewal = await self._lease.renew(transitions, join=self._joins, expected=expected)
        except BaseException:
            self._renewal_is_due = True
            raise
        if renewal is None:  # the lease expired, or Redis lost its data
            self._log.warn("presence lease lost; reporting connected clients again")
            self._is_doubtful = self._renewal_is_due = True
            return
        self._joins = False
        self._forget(renewal.applied)
        if not self._has_lost_graces:
            self._end_graces(began - GRACE_LATE)
        came = {change.who for change in batch[: renewal.applied] if change.what == "came"}
        self._apply(renewal, came.difference(renewal.silent))
        self._reaps = (was_due or self._reaps) and await self._lease.reap()
        if renewal.owes and (was_due or self._settles):
            self._settled_until, settled = await self._lease.settle(self._settled_until)
            self._settles = settled > 0
        else:
            self._settles = False

    def _apply(self, renewal: Renewal, reported: Container[str]) -> None:
        """Apply the result of a renewal that reported the connections of some identities."""
        waiting = {change.who for change in self._changes} if renewal.conflicts else ()
        for who in renewal.conflicts:
            if who not in self._here:
                self._departed.pop(who, None)
            elif who not in waiting:  # else a later report decides
                self._conflicts.add(who)
                self._on_conflict(self._here[who].identity)
        if renewal.spoiled and renewal.spoiled != self._spoiled:
            self._log.error(
                "presence works in part: Redis holds another type than a hash under {keys}; delete "
                "what is there",
                keys=", ".join(renewal.spoiled),
            )
        self._spoiled = renewal.spoiled
        if not renewal.indexed:
            self._renewal_is_due = True
        if renewal.differs:
            self._log.warn(
                "Redis has lost part of presence (evicted or deleted); reporting clients again"
            )
            self._is_doubtful = self._renewal_is_due = self._has_lost_graces = True
        before, self._listening_since = self._listening_since, renewal.listening_since
        # Empty: no module listens yet, or Redis has lost the entry.
        if before is not None and renewal.listening_since not in {before, b""}:
            self._log.info("the user manager listens again; reporting connected clients again")
            self._corrections += [
                _Change(who, here.identity, "again")
                for who, here in self._here.items()
                if who not in reported
            ]

    async def _correct(self) -> None:
        """Report all clients again, and disconnect those that only Redis lists for this gateway."""
        held = await self._lease.held()
        # Reaping ends the lease, so look for the lease first.
        is_missing = bool(self._departed) and not await self._lease.exists()
        was_reaped = await self._lease.was_reaped()
        if is_missing and not was_reaped:
            self._has_lost_graces = True
        self._joins = True
        again = [
            change for change in self._corrections if change.what == "again" and change.who in held
        ]
        first = {change.who: change for change in reversed(self._changes)}
        self._corrections = deque(
            _Change(who, None, "went") for who in held if who not in self._here and who not in first
        )
        if not was_reaped:
            # Redis has lost data: report the identities that disconnected in the meantime.
            self._corrections += [
                self._departure(who, change.identity)
                for who, change in first.items()
                if change.what == "went" and who not in held and who not in self._here
            ]
        if self._has_lost_graces:
            self._corrections += [
                self._departure(who, identity)
                for who, (identity, _) in self._departed.items()
                if who not in held and who not in first
            ]
        self._corrections += [
            _Change(who, here.identity, "came")
            for who, here in self._here.items()
            if who not in self._conflicts
        ]
        self._corrections += again

    def _departure(self, who: str, identity: Identity | None) -> _Change:
        """Report an identity as disconnected at the end of its grace, unless Redis has it."""
        _, ends = self._departed.get(who, (None, 0.0))
        return _Change(who, identity, "departed", max(0.0, ends - self._link.clock.seconds()))

    def _batch(self) -> tuple[list[_Change], bool]:
        """Return the next changes, and True if they are all.

        Each identity occurs once, so that the batch can be repeated after an unknown outcome.
        """
        batch: dict[str, _Change] = {}
        for change in chain(self._corrections, self._changes):
            if change.who in batch or len(batch) == TRANSITION_BATCH:
                break
            batch[change.who] = change
        return list(batch.values()), len(batch) == len(self._corrections) + len(self._changes)

    def _forget(self, count: int) -> None:
        for _ in range(count):
            (self._corrections or self._changes).popleft()
        if not self._corrections:
            self._has_lost_graces = False
        if not self._changes and not self._corrections:
            # Not within this step: `give_up` cannot cancel a running coroutine.
            self._link.clock.callLater(0, self._fire_if_reported)

    def _fire_if_reported(self) -> None:
        if not self._changes and not self._corrections:
            self._waiting.fire(None)


def _transition(change: _Change) -> Transition:
    if change.what == "went" or change.identity is None:
        return Transition("leave", change.who)
    came, gone = _reports(_sendable(change.identity))
    if change.what == "departed":
        return Transition("departed", change.who, b"%d" % round(change.left * 1000), gone)
    what: Literal["enter", "again"] = "again" if change.what == "again" else "enter"
    return Transition(what, change.who, came, gone)


def _who(identity: Identity) -> str:
    return encodable(f"{identity.kind}.{identity.uuid}")


def _sendable(identity: Identity) -> Identity:
    """Replace characters that cannot be encoded; a resolver may return any text."""
    if f"{identity.uuid}{identity.name}{identity.project}{identity.site}".isascii():
        return identity
    return evolve(
        identity,
        uuid=encodable(identity.uuid),
        name=encodable(identity.name),
        project=encodable(identity.project),
        site=encodable(identity.site),
    )


def _reports(identity: Identity) -> tuple[bytes, bytes]:
    """Return the templates of the reports of a connection and of its end."""
    source = f"websocket.{identity.kind}.{identity.uuid}"
    message = module_message(source, REPORTS, [presence_event(identity, connected=True)])
    came = template(message)
    message.data[0].value = presence_event(identity, connected=False).SerializeToString()
    return came, template(message)


def presence_event(identity: Identity, *, connected: bool) -> Message:
    """Make the event that reports an identity as connected or disconnected.

    Source: docs/reference/wire.md.
    """
    if identity.kind == "user":
        return UserEvent(
            type=UserEvent.USER_CONNECTED if connected else UserEvent.USER_DISCONNECTED,
            user_uuid=identity.uuid,
            user_fullname=identity.name,
        )
    if identity.kind == "participant":
        return ParticipantEvent(
            type=ParticipantEvent.PARTICIPANT_CONNECTED
            if connected
            else ParticipantEvent.PARTICIPANT_DISCONNECTED,
            participant_uuid=identity.uuid,
            participant_name=identity.name,
            participant_project_name=identity.project,
            participant_site_name=identity.site,
        )
    return DeviceEvent(
        type=DeviceEvent.DEVICE_CONNECTED if connected else DeviceEvent.DEVICE_DISCONNECTED,
        device_uuid=identity.uuid,
        device_name=identity.name,
    )
