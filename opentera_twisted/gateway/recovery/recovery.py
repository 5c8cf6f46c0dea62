"""Recovery at one gateway: its sessions, their tokens and their hand-over."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Container, Sequence
from http import HTTPStatus
from itertools import takewhile
from math import inf
from typing import Final, NoReturn

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from opentera_twisted._internal.gathered import keep_until_fired
from opentera_twisted.errors import BusError
from opentera_twisted.gateway.fanout import Who, who_is
from opentera_twisted.gateway.frames import Frame
from opentera_twisted.gateway.joining import Joining
from opentera_twisted.gateway.login import Refusal
from opentera_twisted.gateway.outbox import Outbox
from opentera_twisted.gateway.recovery.handover import Handovers, KeptSessions
from opentera_twisted.gateway.recovery.marker import REASONS, NotRecovered
from opentera_twisted.gateway.recovery.peers import LIFETIME, Peers
from opentera_twisted.gateway.recovery.session import Beginning, Prior, Session, Websocket
from opentera_twisted.gateway.recovery.tokens import (
    InUse,
    Taken,
    Tokens,
)
from opentera_twisted.gateway.recovery.window import Window
from opentera_twisted.link import Link
from opentera_twisted.pubsub import PubSub
from opentera_twisted.sessions import Identity
from opentera_twisted.topics import Kind, disconnect_commands

EXTENDED: Final = 10.0
"""Maximum seconds between extensions of a connected client's token."""

LOOKED: Final = 1.0
"""Seconds between checks for expired sessions and tokens to extend."""

ANNOUNCED: Final = LIFETIME / 3
"""Seconds between announcements of this gateway to the others."""

AT_ONCE: Final = 250
"""Maximum tokens that one command extends or deletes."""

RECOVERY_WINDOW: Final = 60.0
RECOVERY_BUFFER: Final = 262_144
"""Defaults: seconds during which a client can return, and bytes of events kept per client."""

_Topics = Container[bytes]  # the class has a property `bytes`

OUTCOMES: Final = ("recovered", *REASONS)


@frozen(kw_only=True)
class RecoverySettings:
    """Limits of recovery.

    Attributes:
        window: Seconds after a disconnect during which a client can return; 0 disables recovery.
        buffer: Bytes of event frames kept per client.
        max_held: Maximum sessions of clients that are away; beyond it, the gateway ends the
            oldest. 0 for no limit.
        max_held_per_identity: Maximum such sessions per identity; 0 for no limit.
    """

    window: float
    buffer: int
    max_held: int = 0
    max_held_per_identity: int = 0


