"""Who is online: kept in Redis by the gateways under leases, so that no crash can falsify it.

    opentera.presence.gateways        sorted set: gateway -> end of its lease, ms of Redis's clock
    opentera.presence.gateway.<id>    hash: <kind>.<uuid> -> the report of its going, without time
    opentera.presence.reaped.<id>     there for a day when others have reported its identities gone

Whether somebody is open elsewhere is looked up in the hashes of the other gateways: there is no
count that could go wrong. A change and its report are one step in Redis. The clocks of the machines
that gateways run on play no part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal
from uuid import uuid4

from attrs import frozen
from twisted.internet.defer import Deferred

from opentera_twisted import topics
from opentera_twisted.errors import InvalidArgument
from opentera_twisted.link import Link, Script
from opentera_twisted.messages import ServerCommand
from opentera_twisted.pubsub import PubSub
from opentera_twisted.sessions import is_uuid
from opentera_twisted.templates import PUBLISH
from opentera_twisted.topics import Kind

LEASE: Final = 15.0
"""Seconds until a gateway that does not renew its lease, three times in that, counts as gone."""

REAPED_AT_ONCE: Final = 250
"""Identities of gateways that are gone which one step in Redis reports, more or less."""

GATEWAYS: Final = "opentera.presence.gateways"
HELD: Final = "opentera.presence.gateway."
REAPED: Final = "opentera.presence.reaped."

REPORTS: Final = topics.module_messages(topics.USER_MANAGER_MODULE)
"""Where coming and going is reported."""

HOLDERS: Final = f"""
    local gateways = redis.call('ZRANGE', '{GATEWAYS}', 0, -1)
    local function is_held(who, except)
        for _, id in ipairs(gateways) do
            if id ~= except and redis.pcall('HEXISTS', '{HELD}' .. id, who) == 1 then
                return true
            end
        end
        return false
    end
"""
"""Lua: ``is_held(who, except)``: whether another gateway has it open, or had when it died."""

# The lease first: a replica refuses that, and would not refuse to publish.
# A report before the change that it tells of: Redis may refuse to publish it.
_RENEW: Final = Script(
    PUBLISH
    + f"""
    local own, id, lease, may_join = '{HELD}' .. ARGV[1], ARGV[1], tonumber(ARGV[2]), ARGV[3]
    local ends = redis.call('ZSCORE', KEYS[1], id)
    if may_join == '' and not (ends and tonumber(ends) > now) then return 0 end
    redis.call('ZADD', KEYS[1], now + lease, id)
    """
    + HOLDERS
    + f"""
    if may_join ~= '' then redis.call('DEL', '{REAPED}' .. id) end
    for i = 4, #ARGV, 4 do
        local what, who, came, gone = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
        local held = redis.call('HGET', own, who)
        if what == 'enter' and not held then
            if not is_held(who, id) then publish('{REPORTS}', came) end
            redis.call('HSET', own, who, gone)
        elseif what == 'leave' and held then
            if not is_held(who, id) then publish('{REPORTS}', held) end
            redis.call('HDEL', own, who)
        end
    end
    return 1
    """
)

_REAP: Final = Script(
    PUBLISH
    + HOLDERS
    + f"""
    local left = {REAPED_AT_ONCE}
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)) do
        local held = '{HELD}' .. id
        redis.call('SET', '{REAPED}' .. id, '', 'EX', 86400)
        if redis.call('TYPE', held).ok == 'hash' then
            local cursor = '0'
            repeat
                local found = redis.call('HSCAN', held, cursor, 'COUNT', left)
                cursor = found[1]
                for i = 1, #found[2], 2 do
                    local who, gone = found[2][i], found[2][i + 1]
                    if redis.call('HEXISTS', held, who) == 1 then
                        if not is_held(who, id) then publish('{REPORTS}', gone) end
                        redis.call('HDEL', held, who)
                        left = left - 1
                    end
                end
            until cursor == '0' or left <= 0
            if redis.call('EXISTS', held) == 1 then return 1 end
        end
        redis.call('ZREM', KEYS[1], id)
        if left <= 0 then return 1 end
    end
    return 0
    """
)

_EXPIRE: Final = Script("redis.call('ZADD', KEYS[1], 'XX', 0, ARGV[1])")

_END: Final = Script(
    f"""
    if redis.call('EXISTS', '{HELD}' .. ARGV[1]) == 0 then redis.call('ZREM', KEYS[1], ARGV[1]) end
    """
)

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
            Fires with their UUIDs, sorted. Gateways of other programs are not seen.

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

        Source: wire contract, section 5.
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
        return Deferred.fromCoroutine(self._report_gone(gateway))

    async def _report_gone(self, gateway: str) -> None:
        await self._link.run(_EXPIRE, [GATEWAYS], gateway)
        while await self._link.run(_REAP, [GATEWAYS]):
            pass


@frozen
class Transition:
    """Somebody's first websocket at a gateway opened, or the last one closed.

    Attributes:
        what: which of them.
        who: ``<kind>.<uuid>``.
        came: the report of its coming, a template; empty when it was reported before.
        gone: the report of its going, a template, for whoever publishes it later.
    """

    what: Literal["enter", "leave"]
    who: str
    came: bytes = b""
    gone: bytes = b""


class Lease:
    """One gateway's part of what Redis knows: who is open there, as long as its lease runs.

    Args:
        link: carries the commands.
        seconds: that it runs when it is renewed.

    Attributes:
        gateway: its name in Redis, another one in each process.
        seconds: as given.
    """

    def __init__(self, link: Link, seconds: float = LEASE) -> None:
        self.gateway = str(uuid4())
        self.seconds = seconds
        self._link = link

    async def renew(self, transitions: Iterable[Transition], *, join: bool) -> bool:
        """Renew the lease, and apply transitions in their order, each with its report.

        Transitions of different identities may be applied again when it is not known whether they
        were: nothing is reported twice.

        Args:
            transitions: each of another identity.
            join: take a lease if there is none.

        Returns:
            Whether the lease was running, or was taken; otherwise nothing was done, and what the
            gateway held may be reported gone.
        """
        arguments: list[bytes | str | int] = [
            self.gateway,
            round(self.seconds * 1000),
            "join" if join else "",
        ]
        for one in transitions:
            arguments += one.what, one.who, one.came, one.gone
        return bool(await self._link.run(_RENEW, [GATEWAYS], *arguments))

    async def held(self) -> set[str]:
        """Who is open here, as Redis has it."""
        who: Sequence[bytes] = await self._link.execute("HKEYS", HELD + self.gateway)
        return {topics.decode(one) for one in who}

    async def was_reaped(self) -> bool:
        """Whether others have reported those gone who were open here; until it joins again."""
        return bool(await self._link.execute("EXISTS", REAPED + self.gateway))

    async def reap(self) -> bool:
        """Report a number of those gone whom gateways without a lease have held.

        Returns:
            Whether there are more.
        """
        return bool(await self._link.run(_REAP, [GATEWAYS]))

    async def end(self) -> None:
        """Give the lease back, if nobody is open here any more."""
        await self._link.run(_END, [GATEWAYS], self.gateway)


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
