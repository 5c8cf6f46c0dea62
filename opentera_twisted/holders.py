"""Presence keys in Redis, and the Lua functions that find out which identities are online.

    opentera.presence.gateways        sorted set: gateway -> end of its lease, ms of Redis's clock
    opentera.presence.leases          hash: gateway -> length of its lease, ms
    opentera.presence.gateway.<id>    hash: <kind>.<uuid> -> disconnection report, without time
    opentera.presence.holders         hash: <kind>.<uuid> -> gateways that have it open, see below
    opentera.presence.reaped.<id>     exists for a day after others reported its clients gone
    opentera.presence.owed            hash: <kind>.<uuid> -> deferred disconnection report
    opentera.presence.leaving         hash: <kind>.<uuid> in its grace -> disconnection report
    opentera.presence.due             sorted set: <kind>.<uuid> -> end of its grace, ms
    opentera.presence.listening       hash: time since which the user manager listens again

A report in ``leaving`` that may have been published before begins with a zero byte.

The index ``opentera.presence.holders`` names the gateways of an identity, so that a login looks
into their hashes alone. A script trusts no entry: it looks whether the gateway is in the sorted
set and has the identity in its hash. Two more kinds of fields say whether entries are missing:

    gateway <id>    empty when the index has all identities of that gateway; else a cursor
    gateways        number of gateways when all were complete, and that check's validity in ms

Without a valid field ``gateways``, the scripts look into the hash of every gateway. It is invalid
when Redis has lost the index, and when it differs from the number of gateways. It differs while a
gateway of version 1.0 runs, because it writes no index. Such a gateway removes another one only
after a lease, when the validity of the field has ended too.

Existing OpenTera programs keep no presence in Redis, but subscribe to their topics as patterns.
Redis does not list the subscribed patterns: it reports their number and a message's receivers. So
the script publishes a probe, an empty envelope, on such a topic and on an unused one. A program
that receives everything receives both probes. Without patterns, nothing is published.
"""

from __future__ import annotations

from typing import Final

from opentera_twisted import topics

GATEWAYS: Final = "opentera.presence.gateways"
LEASES: Final = "opentera.presence.leases"
INDEX: Final = "opentera.presence.holders"
HELD: Final = "opentera.presence.gateway."
REAPED: Final = "opentera.presence.reaped."
OWED: Final = "opentera.presence.owed"
LEAVING: Final = "opentera.presence.leaving"
DUE: Final = "opentera.presence.due"
LISTENING: Final = "opentera.presence.listening"

NIL_UUID: Final = "00000000-0000-0000-0000-000000000000"
"""The nil UUID, which no identity has."""

REPORTS: Final = topics.module_messages(topics.USER_MANAGER_MODULE)
"""Topic of connection and disconnection reports."""

PROBE: Final = b"\n\x02\x08\x01"
"""An empty envelope: its head, field 1 of either envelope, contains only the version."""

_PROBE: Final = "".join(f"\\{byte}" for byte in PROBE)  # as a Lua string

HOLDERS: Final = f"""
    local function read_check()
        local text = redis.pcall('HGET', '{INDEX}', 'gateways')
        if type(text) ~= 'string' then return nil end
        local count, since, ends = text:match('^(%d+) (%d+) (%d+)$')
        if count and tonumber(since) <= now and now < tonumber(ends)
            and redis.pcall('ZCARD', '{GATEWAYS}') == tonumber(count) then
            return {{count = tonumber(count), since = since, ends = ends}}
        end
    end
    local check, lookups, gateways = read_check(), 0, nil
    if not check then
        gateways = redis.pcall('ZRANGE', '{GATEWAYS}', 0, -1)
        if gateways.err then gateways = {{}} end
    end
    local function has(id, who)
        lookups = lookups + 1
        return redis.pcall('HEXISTS', '{HELD}' .. id, who) == 1
    end
    local function is_listed(id, who)
        return has(id, who) and type(redis.pcall('ZSCORE', '{GATEWAYS}', id)) == 'string'
    end
    local function each_holder(who)
        if gateways then
            local i = 0
            return function()
                repeat i = i + 1 until not gateways[i] or has(gateways[i], who)
                return gateways[i]
            end
        end
        local listed = redis.pcall('HGET', '{INDEX}', who)
        local following = (type(listed) == 'string' and listed or ''):gmatch('%S+')
        return function()
            local id
            repeat id = following() until not id or is_listed(id, who)
            return id
        end
    end
    local function is_held(who, except)
        for id in each_holder(who) do
            if id ~= except then return true end
        end
        return false
    end
    local patterns = redis.pcall('PUBSUB', 'NUMPAT')
    if type(patterns) ~= 'number' then patterns = 0 end
    local function receivers(topic)
        local count = redis.pcall('PUBLISH', topic, '{_PROBE}')
        return type(count) == 'number' and count or 0
    end
    local function is_elsewhere(who)
        local kind = who:match('^%a+')
        if patterns == 0 or not kind then return false end
        local topic = 'websocket.' .. who .. '.events'
        local exact = redis.pcall('PUBSUB', 'NUMSUB', topic)
        if exact.err then return false end
        local found = receivers(topic) - exact[2]
        return found > 0 and found > receivers('websocket.' .. kind .. '.{NIL_UUID}.events')
    end
    local function other_kinds(who)
        local own, uuid = who:match('^(%a+)%.(.*)$')
        local others = {{}}
        for _, kind in ipairs({{{", ".join(f"'{kind}'" for kind in topics.KINDS)}}}) do
            if kind ~= own and uuid then others[#others + 1] = kind .. '.' .. uuid end
        end
        return others
    end
"""
"""Lua functions and variables after `NOW`, where ``who`` is ``<kind>.<uuid>``:

``check``: fields of the valid check of the index; nil if entries may be missing.
``gateways``: without a check, all gateways, to look into each; else nil.
``lookups``: number of lookups in hashes of gateways.
``each_holder(who)``: iterates over the gateways that have it open, or had when they died.
``is_held(who, except)``: such a gateway other than ``except`` exists.
``is_elsewhere(who)``: a gateway that keeps no presence in Redis has it open.
``other_kinds(who)``: the same UUID under the other kinds.
``patterns``: number of patterns that any program has subscribed to; 0 when Redis refuses to say.
``receivers(topic)``: number of receivers of a probe.
"""
