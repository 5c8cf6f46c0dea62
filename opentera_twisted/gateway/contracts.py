"""The contracts that an embedding program implements: an identity resolver and an access policy.

Any class with these methods will do; it need not inherit from anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator
from typing import Final, NoReturn, Protocol, _ProtocolMeta, runtime_checkable

from attrs import field, frozen
from attrs.validators import instance_of
from google.protobuf.message import Message

from opentera_twisted.sessions import Identity
from opentera_twisted.topics import KINDS, Kind


@frozen
class Audience:
    """The clients that may receive an event.

    Attributes:
        kinds: Kinds of which every client receives it.
        members: Single clients, each as kind and UUID, that receive it as well.

    Raises:
        TypeError: An argument is not a frozenset.

    Example:
        >>> audience = Audience(kinds=frozenset({"user"}), members=frozenset({("device", UUID)}))
        >>> audience.includes("user", "any"), audience.includes("device", UUID)
        (True, True)
        >>> audience.includes("participant", UUID)
        False
    """

    # Checked here, because the gateway can only deny an event whose audience is malformed.
    kinds: frozenset[Kind] = field(default=frozenset(), validator=instance_of(frozenset))
    members: frozenset[tuple[Kind, str]] = field(
        default=frozenset(), validator=instance_of(frozenset)
    )

    def includes(self, kind: Kind, uuid: str) -> bool:
        """Return whether one client may receive the event."""
        return kind in self.kinds or (kind, uuid) in self.members


NOBODY: Final = Audience()
"""The audience of an event that no client receives.

Example:
    >>> NOBODY.includes("device", UUID)
    False
"""

EVERYONE: Final = Audience(frozenset(KINDS))
"""The audience of an event that every client of the topic receives.

Example:
    >>> EVERYONE.includes("device", UUID)
    True
"""


class _Contract(_ProtocolMeta):
    """Metaclass that lets zope's ``implementer`` accept a protocol, as version 1.0 required."""

    def __iter__(cls) -> Iterator[NoReturn]:  # noqa: N805 (of a metaclass)
        return iter(())


@runtime_checkable
class IIdentityResolver(Protocol, metaclass=_Contract):
    """A lookup of clients' identities.

    An implementation must answer within 5 seconds; otherwise the client gets 503 and keeps its
    session key. The gateway may call it again for the same client before it has answered.

    Example:
        >>> class Directory:
        ...     async def resolve(self, kind, uuid):
        ...         return Identity(kind, uuid, name="Ada")
        >>> gateway = Gateway(bus, identities=Directory())
    """

    def resolve(self, kind: Kind, uuid: str) -> Awaitable[Identity | None]:
        """Look up one client.

        Args:
            kind: ``user``, ``participant`` or ``device``.
            uuid: From the session key.

        Returns:
            The identity, or None when the client may not log in. The method may be a coroutine
            function or return a Deferred. The gateway adds the grants of the session key.

        Raises:
            Exception: The lookup failed; the client gets 503 and keeps its session key.
        """
        ...


@runtime_checkable
class IAccessPolicy(Protocol, metaclass=_Contract):
    """A policy for broadcast topics: the topics of each client, and the audience of each event.

    The gateway never consults a policy about a client's own topic or the topics in its session key.
    It withholds logs and broadcast database events under any policy.

    Example:
        >>> class OwnRoom:
        ...     def topics(self, identity):
        ...         return [f"service.Room.events.{identity.project}"]
        ...     def audience(self, topic, event):
        ...         return EVERYONE
        >>> gateway = Gateway(bus, policy=OwnRoom())
    """

    def topics(self, identity: Identity) -> Iterable[str]:
        """Return a client's broadcast topics; called once at its login.

        Raises:
            Exception: The client gets 503 and keeps its session key.
        """
        ...

    def audience(self, topic: str, event: Message) -> Audience:
        """Return the audience of an event among the clients of its topic.

        The gateway calls it in the reactor's thread, once per event; it must not block.

        Args:
            topic: The topic that carried the event.
            event: The event itself, out of its envelope.

        Raises:
            Exception: The gateway delivers the event to no client, and logs the failure.
        """
        ...


@runtime_checkable
class IPreparedPolicy(IAccessPolicy, Protocol):
    """A policy that needs a lookup before a client logs in.

    Example:
        >>> class Projects(DefaultPolicy):
        ...     async def prepare(self, identity):
        ...         self.members = await bus.call_service("Sum", "add", 1)
        ...     def forget(self, identity):
        ...         del self.members
        >>> isinstance(Projects(), IPreparedPolicy)
        True
    """

    def prepare(self, identity: Identity) -> Awaitable[None]:
        """Prepare for one login; several clients may share an identity.

        Returns:
            Completes when `IAccessPolicy.audience` can decide for the client.

        Raises:
            Exception: The client gets 503 and keeps its session key.
        """
        ...

    def forget(self, identity: Identity) -> None:
        """Undo one successful `prepare` after its client has disconnected."""
        ...
