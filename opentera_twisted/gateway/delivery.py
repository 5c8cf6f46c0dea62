"""Delivery of messages on clients' topics: each is parsed, filtered and encoded once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, Final

from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import DecodeError, Message
from twisted.logger import Logger

from opentera_twisted._internal.malformed import Malformed
from opentera_twisted.gateway.access_policy import reaches_owner
from opentera_twisted.gateway.contracts import NOBODY, Audience, IAccessPolicy
from opentera_twisted.gateway.fanout import Followers
from opentera_twisted.gateway.frames import Frame
from opentera_twisted.gateway.outbox import Client, Outbox
from opentera_twisted.messages import (
    DatabaseEvent,
    LogEvent,
    LoginEvent,
    ServerCommand,
    TeraEvent,
    TeraMessage,
    TeraModuleMessage,
)
from opentera_twisted.messages.envelopes import unpack, unpack_all
from opentera_twisted.messages.text import visible_text
from opentera_twisted.pubsub import Delivery

DISCONNECTED_BY_COMMAND: Final = 4000
"""Close code after a ``CMD_CLIENT_DISCONNECT``."""

# Log events are for servers, on every topic; envelopes could hide them.
_NEVER = frozenset({LogEvent, LoginEvent, TeraEvent, TeraMessage, TeraModuleMessage, Packed})


class Delivering:
    """Delivers published messages to the websockets that follow their topics.

    Args:
        policy: access policy, for topics that a client does not follow wholly.
        outbox: queue of frames.
        largest: bytes of the largest event to deliver; 0 for no limit.
        kicked: called for a disconnect command: UUID, sender, number of websockets.

    Attributes:
        dropped: messages that were neither an event nor a command.
        too_large: events dropped for their size.
    """

    _log = Logger()

    def __init__(
        self,
        policy: IAccessPolicy,
        outbox: Outbox,
        largest: int = 0,
        kicked: Callable[[str, str, int], None] = lambda *_: None,
    ) -> None:
        self._policy = policy
        self._kicked = kicked
        self._outbox = outbox
        self._largest = largest
        self.dropped = Malformed("a websocket's topic", "an event or a command")
        self.too_large = Malformed("a websocket's topic", f"an event of at most {largest:,} bytes")

    def event(self, followers: Followers, delivery: Delivery) -> None:
        """Deliver a ``TeraEvent``: to each client its visible events, encoded once per audience."""
        self._deliver(followers, delivery, _is_for_clients)

    def own_event(self, followers: Followers, delivery: Delivery) -> None:
        """Deliver a ``TeraEvent`` on a client's own topic, except what `reaches_owner` excludes."""
        self._deliver(followers, delivery, reaches_owner)

    def _deliver(
        self, followers: Followers, delivery: Delivery, allows: Callable[[str, Message], bool]
    ) -> None:
        if self._largest and len(delivery.payload) > self._largest:
            self.too_large.dropped(delivery.topic)
            return
        try:
            event = TeraEvent.FromString(delivery.payload)
            visible = [
                (packed, message)
                for packed in event.events[:]  # a list: faster to traverse
                if (message := unpack(packed)) is not None
                and type(message) not in _NEVER
                and allows(delivery.topic, message)
            ]
            if not visible:
                return
            if not followers.filtered:
                self._outbox.put(Frame(visible_text(event, visible)), followers.whole)
                return
            frames: dict[tuple[int, ...], Frame] = {}
            messages = [message for _, message in visible]
            for numbers, clients in self._shares(delivery.topic, messages, followers):
                if not clients:
                    continue
                frame = frames.get(numbers)
                if frame is None:
                    frame = Frame(visible_text(event, [visible[number] for number in numbers]))
                    frames[numbers] = frame
                self._outbox.put(frame, clients)
        except Exception:  # noqa: BLE001 (protobuf fails in many ways on malformed input)
            self.dropped.dropped(delivery.topic)

    def command(self, followers: Followers, delivery: Delivery) -> None:
        """Execute the disconnect commands in a ``TeraModuleMessage``."""
        try:
            message = TeraModuleMessage.FromString(delivery.payload)
        except DecodeError:
            self.dropped.dropped(delivery.topic)
            return
        if any(
            isinstance(command, ServerCommand)
            and command.type == ServerCommand.CMD_CLIENT_DISCONNECT
            for command in unpack_all(message.data)
        ):
            _, _, uuid = delivery.topic.rpartition(".")
            closed = self.close(followers.whole, DISCONNECTED_BY_COMMAND, "CMD_CLIENT_DISCONNECT")
            self._kicked(uuid, message.head.source, closed)

    def close(self, clients: Sequence[Client], code: int, reason: str) -> int:
        """Close clients after their earlier events; return how many were not closing yet."""
        if clients:
            self._outbox.flush()
        return sum([client.close(code, reason) for client in clients])

    def _shares(
        self, topic: str, messages: Sequence[Message], followers: Followers
    ) -> Iterator[tuple[tuple[int, ...], Sequence[Client]]]:
        """Yield the numbers of messages, with the clients that receive exactly these."""
        everything = tuple(range(len(messages)))
        yield everything, followers.whole
        audiences = [self._audience(topic, message) for message in messages]
        if audiences.count(audiences[0]) == len(audiences):
            for clients in followers.select(audiences[0]):
                yield everything, clients
            return
        seen: dict[Client, tuple[int, ...]] = {}
        for number, audience in enumerate(audiences):
            for client in chain.from_iterable(followers.select(audience)):
                seen[client] = (*seen.get(client, ()), number)
        alike: dict[tuple[int, ...], list[Client]] = {}
        for client, numbers in seen.items():
            alike.setdefault(numbers, []).append(client)
        yield from alike.items()

    def _audience(self, topic: str, message: Message) -> Audience:
        if isinstance(message, DatabaseEvent):
            return NOBODY
        try:
            audience: Any = self._policy.audience(topic, message)
            if not isinstance(audience, Audience):
                raise TypeError(f"expected an Audience, not {type(audience).__name__}")
        except Exception:  # noqa: BLE001 (deny what it cannot decide)
            self._log.failure("the access policy failed on an event of {topic}", topic=topic)
            return NOBODY
        return audience


def _is_for_clients(_topic: str, _message: Message) -> bool:
    return True
