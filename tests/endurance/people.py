"""Users whose clients return by themselves, and what each of them must receive."""

from __future__ import annotations

from uuid import uuid4

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from opentera_twisted import Bus, SessionKeys, topics
from opentera_twisted.client import Event, GatewayClient
from opentera_twisted.errors import BusError
from opentera_twisted.messages import DeviceEvent


class Numbers:
    """The numbers of one receiver's events: each once, in order, and none missing without a gap.

    Attributes:
        published: the last number used.
        received: the last number received.
        gaps: gaps announced to the receiver.
        missed: events lost in such gaps.
    """

    def __init__(self) -> None:
        self.published = self.received = 0
        self.gaps = self.missed = 0
        self._may_miss = False
        self._uncertain: set[int] = set()

    def next(self) -> int:
        """Return the number of the next event to publish."""
        self.published += 1
        return self.published

    def not_published(self, number: int) -> None:
        """Note that Redis may not have published an event."""
        if number > self.received:
            self._uncertain.add(number)

    def gap(self) -> None:
        """Note that events may be missing before the next one."""
        self.gaps += 1
        self._may_miss = True

    def receive(self, number: int) -> str:
        """Take a received number; return what is wrong with it, or an empty text."""
        if not self.received < number <= self.published:
            return f"event {number} came after event {self.received}"
        missed = set(range(self.received + 1, number)) - self._uncertain
        self._uncertain = {uncertain for uncertain in self._uncertain if uncertain > number}
        self.received = number
        if missed and not self._may_miss:
            return f"events {min(missed)} to {max(missed)} are missing, without a gap"
        self.missed += len(missed)
        self._may_miss = False
        return ""


class Person:
    """One user, with a client of the gateway.

    Args:
        bus: publishes the events and issues the keys.
        url: URL of the gateway.
        faults: receives a line for each wrong event.
    """

    def __init__(self, bus: Bus, url: str, faults: list[str]) -> None:
        self.uuid = str(uuid4())
        self.numbers = Numbers()
        self.logins = 0
        self._topic = topics.websocket_events("user", self.uuid)
        self._bus = bus
        self._keys = SessionKeys(bus)
        self._faults = faults
        self.client = GatewayClient(
            url, self._key, self._received, self.numbers.gap, reactor=reactor
        )

    def _key(self) -> Deferred[str]:
        self.logins += 1
        return self._keys.issue("user", self.uuid)

    def _received(self, event: Event) -> None:
        if event.name != "DeviceEvent":  # the user manager's own
            return
        fault = self.numbers.receive(int(event.data["deviceName"]))
        if fault:
            self._faults.append(f"user {self.uuid}: {fault}")

    async def publish(self) -> None:
        """Publish the next event; raise `BusError` if Redis may not have published it."""
        number = self.numbers.next()
        try:
            await self._bus.publish_event(self._topic, DeviceEvent(device_name=str(number)))
        except BusError:
            self.numbers.not_published(number)
            raise
