"""Feeds the registry with what is sent to the module, and answers the module's procedures."""

from __future__ import annotations

from collections import deque
from typing import Final

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from opentera_twisted import topics
from opentera_twisted._internal.malformed import Malformed
from opentera_twisted._internal.waiters import Waiters
from opentera_twisted.bus import Bus
from opentera_twisted.errors import AlreadyServed, BusError
from opentera_twisted.holders import REPORTS
from opentera_twisted.lease import LEASE
from opentera_twisted.link import Retry
from opentera_twisted.pubsub import Delivery, Subscription
from opentera_twisted.revocation import TOPICS, standings
from opentera_twisted.rpc import ProcedureServer
from opentera_twisted.user_manager.changes import Change, NotAMessage, changes
from opentera_twisted.user_manager.procedures import is_ours, procedures
from opentera_twisted.user_manager.registry import Registry, fingerprint

STOP_TIMEOUT: Final = 5.0
"""Seconds that stopping waits for the messages that have come."""

CHECK_TIMEOUTS: Final = (2.0, 5.0)
"""Seconds that whoever serves the module may take to say so; asked again before it is believed."""

CHANGE_BATCH: Final = 100
"""Messages, and changes, that one step in Redis applies, more or less."""

MAX_WAITING: Final = 20_000
"""Messages that may wait for Redis; the oldest are dropped beyond that."""

_MODULE: Final = f"module.{topics.USER_MANAGER_MODULE}"


@frozen
class _Message:
    """A message that is to be applied."""

    fingerprint: bytes
    changes: list[Change]


