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
        TypeError: one of them is not a frozenset.
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
"""The audience of an event that no client receives."""

EVERYONE: Final = Audience(frozenset(KINDS))
"""The audience of an event that every client of the topic receives."""


class _Contract(_ProtocolMeta):
    """Protocols that zope's ``implementer`` accepts: version 1.0 required that decorator."""

    def __iter__(cls) -> Iterator[NoReturn]:  # noqa: N805 (of a metaclass)
        return iter(())


@runtime_checkable
class IIdentityResolver(Protocol, metaclass=_Contract):
    """Look up who a client is, beyond its UUID.

    An implementation answers within 5 seconds, or the client gets 503 and keeps its session key.
    It may be called again for the same client before it has answered.
    """

    def resolve(self, kind: Kind, uuid: str) -> Awaitable[Identity | None]:
        """Look up one client.

        Args:
            kind: ``user``, ``participant`` or ``device``.
            uuid: From the session key.

        Returns:
            The identity, or None when the client may not log in. A coroutine function and a
            function that returns a Deferred both serve. The gateway adds what the session key
            itself grants.

        Raises:
            Exception: the lookup failed; the client gets 503 and keeps its session key.
        """
        ...


@runtime_checkable
class IAccessPolicy(Protocol, metaclass=_Contract):
    """Decide which broadcast topics a client follows, and who may receive what appears there.

    The gateway does not consult a policy about a client's own topic, nor about the topics that its
    session key names. It withholds logs and broadcast database events whatever a policy says.
    """

    def topics(self, identity: Identity) -> Iterable[str]:
        """Return the broadcast topics that a client follows; called once at its login.

        Raises:
            Exception: the client gets 503 and keeps its session key.
        """
        ...

    def audience(self, topic: str, event: Message) -> Audience:
        """Return who, of the clients that follow a topic, may receive an event.

        Called in the reactor's thread, once for each event: it must not block.

        Args:
            topic: The topic that carried the event.
            event: The event itself, out of its envelope.

        Raises:
            Exception: the gateway denies the event to all, and logs the failure.
        """
        ...


@runtime_checkable
class IPreparedPolicy(IAccessPolicy, Protocol):
    """A policy that looks something up before a client logs in."""

    def prepare(self, identity: Identity) -> Awaitable[None]:
        """Prepare for one login; several clients may share an identity.

        Returns:
            When it completes, `IAccessPolicy.audience` can decide for that client.

        Raises:
            Exception: the client gets 503 and keeps its session key.
        """
        ...

    def forget(self, identity: Identity) -> None:
        """Undo one `prepare` that succeeded, because its client has left."""
        ...
