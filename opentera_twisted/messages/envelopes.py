"""Envelopes of published messages: packing and unpacking.

Source: docs/reference/wire.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Final

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError, Message

from opentera_twisted import messages
from opentera_twisted.messages.TeraEvent_pb2 import TeraEvent
from opentera_twisted.messages.TeraModuleMessage_pb2 import TeraModuleMessage

TYPE_URL_PREFIX: Final = "type.googleapis.com/"

_PARSERS: Final[Mapping[str, Callable[[bytes], Message]]] = {
    f"{TYPE_URL_PREFIX}{kind.DESCRIPTOR.full_name}": kind.FromString
    for kind in (getattr(messages, name) for name in messages.__all__)
}
"""Parsers of OpenTera's messages, by the URL that existing programs use."""


def pack(message: Message) -> Any:
    """Pack a message in an ``Any``; return an ``Any`` as it is.

    Example:
        >>> pack(UserEvent(user_fullname="Ada")).type_url
        'type.googleapis.com/opentera.protobuf.UserEvent'
    """
    if isinstance(message, Any):
        return message
    # Any.Pack sets the fields one after another, which takes twice as long.
    url = TYPE_URL_PREFIX + message.DESCRIPTOR.full_name
    return Any(type_url=url, value=message.SerializeToString())


def unpack(packed: Any) -> Message | None:
    """Unpack an ``Any``, or return None if its type is unknown or its bytes are invalid.

    Example:
        >>> unpack(pack(UserEvent(user_fullname="Ada"))).user_fullname
        'Ada'
    """
    parse = _PARSERS.get(packed.type_url)
    try:
        if parse is None:
            parse = _class(packed.TypeName()).FromString
        return parse(packed.value)
    except (KeyError, DecodeError):
        return None


def new_message(name: str) -> Message | None:
    """Make an empty message of a type, by its full name; None if the type is unknown.

    Example:
        >>> type(new_message("opentera.protobuf.UserEvent")).__name__
        'UserEvent'
    """
    try:
        return _class(name)()
    except KeyError:
        return None


@cache
def _class(name: str) -> type[Message]:
    """Get the class of a message type; the cache does not keep unknown names."""
    descriptor = descriptor_pool.Default().FindMessageTypeByName(name)
    kind: type[Message] = message_factory.GetMessageClass(descriptor)
    return kind


def unpack_all(packed: Iterable[Any]) -> Iterator[Message]:
    """Unpack each ``Any``; skip those that `unpack` cannot read.

    Example:
        >>> event = tera_event("service.Bell.events", [UserEvent(user_fullname="Ada")])
        >>> [message.user_fullname for message in unpack_all(event.events)]
        ['Ada']
    """
    for item in packed:
        message = unpack(item)
        if message is not None:
            yield message


def tera_event(topic: str, events: Iterable[Message], timestamp: float | None = None) -> TeraEvent:
    """Make the envelope of events published on ``topic``.

    Args:
        topic: topic for the header.
        events: events to pack, in order.
        timestamp: seconds since the epoch; None means now.

    Example:
        >>> event = tera_event("service.Bell.events", [UserEvent(user_fullname="Ada")], timestamp=0)
        >>> await bus.publish("service.Bell.events", event)
        0
    """
    envelope = TeraEvent()
    header = envelope.header
    header.version = 1
    header.time = time.time() if timestamp is None else timestamp
    header.topic = topic
    envelope.events.extend(map(pack, events))
    return envelope


def module_message(
    source: str, dest: str, messages: Iterable[Message], timestamp: float | None = None
) -> TeraModuleMessage:
    """Make the envelope of messages from one module or service to another.

    Args:
        source: sender, such as ``websocket.user.<uuid>``.
        dest: topic to publish on.
        messages: messages to pack, in order.
        timestamp: seconds since the epoch; None means now.

    Example:
        >>> command = ServerCommand(type="CMD_CLIENT_DISCONNECT")
        >>> message = module_message("service.Bell", "module.Bell.messages", [command])
        >>> message.head.source
        'service.Bell'
    """
    envelope = TeraModuleMessage()
    head = envelope.head
    head.version = 1
    head.time = time.time() if timestamp is None else timestamp
    head.source = source
    head.dest = dest
    envelope.data.extend(map(pack, messages))
    return envelope
