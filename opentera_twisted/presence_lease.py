"""The lease of one gateway on its presence entries in Redis, and their removal when it expires.

Redis makes a change and publishes its report in one step. Only Redis's clock counts, and it may
jump. A lease that ends too far in the future is cut to its length. A gateway that renewed late
waits one full lease before it treats others as dead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal
from uuid import uuid4

from attrs import frozen

from opentera_twisted import topics
from opentera_twisted.errors import WrongType
from opentera_twisted.holders import (
    DUE,
    GATEWAYS,
    HELD,
    HOLDERS,
    INDEX,
    LEASES,
    LEAVING,
    LISTENING,
    OWED,
    REAPED,
    REPORTS,
)
from opentera_twisted.link import PRESENCE, Link, Script
from opentera_twisted.messages.templates import NOW, PUBLISH

LEASE: Final = 15.0
"""Seconds until a gateway counts as dead without a renewal; it renews three times in that time."""

REAPED_AT_ONCE: Final = 250
"""Approximate number of a dead gateway's identities that one script run reports."""

GATEWAYS_AT_ONCE: Final = 100
"""Maximum number of dead gateways that one script run removes."""

DUE_AT_ONCE: Final = 100
"""Identities whose grace is over that one renewal reports."""

LOOKUPS: Final = 25_000
"""Number of lookups in gateways' hashes after which a script run ends."""

INDEXED_AT_ONCE: Final = 250
"""Approximate number of identities that one renewal adds to an index that Redis has lost."""

MOST_OWED: Final = 10_000
"""Maximum number of deferred reports; further ones are only published."""

_NOBODYS: Final = topics.module_events("TeraServer.Nobody")

_REPORTING: Final = (
    HOLDERS
    + f"""
    local most = {LOOKUPS}
    if gateways then most = math.max(1, math.floor(most / (#gateways + 1))) end
    local hears
    local function note(are_listening)
        hears = are_listening
        if not hears then
            redis.pcall('HSET', '{LISTENING}', 'no', '')
        elseif redis.pcall('HDEL', '{LISTENING}', 'no') == 1 then
            redis.call('HSET', '{LISTENING}', 'since', now)
        end
    end
    local function report(template)
        local count = publish('{REPORTS}', template)
        if count and hears == nil then
            note(count > (patterns > 0 and receivers('{_NOBODYS}') or 0))
        end
    end
    local function report_gone(who, template)
        local later = is_elsewhere(who)
        if not later then report(template) end
        local owed = redis.pcall('HLEN', '{OWED}')
        if (later or not hears) and type(owed) == 'number' and owed < {MOST_OWED} then
            redis.call('HSET', '{OWED}', who, template)
            redis.pcall('PEXPIRE', '{OWED}', 86400000)
        end
    end
    """
)
"""Lua: ``report(template)``; ``hears`` is true if a user manager listens, nil if not yet known."""

# Add an entry to the index before the gateway's own hash, and remove it after that: a superfluous
# entry is ignored.
_INDEXING: Final = f"""
    local type_of_index = redis.call('TYPE', '{INDEX}').ok
    local can_index = type_of_index == 'hash' or type_of_index == 'none'
    local function others(who, id)
        local ids, is_indexed = {{}}, false
        for listed in (redis.call('HGET', '{INDEX}', who) or ''):gmatch('%S+') do
            if listed == id then
                is_indexed = true
            elseif is_listed(listed, who) then
                ids[#ids + 1] = listed
            end
        end
        return ids, is_indexed
    end
    local function write_index(who, ids)
        if #ids > 0 then
            redis.call('HSET', '{INDEX}', who, table.concat(ids, ' '))
        else
            redis.call('HDEL', '{INDEX}', who)
        end
    end
    local function add_to_index(who, id)
        if not can_index then return end
        local ids, is_indexed = others(who, id)
        if not is_indexed then
            ids[#ids + 1] = id
            write_index(who, ids)
        end
    end
    local function remove_from_index(who, id)
        if not can_index then return end
        local ids, is_indexed = others(who, id)
        if is_indexed then write_index(who, ids) end
    end
    local function write_check()
        local text = check.count .. ' ' .. check.since .. ' ' .. check.ends
        redis.call('HSET', '{INDEX}', 'gateways', text)
    end
    local function renew_check(lease)
        if check and #ARGV > 6 then return end  -- so that a login costs nothing more
        local all = redis.call('ZRANGE', '{GATEWAYS}', 0, -1)
        for _, id in ipairs(all) do
            if redis.call('HGET', '{INDEX}', 'gateway ' .. id) ~= '' then
                return redis.call('HDEL', '{INDEX}', 'gateways')
            end
        end
        check = {{count = #all,
            since = string.format('%.0f', now), ends = string.format('%.0f', now + lease)}}
        write_check()
    end
    local function forget_gateway(id)
        local removed = redis.call('ZREM', '{GATEWAYS}', id)
        redis.call('HDEL', '{LEASES}', id)
        if not can_index then return end
        redis.call('HDEL', '{INDEX}', 'gateway ' .. id)
        if redis.call('EXISTS', '{GATEWAYS}') == 0 then
            redis.call('DEL', '{INDEX}')
        elseif not check then
            redis.call('HDEL', '{INDEX}', 'gateways')  -- its count may become right by chance
        elseif removed == 1 then
            check.count = check.count - 1
            write_check()
        end
    end
"""

