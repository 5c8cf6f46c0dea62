"""Applies messages to the registry and serves the module's procedures."""

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
from opentera_twisted._internal.shared_stop import SharedStop
from opentera_twisted._internal.waiters import Waiters
from opentera_twisted.bus import Bus
from opentera_twisted.errors import AlreadyServed, BusError
from opentera_twisted.holders import REPORTS
from opentera_twisted.link import USER_MANAGER, Retry
from opentera_twisted.presence_lease import LEASE
from opentera_twisted.pubsub import Delivery, Subscription
from opentera_twisted.revocation import TOPICS, standings
from opentera_twisted.rpc import ProcedureServer
from opentera_twisted.user_manager.changes import Change, NotAMessage, changes
from opentera_twisted.user_manager.procedures import is_ours, procedures
from opentera_twisted.user_manager.registry import Registry, fingerprint

STOP_TIMEOUT: Final = 5.0
"""Seconds that stopping waits for pending messages."""

CHECK_TIMEOUTS: Final = (2.0, 5.0)
"""Seconds to wait for another server of the module, at the first and the second check."""

CHANGE_BATCH: Final = 100
"""Messages and changes in one script call, approximately."""

MAX_WAITING: Final = 20_000
"""Pending messages; beyond that, the oldest is dropped."""

_MODULE: Final = f"module.{topics.USER_MANAGER_MODULE}"


@frozen
class _Message:
    """A pending message."""

    fingerprint: bytes
    changes: list[Change]