class Recovery:
    """Sessions of one gateway, kept while clients are away and handed over to other gateways.

    Args:
        link: The link for tokens and frames.
        pubsub: The pub/sub for markers.
        outbox: The gateway's outbox, flushed at a marker.
        settings: Limits of recovery.
        joining: Subscribes sessions to their events.
        turn: Waits for a slot in the intake, so that many returns do not block the reactor.

    Attributes:
        outcomes: Number of returns by outcome, one of `OUTCOMES`.
        replayed: Number of event frames sent again.
    """

    _log = Logger()

    def __init__(
        self,
        link: Link,
        pubsub: PubSub,
        outbox: Outbox,
        settings: RecoverySettings,
        joining: Joining,
        turn: Callable[[], Awaitable[None]],
    ) -> None:
        self.outcomes: Counter[str] = Counter()
        self.replayed = 0
        self._link = link
        self._clock = link.clock
        self._outbox = outbox
        self._settings = settings
        self._joining = joining
        self._turn = turn
        self._handovers = Handovers(
            link, pubsub, self._give, KeptSessions(self._topics_of, self._pause, self._abandon)
        )
        self._interval = min(EXTENDED, settings.window / 2)
        self._tokens = Tokens(link, self._handovers.marker, settings.window + 2 * self._interval)
        self._peers = Peers(link, self._handovers.marker)
        self._announced = 0.0
        self._sessions: dict[str, Session] = {}
        self._priors: dict[str, Session] = {}  # by the digest of the previous token
        self._used: list[str] = []  # claimed tokens, to delete with the next check
        self._leaving: list[str] = []  # tokens of clients that left in this reactor iteration
        # Ordered by time: the next extension of a token, and the end of a client's absence.
        self._attached: dict[Session, float] = {}
        # An OrderedDict, because a dict finds its first item slowly after many deletions there.
        self._held: OrderedDict[Session, float] = OrderedDict()
        self._held_of: dict[Who, dict[Session, None]] = {}
        self._is_permitted = True
        self._looking = LoopingCall(self._look)
        self._looking.clock = link.clock
        self._drained: Deferred[None] | None = None
        self._returns: set[Deferred[Session]] = set()  # those under way

    @property
    def is_on(self) -> bool:
        """True while clients can request recovery."""
        return self._settings.window > 0 and self._is_permitted and self._looking.running

    @property
    def held(self) -> int:
        """Number of clients that are away and can return."""
        return len(self._held)

    @property
    def attached(self) -> int:
        """Number of clients that are connected and can return."""
        return len(self._attached)

    @property
    def bytes(self) -> int:
        """Bytes of all windows; a frame counts once for each client that shares it."""
        return sum([session.window.bytes for session in self._sessions.values()])

    def start(self) -> None:
        """Start recovery, and accept requests of other gateways."""
        if not self._settings.window or self._looking.running:
            return
        self._link.on_interrupted.append(self._interrupted)
        self._link.on_resumed.append(self._resumed)
        self._link.on_ready.append(self._announce)
        self._handovers.start().addErrback(self._refused)
        self._drained = None
        self._announced = 0.0
        if self._link.is_ready:
            self._announce()
        self._looking.start(LOOKED, now=False)

    def stop(self) -> None:
        """End all sessions; clients can still return to another gateway, without their frames."""
        if not self._looking.running:
            return
        self._looking.stop()
        self._link.on_interrupted.remove(self._interrupted)
        self._link.on_resumed.remove(self._resumed)
        self._link.on_ready.remove(self._announce)
        for returning in list(self._returns):
            returning.cancel()
        for session in list(self._sessions.values()):
            self._end(session)
        self._drop_used()
        self._handovers.stop()

    def _refused(self, failure: Failure) -> None:
        failure.trap(BusError, CancelledError)
        if failure.check(BusError):
            self._is_permitted = False
            self._log.warn(
                "clients cannot recover missed events: {reason}", reason=failure.getErrorMessage()
            )

    # --- logins

    def session(self, identity: Identity) -> Session:
        """Make a session for a new client; the caller subscribes it to the client's topics."""
        window = Window(self._settings.window, self._settings.buffer)
        return Session(identity, window, self.end)

    async def register(self, session: Session) -> None:
        """Issue a token for a new client's session.

        Raises:
            BusError: Storing the token in Redis failed.
        """
        token, digest = self._tokens.make()
        await self._tokens.store(digest, session.identity)
        self._name(session, digest)
        session.beginning = Beginning(token)

    def opened(self, session: Session, websocket: Websocket) -> None:
        """Attach an open websocket to its session, and close the session's previous websocket."""
        before = session.websocket
        self._unhold(session)
        self._attached.pop(session, None)  # they are in the order of their times
        self._attached[session] = self._clock.seconds() + self._interval
        # A session that opens during a gap may miss events from the start.
        session.has_gap = self._is_in_gap(session)
        recovered = session.beginning is not None and session.beginning.recovered
        count = session.attach(websocket, self._settings.window)
        if session.has_gap:
            self._mute(session)
        if recovered:
            self.replayed += count
        if before is not None:
            before.resumed_elsewhere()
        if session.closing is not None:
            session.close(*session.closing)

    def left(self, session: Session, websocket: Websocket, *, for_good: bool) -> None:
        """Keep the session of a closed websocket, unless its client left for good."""
        if not session.digest:
            return
        if session.beginning is not None and session.prior is not None:
            self._keep(session)
        elif for_good and session.websocket in {websocket, None}:
            self.end(session)
        elif session.websocket is websocket:
            session.detach()
            self._hold(session)
            self._move(session, is_free=True)
        elif session.websocket is None and session not in self._held:
            # The websocket never opened, so its client has no token.
            self.end(session)

    def has_token(self, session: Session, websocket: Websocket) -> None:
        """Invalidate the previous token of a client that has received the present one."""
        if session.websocket is websocket and session.prior is not None:
            self._used.append(self._forget_prior(session, session.prior))

    # --- a client that returns

    def key_of(self, token: str) -> str:
        """Return the name of a token's key in Redis."""
        return self._tokens.key_of(token)

    def take(self, kind: Kind, token: str) -> Deferred[Taken | None]:
        """Claim a token: see `Tokens.take`.

        Fails with:
            Refusal: Another return has claimed the token.
        """
        return self._tokens.take(kind, token).addErrback(_in_use)

    def put_back(self, taken: Taken) -> Deferred[None]:
        """Make a token valid again; wait for it before you refuse the client for now.

        Returns:
            Fires when Redis has the token, or has refused it.
        """
        return self._tokens.put_back(taken).addErrback(self._not_told)

    def discard(self, taken: Taken) -> None:
        """Invalidate a token and its successor, and end the session kept here."""
        self._drop(taken.digest, taken.following_digest)
        session = self._find(taken.digest)
        if session is not None:
            self._end(session)

    def keeps(self, taken: Taken) -> bool:
        """Return True if the session of a token is kept here."""
        return self._find(taken.digest) is not None

    def has_open(self, taken: Taken) -> bool:
        """Return True if a websocket of the session is still open here."""
        session = self._find(taken.digest)
        return session is not None and session.websocket is not None

    async def resume(self, taken: Taken, received: int) -> Session:
        """Continue the session of a client that has returned.

        If the client disconnects during a hand-over, the gateway keeps the frames, and the client
        can return with the same token.

        Args:
            taken: The client's token.
            received: Event frames that the client has counted.

        Returns:
            The session; call `opened` in the same reactor iteration.

        Raises:
            Refusal: Subscribing the client's topics failed; its token is valid again.
        """
        session = self._find(taken.digest)
        if session is not None:
            return self._continue(session, taken, received)
        waiting: Deferred[Session] = Deferred()

        def resumed(session: Session) -> None:
            if not waiting.called:
                waiting.callback(session)
            else:
                self._keep(session)

        def failed(failure: Failure) -> None:
            if not waiting.called:
                waiting.errback(failure)
            elif not failure.check(Refusal, CancelledError):
                self._log.failure("a return failed", failure)

        returning = Deferred.fromCoroutine(self._fetch_session(taken, received))
        keep_until_fired(returning, self._returns).addCallbacks(resumed, failed)
        return await waiting

    def _continue(self, session: Session, taken: Taken, received: int) -> Session:
        """Continue a session that is kept here."""
        missed: Sequence[Frame] | None = None
        try:
            missed = self._missed(session, taken.digest, received)
        except NotRecovered as error:
            self._lost(session, error)
        return self._begin(session, taken, received, missed)

    async def _fetch_session(self, taken: Taken, received: int) -> Session:
        """Continue a session that another gateway keeps or has lost."""
        session = self.session(taken.identity)
        missed: Sequence[Frame] | None = None
        try:
            missed = await self._fetch(session, taken, received)
        except NotRecovered as error:
            self._lost(session, error)
        except BaseException:
            if self._joining.topics_of(session):
                self._joining.leave(session, session.identity)
            await self.put_back(taken)
            raise
        self._begin(session, taken, received, missed)
        self._move(session)
        return session

    def _lost(self, session: Session, error: NotRecovered) -> None:
        self.outcomes[error.reason] += 1
        session.window.restart(())

    def _begin(
        self, session: Session, taken: Taken, received: int, missed: Sequence[Frame] | None
    ) -> Session:
        """Prepare a session's first frames; ``missed`` is None if any is lost."""
        if missed is not None:
            self.outcomes["recovered"] += 1
        if session.prior is not None and session.prior.digest != taken.digest:
            self._confirm(session)
        self._name(session, taken.following_digest)
        session.prior = Prior(taken.digest, None if missed is None else received)
        self._priors[taken.digest] = session
        session.beginning = Beginning(taken.following, missed is not None, missed)
        return session

    def _confirm(self, session: Session) -> None:
        """Invalidate a session's previous token, because its client has the present one."""
        if session.prior is not None:
            self._drop(self._forget_prior(session, session.prior))

    def _forget_prior(self, session: Session, prior: Prior) -> str:
        """Forget a session's previous token; return its digest, which Redis still has."""
        session.prior = None
        self._priors.pop(prior.digest, None)
        return prior.digest

    def _move(self, session: Session, *, is_free: bool = False) -> None:
        """Point the previous token to this gateway, which has the frames."""
        if session.prior is not None:
            moved = self._tokens.move(session.prior.digest, session.digest, is_free=is_free)
            moved.addErrback(self._not_told)

    async def _fetch(self, session: Session, taken: Taken, received: int) -> Sequence[Frame]:
        """Subscribe a client's topics, and fetch its missed frames from its old gateway.

        Raises:
            NotRecovered: The frames are not available; the topics are still subscribed.
            Refusal: Subscribing the topics failed, or a node of the hand-over is lost.
        """
        is_own = taken.marker == self._handovers.marker
        is_on_cluster = self._link.address.is_cluster
        if is_on_cluster and not is_own and not self._handovers.is_ready_for(taken):
            raise Refusal.for_now("no link to the Redis of the hand-over")
        joined = Deferred.fromCoroutine(self._joining.join(session, session.identity))
        if is_own or not taken.is_followed:
            await joined
            raise NotRecovered("unknown" if taken.is_followed else "gone")
        if is_on_cluster:
            await joined
            missed = await self._fetch_by_topic(session, taken, received)
            return await self._joined(session, missed)

        def marked() -> None:
            # Earlier events belong to the old gateway.
            self._outbox.flush()
            session.window.restart(())
            session.has_gap = self._is_in_gap(session)

        missed = await self._handovers.fetch(taken, received, joined, marked)
        return await self._joined(session, missed)

    async def _fetch_by_topic(
        self, session: Session, taken: Taken, received: int
    ) -> Sequence[Frame]:
        """Fetch a client's missed frames, on a cluster, whose nodes order messages by topic."""
        followed = self._event_topics(session)
        for topic in followed:
            self._joining.pause(session, topic)
        self._outbox.flush()
        session.window.restart(())
        session.has_gap = self._is_in_gap(session)

        def marked(topic: str) -> None:
            self._joining.resume(session, topic)

        try:
            return await self._handovers.fetch_by_topic(taken, received, followed, marked)
        finally:
            for topic in followed:
                self._joining.resume(session, topic)

    async def _joined(self, session: Session, missed: Sequence[Frame]) -> Sequence[Frame]:
        """Append the frames of this gateway to those of the old one."""
        await self._turn()
        own = session.window.since(0)
        if session.has_gap:
            raise NotRecovered("gap")
        if own is None:  # more events since the marker than the window keeps
            raise NotRecovered("overflow")
        return [*missed, *own]

    def _keep(self, session: Session) -> None:
        """Keep a session whose client disconnected before its websocket opened.

        The client will return with the same token and the same count.
        """
        beginning, session.beginning = session.beginning, None
        if beginning is not None and beginning.missed is not None:
            session.window.restart(beginning.missed)
        self._move(session, is_free=True)
        if not self._looking.running:  # the gateway has stopped
            self._end(session)
        elif session.websocket is None:
            self._unhold(session)
            self._hold(session)

    def _missed(self, session: Session, digest: str, received: int) -> Sequence[Frame]:
        """Find the frames that a client has missed since its count with a token.

        Raises:
            NotRecovered: Some of the frames are lost.
        """
        prior = session.prior
        if prior is not None and prior.digest == digest:
            if prior.received is None:
                raise NotRecovered("unknown")
            received -= prior.received
        if session.has_gap:
            raise NotRecovered("gap")
        if received > session.window.sent:
            raise NotRecovered("beyond")
        missed = session.window.since(received)
        if missed is None:
            raise NotRecovered("overflow")
        return missed

    def _give(self, digest: str, received: int) -> Sequence[Frame]:
        """End a session for its client's new gateway, and return the missed frames."""
        session = self._find(digest)
        if session is None:
            raise NotRecovered("unknown")
        self._outbox.flush()
        websocket = session.websocket
        try:
            return self._missed(session, digest, received)
        finally:
            if session.prior is not None and session.prior.digest != digest:
                self._confirm(session)
            self._end(session)
            if websocket is not None:
                websocket.resumed_elsewhere()

    def _event_topics(self, session: Session) -> list[str]:
        """Return a session's topics of events; disconnect commands are never paused."""
        commands = disconnect_commands(session.identity.uuid)
        return [topic for topic in self._joining.topics_of(session) if topic not in commands]

    def _topics_of(self, digest: str) -> Sequence[str]:
        session = self._find(digest)
        if session is None:
            raise NotRecovered("unknown")
        return self._event_topics(session)

    def _pause(self, digest: str, topic: str) -> None:
        session = self._find(digest)
        if session is not None:
            self._joining.pause(session, topic)

    def _abandon(self, digest: str) -> None:
        """Keep a session whose hand-over failed; its client must load its state again."""
        session = self._find(digest)
        if session is None:
            return
        session.has_gap = True
        for topic in self._joining.topics_of(session):
            self._joining.resume(session, topic)
        if session.websocket is not None:
            session.websocket.missed_events()

    # --- ends

    def end(self, session: Session) -> None:
        """End a session; its client must log in again."""
        digest = session.digest
        self._confirm(session)
        self._end(session)
        if digest:
            self._drop(digest)

    def _end(self, session: Session) -> None:
        """End a session; its token in Redis stays."""
        if not session.digest:
            return
        self._sessions.pop(session.digest, None)
        session.digest = ""
        if session.prior is not None:
            self._priors.pop(session.prior.digest, None)
            session.prior = None
        self._attached.pop(session, None)
        self._unhold(session)
        session.detach()
        self._joining.leave(session, session.identity)
        self._look_if_drained()

    async def hand_over(self, timeout: float) -> None:
        """Wait until other gateways have taken over the sessions; called before the stop.

        Args:
            timeout: Seconds until the remaining sessions are abandoned; 0 waits as long as there
                are other gateways.
        """
        until = self._clock.seconds() + timeout if timeout else None
        if self._sessions or self._link.is_ready:
            await self._drain(until)
        left = inf if until is None else max(0.001, until - self._clock.seconds())
        await self._handovers.given(left)

    async def _drain(self, until: float | None) -> None:
        """Wait until this gateway has no session, or there is no other gateway."""
        try:
            # The first question withdraws this gateway, even if it has no sessions.
            while self._looking.running:
                others = self._peers.others()
                if until is not None:
                    others.addTimeout(max(0.001, until - self._clock.seconds()), self._clock)
                if not await others or not self._sessions:
                    break
                left = LOOKED if until is None else min(LOOKED, until - self._clock.seconds())
                if left <= 0:
                    break
                drained: Deferred[None] = Deferred()
                self._drained = drained
                drained.addTimeout(left, self._clock)
                drained.addErrback(lambda failure: failure.trap(DeferredTimeout) and None)
                await drained
        except (BusError, DeferredTimeout):
            pass  # no hand-over is possible without Redis
        if self._sessions:
            self._log.info(
                "{count} clients did not return to another gateway", count=len(self._sessions)
            )

    def _look_if_drained(self) -> None:
        if not self._sessions and self._drained is not None and not self._drained.called:
            self._drained.callback(None)

    # --- bookkeeping

    def _find(self, digest: str) -> Session | None:
        return self._sessions.get(digest) or self._priors.get(digest)

    def _name(self, session: Session, digest: str) -> None:
        self._sessions.pop(session.digest, None)
        session.digest = digest
        self._sessions[digest] = session

    def _hold(self, session: Session) -> None:
        """Keep the session of a client that is away."""
        settings = self._settings
        self._attached.pop(session, None)
        self._held[session] = self._clock.seconds() + settings.window
        who = who_is(session.identity.kind, session.identity.uuid)
        same = self._held_of.setdefault(who, {})
        same[session] = None
        if not self._leaving:
            self._clock.callLater(0, self._extend_leaving)
        self._leaving.append(session.digest)
        if 0 < settings.max_held_per_identity < len(same):
            self._end(next(iter(same)))
        if 0 < settings.max_held < len(self._held):
            self._end(next(iter(self._held)))

    def _unhold(self, session: Session) -> None:
        if self._held.pop(session, None) is None:
            return
        who = who_is(session.identity.kind, session.identity.uuid)
        same = self._held_of[who]
        del same[session]
        if not same:
            del self._held_of[who]

    def _look(self) -> None:
        """End expired sessions, and extend tokens that are due."""
        now = self._clock.seconds()
        if now >= self._announced + ANNOUNCED:
            self._announce()
        while self._held and self._held[session := next(iter(self._held))] <= now:
            self._end(session)
        self._drop_used()
        due = list(takewhile(lambda session: self._attached[session] <= now, self._attached))
        for session in due:
            del self._attached[session]
            self._attached[session] = now + self._interval
            session.window.trim(now)
        digests = [session.digest for session in due]
        self._extend(digests, self._settings.window + 2 * self._interval)

    def _extend_leaving(self) -> None:
        """Let the tokens of clients that are away expire with their sessions."""
        leaving, self._leaving = self._leaving, []
        self._extend(leaving, self._settings.window)

    def _extend(self, digests: Sequence[str], lifetime: float) -> None:
        for first in range(0, len(digests), AT_ONCE):
            batch = digests[first : first + AT_ONCE]
            self._tokens.extend(batch, lifetime).addErrback(self._not_told)

    def _drop_used(self) -> None:
        """Delete the tokens whose clients have the next one; until now, a claim keeps them."""
        used, self._used = self._used, []
        for first in range(0, len(used), AT_ONCE):
            self._drop(*used[first : first + AT_ONCE])

    def _announce(self) -> None:
        """Announce this gateway to the others, unless it is stopping."""
        if self._drained is None:
            self._announced = self._clock.seconds()
            self._peers.announce().addErrback(self._not_told)

    def _interrupted(self, concerned: _Topics) -> None:
        """Note which sessions may miss events; `_resumed` closes their websockets."""
        self._outbox.flush()  # the events before the gap
        for session in self._concerned(concerned):
            session.has_gap = True
            self._mute(session)

    def _is_in_gap(self, session: Session) -> bool:
        return any(map(self._link.is_in_gap, self._joining.topics_of(session)))

    def _concerned(self, topics: _Topics) -> list[Session]:
        return [client for client in self._joining.concerned(topics) if isinstance(client, Session)]

    def _mute(self, session: Session) -> None:
        """Send no events after a gap, except on a cluster, where other topics have none."""
        if not self._link.address.is_cluster:
            session.mute()

    def _resumed(self, concerned: _Topics) -> None:
        """Close the websockets that may have missed events, so that their clients return."""
        for session in self._concerned(concerned):
            if session.has_gap and session.websocket is not None:
                session.websocket.missed_events()

    def _drop(self, *digests: str) -> None:
        self._tokens.drop(*digests).addErrback(self._not_told)

    def _not_told(self, failure: Failure) -> None:
        """Leave a token to its expiry after Redis refused a change."""
        failure.trap(BusError)
        self._log.debug(
            "changing a recovery token failed: {reason}", reason=failure.getErrorMessage()
        )


def _in_use(failure: Failure) -> NoReturn:
    failure.trap(InUse)
    raise Refusal(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "the recovery token is in use",
        retry_after=1,  # the other return ends soon
    )