# Write the lease first: a replica rejects the write, but would not reject the publication.
# Publish a report before its change: Redis may refuse the publication.
_RENEW: Final = Script(
    PUBLISH
    + f"""
    local id, lease, may_join = ARGV[1], tonumber(ARGV[2]), ARGV[3]
    local expected, listeners_before, grace = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
    local ends = tonumber(redis.call('ZSCORE', KEYS[1], id) or nil)
    local is_running = ends and ends > now
    if may_join == '' and not is_running then return {{}} end
    redis.call('ZADD', KEYS[1], now + lease, id)
    local was_late = not is_running or ends - now > lease or now - (ends - lease) >= lease * 2 / 3
    redis.call('HSET', '{LEASES}', id, lease)
    if may_join ~= '' then redis.call('DEL', '{REAPED}' .. id) end
    """
    + _REPORTING
    + _INDEXING
    + f"""
    local own, applied, conflicts, silent = '{HELD}' .. id, 0, {{}}, {{}}
    local indexed = not can_index and '' or redis.call('HGET', '{INDEX}', 'gateway ' .. id)
    if can_index and (not ends or may_join ~= '' and indexed ~= '') then
        indexed = nil  -- others may have removed entries, or a restart has changed the cursors
    end
    if indexed ~= '' then
        local found = redis.pcall('HSCAN', own, indexed or '0', 'COUNT', {INDEXED_AT_ONCE})
        if found.err then  -- a foreign cursor
            found = redis.call('HSCAN', own, '0', 'COUNT', {INDEXED_AT_ONCE})
        end
        for i = 1, #found[2], 2 do add_to_index(found[2][i], id) end
        indexed = found[1] == '0' and '' or found[1]
        redis.call('HSET', '{INDEX}', 'gateway ' .. id, indexed)
    end
    local function conflicts_with(who)
        for _, other in ipairs(other_kinds(who)) do
            if is_held(other) then return true end
        end
        return false
    end
    local function is_first(who)
        for other in each_holder(who) do
            if other < id and tonumber(redis.call('ZSCORE', KEYS[1], other)) > now then
                return false
            end
        end
        return true
    end
    local function end_grace(who)
        local gone = redis.pcall('HGET', '{LEAVING}', who)
        if type(gone) ~= 'string' then return false, false end
        redis.pcall('ZREM', '{DUE}', who)
        redis.pcall('HDEL', '{LEAVING}', who)
        local is_doubtful = gone:byte(1) == 0
        return is_doubtful and gone:sub(2) or gone, not is_doubtful
    end
    local function leave(who, gone, left, mark)
        if left > 0 and redis.call('TYPE', '{DUE}').ok ~= 'string' then
            local kept = redis.pcall('HSET', '{LEAVING}', who, mark .. gone)
            local dated = type(kept) == 'number' and redis.pcall('ZADD', '{DUE}', now + left, who)
            if type(dated) == 'number' then return end
        end
        report_gone(who, gone)
    end
    for i = 7, #ARGV, 4 do
        if applied == most or lookups >= {LOOKUPS} then break end
        applied = applied + 1
        local what, who, came, gone = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
        local held = redis.call('HGET', own, who)
        if what == 'enter' and not held then
            if conflicts_with(who) then
                conflicts[#conflicts + 1] = who
            else
                for _, other in ipairs(other_kinds(who)) do
                    local left = end_grace(other)
                    if left then report_gone(other, left) end
                end
                local _, is_known = end_grace(who)
                if is_known or is_held(who, id) then
                    silent[#silent + 1] = who
                else
                    report(came)
                end
                add_to_index(who, id)
                redis.call('HSET', own, who, gone)
                redis.pcall('HDEL', '{OWED}', who)
            end
        elseif what == 'enter' then
            silent[#silent + 1] = who
            add_to_index(who, id)
        elseif what == 'again' and held then
            if is_first(who) then report(came) end
        elseif what == 'leave' then
            if held and not is_held(who, id) then leave(who, held, grace, '') end
            redis.call('HDEL', own, who)
            remove_from_index(who, id)
        elseif what == 'departed' then
            local is_leaving = redis.pcall('HEXISTS', '{LEAVING}', who) == 1
            if not is_leaving and not is_held(who) then leave(who, gone, tonumber(came), '\\0') end
        end
    end
    if grace > 0 then
        -- Cut a grace that was set before the clock stepped back.
        local late = redis.pcall(
            'ZRANGEBYSCORE', '{DUE}', '(' .. now + grace, '+inf', 'LIMIT', 0, {DUE_AT_ONCE})
        for _, who in ipairs(late.err and {{}} or late) do
            redis.call('ZADD', '{DUE}', now + grace, who)
        end
    end
    local due = redis.pcall(
        'ZRANGEBYSCORE', '{DUE}', '-inf', now, 'LIMIT', 0, math.min(most, {DUE_AT_ONCE}))
    for _, who in ipairs(due.err and {{}} or due) do
        local left = end_grace(who)
        if left and not is_held(who) then report_gone(who, left) end
        if not left then redis.call('ZREM', '{DUE}', who) end  -- Redis has lost the report
    end
    if can_index then
        renew_check(lease)
        redis.pcall('PEXPIRE', '{INDEX}', 86400000)
    end
    local exact = redis.pcall('PUBSUB', 'NUMSUB', '{REPORTS}')
    local listeners = exact.err and '' or patterns .. ' ' .. exact[2]
    if hears == nil and listeners ~= listeners_before then
        if patterns == 0 or exact[2] > 0 then
            note(exact[2] > 0)
        elseif listeners_before ~= '' then
            note(receivers('{REPORTS}') > receivers('{_NOBODYS}'))
        end
    end
    local size = redis.pcall('HLEN', own)
    local differs = expected >= 0 and applied == (#ARGV - 6) / 4 and type(size) == 'number'
        and size ~= expected - #conflicts
    local since = redis.pcall('HGET', '{LISTENING}', 'since')
    local spoiled = {{}}
    for _, name in ipairs({{'{INDEX}', '{OWED}', '{LISTENING}'}}) do
        local kind = redis.call('TYPE', name).ok
        if kind ~= 'hash' and kind ~= 'none' then spoiled[#spoiled + 1] = name end
    end
    return {{
        applied, was_late and now or '', type(since) == 'string' and since or '',
        differs and 1 or 0, redis.call('TYPE', '{OWED}').ok == 'hash' and 1 or 0, conflicts,
        silent, listeners, spoiled, indexed == '' and 1 or 0,
    }}
    """,
    PRESENCE,
)