class UserManager(Service):
    """Runs the user manager module; any number of programs on one Redis share its registry.

    A Twisted service. Start it before the gateway accepts clients; stop it after the gateway and
    before the bus.

    Args:
        bus: bus, which its owner starts and stops.

    Attributes:
        lost: messages dropped because too many were pending.

    Example:
        >>> manager = UserManager(bus)
        >>> manager.startService()
        >>> await manager.serving()
        >>> await bus.call("TeraServer.UserManagerModule", "online_users")
        []
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
        self._checking = LoopingCall(lambda: Deferred.fromCoroutine(self._check_size()))
        self._checking.clock = bus.link.clock
        self._server: ProcedureServer | None = None
        self._starting: Deferred[None] | None = None
        self._shared_stop = SharedStop(self, self._begin_start)
        self._working: Deferred[None] | None = None
        self._waiting: Waiters[None] = Waiters()
        self._serving: Waiters[None] = Waiters()
        self._refusal: AlreadyServed | None = None
        self._retry = Retry(self._clock, self._log)
        self.lost = 0

    @property
    def malformed(self) -> int:
        """Return the number of messages dropped, wholly or partly, as malformed."""
        return self._malformed.count

    @property
    def junk(self) -> int:
        """Return `malformed`, under its former name."""
        return self.malformed

    def startService(self) -> None:
        """Start to serve as soon as the link is ready; if it is stopping, start afterwards."""
        if self.running:
            return
        super().startService()
        self._refusal = None
        self._shared_stop.start()

    def _begin_start(self) -> None:
        self._starting = Deferred.fromCoroutine(self._start())
        self._starting.addErrback(self._failed)

    def serving(self) -> Deferred[None]:
        """Wait until the module is served.

        Returns:
            Fires when this program serves the procedures and applies messages.

        Fails with:
            AlreadyServed: another program serves the module; this one stays idle.
        """
        waiting = self._serving.wait()
        self._notify_serving()
        return waiting

    def stopService(self) -> Deferred[None]:
        """Stop serving calls, and apply pending messages.

        Returns:
            Fires when stopped, after `STOP_TIMEOUT` at the latest. Cancelling it ends only the
            wait.
        """
        super().stopService()
        return self._shared_stop.stop(self._stop)

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
                await self._retry.pause("cannot serve the user manager module", error)
            else:
                self._log.info(
                    "serving the user manager module: {topic}", topic=topics.rpc_of(_MODULE)
                )
        self._notify_serving()

    async def _check(self) -> None:
        """Check that no other program serves the module.

        Programs of this package identify themselves by ping, and only one of them answers a call.

        Raises:
            AlreadyServed: another program serves it.
        """
        for seconds in CHECK_TIMEOUTS:
            pings = await self._bus.call_all(_MODULE, "opentera.ping", timeout=seconds)
            answers = await self._bus.call_all(_MODULE, "online_users", timeout=seconds)
            if len(answers) <= any(is_ours(ping.value) for ping in pings):
                return
        topic = topics.rpc_of(_MODULE)
        raise AlreadyServed(
            f"another program already serves {topic}; stop it, or run without the user manager",
            topic=topic,
        )

    async def _begin(self) -> None:
        # Read the end first: messages published after the subscription are in the log after it.
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
            if self.running and not self._checking.running:
                self._checking.start(LEASE / 3).addErrback(self._failed)
        except BaseException:
            if self._subscription is not None:
                self._subscription.cancel()
            self._end_revocations()
            raise

    async def _stop(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
        if self._checking.running:
            self._checking.stop()
        self._end_revocations()
        server, self._server = self._server, None
        subscription, self._subscription = self._subscription, None
        ending = Deferred.fromCoroutine(self._end(server, subscription))
        try:
            await ending.addTimeout(STOP_TIMEOUT, self._clock)
        except DeferredTimeout:
            self._log.warn(
                "Redis does not answer; stopping with {count} unapplied messages to the user "
                "manager module",
                count=len(self._messages),
            )
        finally:
            if subscription is not None:
                subscription.cancel()
            if self._working is not None:
                self._working.cancel()
            self._messages.clear()

    async def _end(self, server: ProcedureServer | None, subscription: Subscription | None) -> None:
        if server is not None:
            await server.stop()
        if subscription is not None:
            await subscription.drain()
        await self._applied()

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("the user manager failed", failure)

    def _notify_serving(self) -> None:
        if self._refusal is not None:
            self._serving.fail(self._refusal)
        elif self._server is not None:
            self._serving.fire(None)

    # --- deleted and disabled identities

    def _revoked(self, delivery: Delivery) -> None:
        """Publish disconnect commands for deleted and disabled identities."""
        for standing in standings(delivery.topic, delivery.payload):
            if standing.is_revoked:
                disconnected = self._bus.presence.disconnect(standing.kind, standing.uuid)
                disconnected.addErrback(self._not_disconnected)

    def _not_disconnected(self, failure: Failure) -> None:
        failure.trap(BusError)
        self._log.warn(
            "cannot publish the disconnect command for a deleted or disabled client: {reason}",
            reason=failure.getErrorMessage(),
        )

    def _end_revocations(self) -> None:
        revocations, self._revocations = self._revocations, []
        for subscription in revocations:
            subscription.cancel()

    # --- messages

    def _received(self, delivery: Delivery) -> None:
        try:
            found = changes(delivery.payload)
        except NotAMessage:
            self._malformed.dropped(delivery.topic)
            return
        valid = [change for change in found if change.is_valid]
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

    async def _check_size(self) -> None:
        """Compare if the registry shrank: Redis lost keys, or other programs applied more."""
        try:
            if await self._registry.has_shrunk():
                self._compare()
        except BusError:
            pass  # the gap's callback compares when the link is back

    def _compare(self) -> None:
        """Compare the registry with the gateways' clients, after possibly missed messages."""
        self._compares = True
        self._work()

    def _applied(self) -> Deferred[None]:
        """Wait until all pending messages are applied."""
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
                # A lost node of a cluster that has neither clients nor registry does not matter.
                await self._bus.link.ready_for(USER_MANAGER.topic, REPORTS)
                if self._messages:
                    await self._apply()
                else:
                    everyone = await self._bus.presence.everyone()
                    self._compares = not await self._registry.compare(everyone)
            except BusError as error:
                await self._retry.pause("cannot apply messages to the user manager module", error)
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
            self._cursor, [(message.fingerprint, message.changes) for message in batch]
        )
        # The oldest of them may have been dropped in the meantime.
        done = {id(message) for message in batch}
        while self._messages and id(self._messages[0]) in done:
            self._messages.popleft()