class UserManager(Service):
    """Runs the module: any number of programs on one Redis may, and share the registry.

    A service of Twisted: start it before the gateway lets clients in, stop it after the gateway
    and before the bus.

    Args:
        bus: started and stopped by its owner.

    Attributes:
        lost: messages that were dropped because too many waited for Redis.
    """

    _log = Logger()

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._clock = bus.link.clock
        self._registry = Registry(bus.link)
        self._malformed = Malformed("the module's topic", "a message of presence or of sessions")
        self._cursor = 0
        self._messages: deque[_Message] = deque()
        self._compares = False
        self._subscription: Subscription | None = None
        self._revocations: list[Subscription] = []
        self._looking = LoopingCall(lambda: Deferred.fromCoroutine(self._look()))
        self._looking.clock = bus.link.clock
        self._server: ProcedureServer | None = None
        self._starting: Deferred[None] | None = None
        self._working: Deferred[None] | None = None
        self._waiting: Waiters[None] = Waiters()
        self._serving: Waiters[None] = Waiters()
        self._refusal: AlreadyServed | None = None
        self._retry = Retry(self._clock, self._log)
        self.lost = 0

    @property
    def malformed(self) -> int:
        """Number of messages dropped, wholly or in part, as malformed."""
        return self._malformed.count

    @property
    def junk(self) -> int:
        """The former name of `malformed`."""
        return self.malformed

    def startService(self) -> None:
        """Begin to serve, as soon as Redis is there."""
        super().startService()
        self._refusal = None
        self._starting = Deferred.fromCoroutine(self._start())
        self._starting.addErrback(self._failed)

    def serving(self) -> Deferred[None]:
        """Wait for the module.

        Returns:
            Fires when its procedures are answered and its messages applied.

        Fails with:
            AlreadyServed: another program serves the module; this one does nothing.
        """
        waiting = self._serving.wait()
        self._tell_serving()
        return waiting

    def stopService(self) -> Deferred[None]:
        """Answer no more calls, and apply what has come.

        Returns:
            Fires then, or after `STOP_TIMEOUT`.
        """
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    # --- starting and stopping

    async def _start(self) -> None:
        while self._server is None:
            try:
                await self._bus.connected()
                await self._check()
                await self._begin()
            except AlreadyServed as refusal:
                self._refusal = refusal
                break
            except BusError as error:
                await self._retry.pause("the module cannot be served", error)
            else:
                self._log.info("the module is served: {topic}", topic=topics.rpc_of(_MODULE))
        self._tell_serving()

    async def _check(self) -> None:
        """See that nobody else serves the module.

        Ours say so when they are asked, and of them one answers a call.

        Raises:
            AlreadyServed: somebody does.
        """
        for seconds in CHECK_TIMEOUTS:
            pings = await self._bus.call_all(_MODULE, "opentera.ping", timeout=seconds)
            answers = await self._bus.call_all(_MODULE, "online_users", timeout=seconds)
            if len(answers) <= any(is_ours(ping.value) for ping in pings):
                return
        topic = topics.rpc_of(_MODULE)
        raise AlreadyServed(
            f"another program answers on {topic} already: stop it, or run without the user manager",
            topic=topic,
        )

    async def _begin(self) -> None:
        # In this order: what is published after the subscription stands in the log after its end.
        self._cursor = await self._registry.end()
        try:
            self._subscription = await self._bus.subscribe(REPORTS, self._received, self._compare)
            self._compare()
            self._revocations = [
                await self._bus.subscribe(topic, self._revoked) for topic in TOPICS
            ]
            await self._applied()
            self._server = await self._bus.serve_module(
                topics.USER_MANAGER_MODULE, procedures(self._registry), exclusive=True
            )
            if self.running and not self._looking.running:
                self._looking.start(LEASE / 3).addErrback(self._failed)
        except BaseException:
            if self._subscription is not None:
                self._subscription.cancel()
            self._end_revocations()
            raise

    async def _stop(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
        if self._looking.running:
            self._looking.stop()
        ending = Deferred.fromCoroutine(self._end())
        try:
            await ending.addTimeout(STOP_TIMEOUT, self._clock)
        except DeferredTimeout:
            self._log.warn(
                "Redis does not answer: stopping with {count} messages to the module not applied",
                count=len(self._messages),
            )
        if self._working is not None:
            self._working.cancel()
        self._messages.clear()

    async def _end(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.stop()
        self._end_revocations()
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await subscription.drain()
        await self._applied()

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("the user manager failed", failure)

    def _tell_serving(self) -> None:
        if self._refusal is not None:
            self._serving.fail(self._refusal)
        elif self._server is not None:
            self._serving.fire(None)

    # --- people who are deleted or disabled

    def _revoked(self, delivery: Delivery) -> None:
        """Have all gateways close the websockets of those who were deleted or disabled."""
        for one in standings(delivery.topic, delivery.payload):
            if one.is_revoked:
                self._bus.presence.disconnect(one.kind, one.uuid).addErrback(self._not_told)

    def _not_told(self, failure: Failure) -> None:
        failure.trap(BusError)
        self._log.warn(
            "gateways were not told to disconnect a deleted or disabled client: {reason}",
            reason=failure.getErrorMessage(),
        )

    def _end_revocations(self) -> None:
        revocations, self._revocations = self._revocations, []
        for one in revocations:
            one.cancel()

    # --- messages

    def _received(self, delivery: Delivery) -> None:
        try:
            found = changes(delivery.payload)
        except NotAMessage:
            self._malformed.dropped(delivery.topic)
            return
        valid = [one for one in found if one.is_valid]
        if len(valid) < len(found):
            self._malformed.dropped(delivery.topic)
        if not valid:
            return
        if len(self._messages) == MAX_WAITING:
            self._messages.popleft()
            self.lost += 1
            self._compares = True
        self._messages.append(_Message(fingerprint(delivery.payload), valid))
        self._work()

    async def _look(self) -> None:
        """Compare if the registry shrank: Redis has lost keys, or others have applied more."""
        try:
            if await self._registry.has_shrunk():
                self._compare()
        except BusError:
            pass  # when the link is back, it is compared

    def _compare(self) -> None:
        """Compare with who is open at the gateways: messages may have been missed."""
        self._compares = True
        self._work()

    def _applied(self) -> Deferred[None]:
        """Fires when all that has come is applied."""
        if self._working is None:
            return succeed(None)
        return self._waiting.wait()

    def _work(self) -> None:
        if self._working is None:
            self._working = Deferred.fromCoroutine(self._work_off())
            self._working.addErrback(self._failed)
            self._working.addCallback(lambda _: self._worked())

    def _worked(self) -> None:
        self._working = None
        self._waiting.fire(None)

    async def _work_off(self) -> None:
        while self._messages or self._compares:
            try:
                await self._bus.connected()
                if self._messages:
                    await self._apply()
                else:
                    await self._registry.compare(await self._bus.presence.everyone())
                    self._compares = False
            except BusError as error:
                await self._retry.pause("messages to the module wait", error)
            else:
                self._retry.succeeded()

    async def _apply(self) -> None:
        batch: list[_Message] = []
        size = 0
        for message in self._messages:
            if size >= CHANGE_BATCH:
                break
            batch.append(message)
            size += 1 + len(message.changes)
        self._cursor = await self._registry.apply(
            self._cursor, [(one.fingerprint, one.changes) for one in batch]
        )
        # Some of them may have been dropped meanwhile, from the left.
        done = {id(one) for one in batch}
        while self._messages and id(self._messages[0]) in done:
            self._messages.popleft()