_REAP: Final = Script(
    PUBLISH
    + _REPORTING
    + _INDEXING
    + f"""
    local since, lease, dead = tonumber(ARGV[1]), tonumber(ARGV[2]), nil
    if ARGV[3] == '' then
        local late = redis.call(
            'ZRANGEBYSCORE', KEYS[1], '(' .. now + lease, '+inf', 'LIMIT', 0, {GATEWAYS_AT_ONCE})
        for _, id in ipairs(late) do
            local ends = now + (tonumber(redis.call('HGET', '{LEASES}', id) or nil) or lease)
            if tonumber(redis.call('ZSCORE', KEYS[1], id)) > ends then
                redis.call('ZADD', KEYS[1], ends, id)
            end
        end
        if not since or now - since < lease then return 0 end
        dead = redis.call(
            'ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, {GATEWAYS_AT_ONCE})
    else
        local ends = redis.call('ZSCORE', KEYS[1], ARGV[3])
        dead = ends and tonumber(ends) <= now and {{ARGV[3]}} or {{}}
    end
    local left = math.min(most, {REAPED_AT_ONCE})
    for _, id in ipairs(dead) do
        local held = '{HELD}' .. id
        redis.call('SET', '{REAPED}' .. id, '', 'EX', 86400)
        if redis.call('TYPE', held).ok == 'hash' then
            local cursor = '0'
            repeat
                local found = redis.call('HSCAN', held, cursor, 'COUNT', left)
                cursor = found[1]
                for i = 1, #found[2], 2 do
                    if lookups >= {LOOKUPS} then return 1 end
                    local who, gone = found[2][i], found[2][i + 1]
                    if redis.call('HEXISTS', held, who) == 1 then
                        if not is_held(who, id) then report_gone(who, gone) end
                        redis.call('HDEL', held, who)
                        remove_from_index(who, id)
                        left = left - 1
                    end
                end
            until cursor == '0' or left <= 0
            if redis.call('EXISTS', held) == 1 then return 1 end
        end
        forget_gateway(id)
        if left <= 0 then return 1 end
    end
    return #dead == {GATEWAYS_AT_ONCE} and 1 or 0
    """,
    PRESENCE,
)

