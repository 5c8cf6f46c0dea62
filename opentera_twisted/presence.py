"""Presence: users, participants and devices online, kept in Redis by gateways under leases.

A crashed gateway's entries end with its lease. The script looks identities up in the other
gateways' hashes, so that no counter can go wrong. It uses only Redis's clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from twisted.internet.defer import Deferred

from opentera_twisted import topics
from opentera_twisted._internal.gathered import gathered
from opentera_twisted._internal.unused import needs_use
from opentera_twisted.errors import InvalidArgument
from opentera_twisted.holders import GATEWAYS, HELD, LEAVING
from opentera_twisted.link import PRESENCE, Link, Script
from opentera_twisted.messages import ServerCommand
from opentera_twisted.messages.templates import PUBLISH
from opentera_twisted.presence_lease import report_gone
from opentera_twisted.pubsub import PubSub
from opentera_twisted.sessions import is_uuid
from opentera_twisted.topics import Kind

ONLINE: Final = Script(
    PUBLISH
    + f"""
    local online = {{}}
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf')) do
        local held = redis.pcall('HKEYS', '{HELD}' .. id)
        if not held.err then online[#online + 1] = held end
    end
    local leaving = redis.pcall('HKEYS', '{LEAVING}')
    if not leaving.err then online[#online + 1] = leaving end
    return online
    """,
    PRESENCE,
)


class Presence:
    """Identities online at any gateway of this Redis.

    Args:
        link: the link that carries the commands.
        pubsub: publishes the disconnect command.
    """

    def __init__(self, link: Link, pubsub: PubSub) -> None:
        self._link = link
        self._pubsub = pubsub

    def online(self, kind: Kind) -> Deferred[list[str]]:
        """List the identities of one kind with an open websocket, at any gateway.

        Args:
            kind: user, participant or device.

        Returns:
            Fires with their UUIDs, sorted, including identities within their grace. Clients of
            existing OpenTera gateways are not included.

        Raises:
            InvalidArgument: the kind is unknown.

        Fails with:
            BusUnavailable, ConnectionLost, CommandFailed.
        """
        _check_kind(kind)
        everyone = Deferred.fromCoroutine(self._everyone())
        online = everyone.addCallback(lambda everyone: everyone[kind])
        return needs_use(online, "presence.online")

    def everyone(self) -> Deferred[dict[Kind, list[str]]]:
        """List the identities with an open websocket, by kind; otherwise like `online`."""
        return needs_use(Deferred.fromCoroutine(self._everyone()), "presence.everyone")

    async def _everyone(self) -> dict[Kind, list[str]]:
        held: Sequence[Sequence[bytes]] = await self._link.run(ONLINE, [GATEWAYS])
        return by_kind(identity for identities in held for identity in identities)

    def disconnect(self, kind: Kind, uuid: str, source: str | None = None) -> Deferred[int]:
        """Close the websockets of one identity at every gateway.

        Args:
            kind: user, participant or device. It is only checked: UUIDs are unique across kinds.
            uuid: UUID of the user, participant or device; its case does not matter.
            source: sender of the command, for the gateways' audit logs.

        Returns:
            Fires with the number of receivers of the command; 0 when no gateway has such a
            websocket. Subscribers to patterns, such as ``opentera-bus tail``, are counted too.
            A UUID with capitals has a second command, whose receivers are added.

        Raises:
            InvalidArgument: the kind is unknown, or the UUID has an invalid form.

        Fails with:
            BusUnavailable, ConnectionLost, CommandFailed.

        Source: docs/reference/wire.md.
        """
        _check_kind(kind)
        if not is_uuid(uuid):
            raise InvalidArgument(f"expected a UUID with hyphens, not {uuid!r}")
        command = ServerCommand(type=ServerCommand.CMD_CLIENT_DISCONNECT)
        source = source or topics.module_messages(topics.TWISTED_MODULE)
        sent = gathered(
            self._pubsub.send_module_message(topic, command, source=source)
            for topic in topics.disconnect_commands(uuid)
        )
        return sent.addCallback(sum)

    def report_gone(self, gateway: str) -> Deferred[None]:
        """Report the clients of a dead gateway as disconnected.

        Otherwise other gateways report them when its lease has expired.

        Args:
            gateway: name of the gateway in Redis; unknown names are ignored.

        Returns:
            Fires when Redis has all reports.

        Fails with:
            BusUnavailable, ConnectionLost, CommandFailed.
        """
        return Deferred.fromCoroutine(report_gone(self._link, gateway))


def by_kind(held: Iterable[bytes]) -> dict[Kind, list[str]]:
    """Group ``<kind>.<uuid>`` by kind into sorted, unique UUIDs; other texts are foreign."""
    found: dict[Kind, set[str]] = {kind: set() for kind in topics.KINDS}
    for identity in held:
        kind, _, uuid = topics.decode(identity).partition(".")
        if kind in found and is_uuid(uuid):
            found[kind].add(uuid)
    return {kind: sorted(uuids) for kind, uuids in found.items()}


def _check_kind(kind: Kind) -> None:
    if kind not in topics.KINDS:
        raise InvalidArgument(f"{kind!r} is not a kind; expected one of {', '.join(topics.KINDS)}")
