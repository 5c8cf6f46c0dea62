"""Who is online: kept in Redis by the gateways under leases, so that no crash can falsify it.

Whether somebody is open elsewhere is looked up in the hashes of the other gateways: there is no
count that could go wrong. The clocks of the machines that gateways run on play no part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from twisted.internet.defer import Deferred

from opentera_twisted import topics
from opentera_twisted.errors import InvalidArgument
from opentera_twisted.holders import GATEWAYS, HELD
from opentera_twisted.lease import report_gone
from opentera_twisted.link import Link, Script
from opentera_twisted.messages import ServerCommand
from opentera_twisted.messages.templates import PUBLISH
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
    return online
    """
)


class Presence:
    """Who is online at any gateway of this Redis.

    Args:
        link: carries the commands.
        pubsub: carries the command to disconnect.
    """

    def __init__(self, link: Link, pubsub: PubSub) -> None:
        self._link = link
        self._pubsub = pubsub

    def online(self, kind: Kind) -> Deferred[list[str]]:
        """Who of a kind has a websocket open, at whichever gateway.

        Args:
            kind: user, participant or device.

        Returns:
            Fires with their UUIDs, sorted. Existing gateways are not seen.

        Raises:
            InvalidArgument: there is no such kind.

        Fails with:
            BusUnavailable, ConnectionLost, CommandFailed.
        """
        _check_kind(kind)
        return self.everyone().addCallback(lambda everyone: everyone[kind])

    def everyone(self) -> Deferred[dict[Kind, list[str]]]:
        """Who has a websocket open, by kind; otherwise like `online`."""
        return Deferred.fromCoroutine(self._everyone())

    async def _everyone(self) -> dict[Kind, list[str]]:
        held: Sequence[Sequence[bytes]] = await self._link.run(ONLINE, [GATEWAYS])
        return by_kind(who for one in held for who in one)

    def disconnect(self, kind: Kind, uuid: str) -> Deferred[int]:
        """Have every gateway close the websockets of somebody.

        Args:
            kind: user, participant or device; not told to gateways, as UUIDs differ anyway.
            uuid: of that user, participant or device.

        Returns:
            Fires with the number of receivers, 0 when no gateway has such a websocket; who
            subscribes to patterns, such as ``opentera-bus tail``, is counted too.

        Raises:
            InvalidArgument: there is no such kind, or that is no UUID.

        Fails with:
            BusUnavailable, ConnectionLost, CommandFailed.

        Source: docs/reference/wire.md.
        """
        _check_kind(kind)
        if not is_uuid(uuid):
            raise InvalidArgument(f"expected a UUID with hyphens, not {uuid!r}")
        return self._pubsub.send_module_message(
            topics.disconnect_command(uuid),
            ServerCommand(type=ServerCommand.CMD_CLIENT_DISCONNECT),
            source=topics.module_messages(topics.TWISTED_MODULE),
        )

    def report_gone(self, gateway: str) -> Deferred[None]:
        """Report those gone whom a gateway has held that is known to have died.

        Without it others do so when its lease has run out.

        Args:
            gateway: its name in Redis; one that is there no more is no mistake.

        Returns:
            Fires when Redis has all reports.

        Fails with:
            BusUnavailable, ConnectionLost, CommandFailed.
        """
        return Deferred.fromCoroutine(report_gone(self._link, gateway))


def by_kind(held: Iterable[bytes]) -> dict[Kind, list[str]]:
    """UUIDs out of ``<kind>.<uuid>``, sorted, each once."""
    found: dict[Kind, set[str]] = {kind: set() for kind in topics.KINDS}
    for who in held:
        kind, _, uuid = topics.decode(who).partition(".")
        if kind in found:
            found[kind].add(uuid)
    return {kind: sorted(uuids) for kind, uuids in found.items()}


def _check_kind(kind: Kind) -> None:
    if kind not in topics.KINDS:
        raise InvalidArgument(f"{kind!r} is no kind: expected one of {', '.join(topics.KINDS)}")