_SETTLE: Final = Script(
    PUBLISH
    + _REPORTING
    + """
    local found = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', math.min(most, 100))
    local settled = 0
    for i = 1, #found[2], 2 do
        local who, gone = found[2][i], found[2][i + 1]
        local is_here = is_held(who)
        if is_here or not is_elsewhere(who) then
            if not is_here then report(gone) end
            if hears == false then break end
            settled = settled + redis.call('HDEL', KEYS[1], who)
        end
    end
    return {found[1], settled}
    """,
    PRESENCE,
)

_EXPIRE: Final = Script("redis.call('ZADD', KEYS[1], 'XX', 0, ARGV[1])", PRESENCE)

_END: Final = Script(
    NOW
    + HOLDERS
    + _INDEXING
    + f"""
    if redis.call('EXISTS', '{HELD}' .. ARGV[1]) == 0 then forget_gateway(ARGV[1]) end
    """,
    PRESENCE,
)


@frozen
class Transition:
    """A change of an identity at one gateway: its first websocket opened, or its last one closed.

    Attributes:
        what: ``enter``; ``leave``; ``again``, which repeats the report of the connection; or
            ``departed``, which repeats a ``leave`` that Redis may have lost.
        who: ``<kind>.<uuid>``.
        came: template of the connection's report; for ``departed``, rest of the grace in
            milliseconds.
        gone: template of the disconnection's report, stored for later.
    """

    what: Literal["enter", "leave", "again", "departed"]
    who: str
    came: bytes = b""
    gone: bytes = b""


@frozen
class Renewal:
    """Result of a renewal.

    Attributes:
        applied: number of transitions applied, from the first on.
        listening_since: changes when a user manager begins to listen after a time without one; may
            be lost.
        differs: Redis and the gateway disagree on the number of identities.
        owes: reports of disconnections are deferred.
        conflicts: ``<kind>.<uuid>`` not entered because the UUID is open under another kind.
        silent: ``<kind>.<uuid>`` entered without a report, which was sent before.
        spoiled: names of ignored presence keys that have the wrong type.
        indexed: the index has all identities of the gateway; else another renewal adds more.
    """

    applied: int
    listening_since: bytes
    differs: bool
    owes: bool
    conflicts: tuple[str, ...]
    silent: tuple[str, ...]
    spoiled: tuple[str, ...]
    indexed: bool


