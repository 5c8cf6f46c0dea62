"""Keys of presence in Redis, and the Lua that finds out who is open, and where.

    opentera.presence.gateways        sorted set: gateway -> end of its lease, ms of Redis's clock
    opentera.presence.leases          hash: gateway -> length of its lease, ms
    opentera.presence.gateway.<id>    hash: <kind>.<uuid> -> the report of its going, without time
    opentera.presence.reaped.<id>     there for a day when others have reported its identities gone
    opentera.presence.owed            hash: <kind>.<uuid> -> a report of going that is still to make
    opentera.presence.listening       hash: since when the user manager module listens again

Existing programs keep nothing in Redis. They subscribe to their topics as patterns, and Redis tells
nobody who has subscribed to a pattern, but how many patterns there are, and how many receivers a
message had. So a probe, an envelope that holds nothing, is published on such a topic, and on one
that nobody has: whoever listens to everything receives both. Where there are no patterns at all,
nothing is probed.
"""

from __future__ import annotations

from typing import Final

from opentera_twisted import topics

GATEWAYS: Final = "opentera.presence.gateways"
LEASES: Final = "opentera.presence.leases"
HELD: Final = "opentera.presence.gateway."
REAPED: Final = "opentera.presence.reaped."
OWED: Final = "opentera.presence.owed"
LISTENING: Final = "opentera.presence.listening"

NIL_UUID: Final = "00000000-0000-0000-0000-000000000000"
"""The UUID of no one."""

REPORTS: Final = topics.module_messages(topics.USER_MANAGER_MODULE)
"""Topic of reports of coming and going."""

PROBE: Final = b"\n\x02\x08\x01"
"""An envelope that holds nothing: its head, field 1 of either envelope, has only the version."""

_PROBE: Final = "".join(f"\\{byte}" for byte in PROBE)  # in Lua

HOLDERS: Final = f"""
    local gateways = redis.pcall('ZRANGE', '{GATEWAYS}', 0, -1)
    if gateways.err then gateways = {{}} end
    local function is_held(who, except)
        for _, id in ipairs(gateways) do
            if id ~= except and redis.pcall('HEXISTS', '{HELD}' .. id, who) == 1 then
                return true
            end
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
"""Lua, where ``who`` is ``<kind>.<uuid>``:

``is_held(who, except)``: another gateway than ``except`` has it open, or had when it died.
``is_elsewhere(who)``: a gateway that keeps nothing in Redis has it open.
``other_kinds(who)``: the same UUID under the other kinds.
``patterns``: number of patterns that any program has subscribed to; 0 when Redis does not tell.
``receivers(topic)``: number of receivers of a probe.
"""
