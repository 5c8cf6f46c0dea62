"""Tells the bus who came and who went: CONNECTED and DISCONNECTED, each in its order, none lost.

A DISCONNECTED that is lost locks a person out, so each report is repeated until Redis has it.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

from google.protobuf.message import Message
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger

from opentera_twisted import topics
from opentera_twisted.errors import BusError
from opentera_twisted.link import Link
from opentera_twisted.messages import DeviceEvent, ParticipantEvent, UserEvent
from opentera_twisted.pubsub import PubSub
from opentera_twisted.sessions import Identity

RETRY_DELAY: Final = 1.0
"""Seconds before a report that failed is made again."""

_DESTINATION: Final = topics.module_messages(topics.USER_MANAGER_MODULE)


class Presence:
    """Counts each identity's websockets and reports the first to open and the last to close.

    Args:
        link: for its reactor.
        pubsub: carries the reports.
    """

    _log = Logger()

    def __init__(self, link: Link, pubsub: PubSub) -> None:
        self._link = link
        self._pubsub = pubsub
        self._open: Counter[tuple[str, str]] = Counter()
        self._reports: deque[tuple[Identity, bool]] = deque()
        self._reporting: Deferred[None] | None = None
        self._waiting: list[Deferred[None]] = []

    def opened(self, identity: Identity) -> None:
        """A websocket of that identity opened."""
        who = (identity.kind, identity.uuid)
        self._open[who] += 1
        if self._open[who] == 1:
            self._report(identity, connected=True)

    def closed(self, identity: Identity) -> None:
        """A websocket of that identity closed."""
        who = (identity.kind, identity.uuid)
        self._open[who] -= 1
        if not self._open[who]:
            del self._open[who]
            self._report(identity, connected=False)

    def reported(self) -> Deferred[None]:
        """Wait for Redis to have all reports.

        Returns:
            Fires then.
        """
        if self._reporting is None:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def _report(self, identity: Identity, *, connected: bool) -> None:
        self._reports.append((identity, connected))
        if self._reporting is None:
            self._reporting = Deferred.fromCoroutine(self._publish_all())

    async def _publish_all(self) -> None:
        while self._reports:
            identity, connected = self._reports[0]
            try:
                await self._pubsub.send_module_message(
                    _DESTINATION,
                    presence_event(identity, connected=connected),
                    source=f"websocket.{identity.kind}.{identity.uuid}",
                )
            except BusError as error:
                self._log.warn(
                    "{count} reports of presence wait: {reason}",
                    count=len(self._reports),
                    reason=str(error),
                )
                await deferLater(self._link.reactor, RETRY_DELAY)
            else:
                self._reports.popleft()
        self._reporting = None
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)

    def give_up(self) -> int:
        """Make no more attempts.

        Returns:
            How many reports Redis does not have.
        """
        lost = len(self._reports)
        self._reports.clear()
        if self._reporting is not None:
            self._reporting.addErrback(lambda failure: failure.trap(CancelledError) and None)
            self._reporting.cancel()
            self._reporting = None
        return lost


def presence_event(identity: Identity, *, connected: bool) -> Message:
    """The event that tells of an identity's coming or going.

    Source: wire contract, section 5.
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