class Lease:
    """One gateway's presence entries in Redis, which are valid while its lease runs.

    Args:
        link: the link that carries the commands.
        seconds: length of the lease, from each renewal.
        grace: seconds for which a disconnection report waits.

    Attributes:
        gateway: name in Redis, unique to each process.
        seconds: length of the lease.
        grace: seconds for which a disconnection report waits.
        since: Redis's time in milliseconds since which all renewals were in time; None before the
            first one.
    """

    def __init__(self, link: Link, seconds: float = LEASE, grace: float = 0.0) -> None:
        self.gateway = str(uuid4())
        self.seconds = seconds
        self.grace = grace
        self.since: int | None = None
        self._listeners = b""  # as of the last renewal
        self._link = link

    @property
    def _milliseconds(self) -> int:
        return round(self.seconds * 1000)

    async def renew(
        self, transitions: Iterable[Transition], *, join: bool, expected: int = -1
    ) -> Renewal | None:
        """Renew the lease and apply transitions in order, each with its report.

        After an unknown outcome, transitions of different identities can be applied again; nothing
        is reported twice.

        Args:
            transitions: changes, each of another identity.
            join: take a lease if there is none.
            expected: number of identities that Redis should have afterwards; -1 if unknown.

        Returns:
            None when the lease had expired and was not taken: nothing was done, and others may
                report the gateway's clients as disconnected.
        """
        arguments: list[bytes | str | int] = [
            self.gateway,
            self._milliseconds,
            "join" if join else "",
            expected,
            self._listeners,
            round(self.grace * 1000),
        ]
        for change in transitions:
            # Another program's field may be no UTF-8: see `held`.
            who = change.who.encode(errors="surrogateescape")
            arguments += change.what, who, change.came, change.gone
        try:
            answer = await self._link.run(_RENEW, [GATEWAYS], *arguments)
        except WrongType as error:
            raise await self._named(error) from None
        if not answer:
            return None
        applied, late, listening_since, differs, owes, conflicts, silent, *rest = answer
        self._listeners, spoiled, indexed = rest
        if late:
            self.since = late
        return Renewal(
            applied,
            listening_since,
            bool(differs),
            bool(owes),
            tuple(map(topics.decode, conflicts)),
            tuple(map(topics.decode, silent)),
            tuple(map(topics.decode, spoiled)),
            bool(indexed),
        )

    async def _named(self, error: WrongType) -> WrongType:
        """Name the necessary presence key that has the wrong type."""
        kinds = {GATEWAYS: b"zset", LEASES: b"hash", HELD + self.gateway: b"hash"}
        for name, kind in kinds.items():
            found = await self._link.execute("TYPE", self._link.key(PRESENCE, name))
            if found not in {kind, b"none"}:
                expected, actual = kind.decode(), topics.decode(found)
                return WrongType(error.command, f"WRONGTYPE {name} is a {actual}, not a {expected}")
        return error

    async def held(self) -> set[str]:
        """Read this gateway's identities from Redis."""
        identities: Sequence[bytes] = await self._link.execute(
            "HKEYS", self._link.key(PRESENCE, HELD + self.gateway)
        )
        return {topics.decode(identity) for identity in identities}

    async def exists(self) -> bool:
        """Return True if Redis has the lease, expired or not."""
        gateways = self._link.key(PRESENCE, GATEWAYS)
        try:
            return await self._link.execute("ZSCORE", gateways, self.gateway) is not None
        except WrongType:
            return True  # the renewal reports the wrong type

    async def was_reaped(self) -> bool:
        """Return True if others have reported this gateway's clients as disconnected."""
        reaped = self._link.key(PRESENCE, REAPED + self.gateway)
        return bool(await self._link.execute("EXISTS", reaped))

    async def reap(self) -> bool:
        """Report some of the clients of dead gateways as disconnected.

        Do nothing until the own lease was renewed in time for one full lease.

        Returns:
            True if there are more.
        """
        since = "" if self.since is None else self.since
        return bool(await self._link.run(_REAP, [GATEWAYS], since, self._milliseconds, ""))

    async def settle(self, cursor: bytes) -> tuple[bytes, int]:
        """Publish some deferred reports of offline identities, if a user manager listens.

        Args:
            cursor: ``0``, or the cursor of the previous call.

        Returns:
            The next cursor, and the number of reports settled.
        """
        following, settled = await self._link.run(_SETTLE, [OWED], cursor)
        return following, settled

    async def end(self) -> None:
        """Release the lease, if this gateway has no identities."""
        await self._link.run(_END, [GATEWAYS], self.gateway)


async def report_gone(link: Link, gateway: str) -> None:
    """Report the clients of a dead gateway as disconnected."""
    await link.run(_EXPIRE, [GATEWAYS], gateway)
    while await link.run(_REAP, [GATEWAYS], "", 0, gateway):
        pass
