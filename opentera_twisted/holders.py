"""Presence keys in Redis, and the Lua functions that find out which identities are online.

    opentera.presence.gateways        sorted set: gateway -> end of its lease, ms of Redis's clock
    opentera.presence.leases          hash: gateway -> length of its lease, ms
    opentera.presence.gateway.<id>    hash: <kind>.<uuid> -> disconnection report, without time
    opentera.presence.reaped.<id>     exists for a day after others reported its clients gone
    opentera.presence.owed            hash: <kind>.<uuid> -> deferred disconnection report
    opentera.presence.leaving         hash: <kind>.<uuid> in its grace -> disconnection report
    opentera.presence.due             sorted set: <kind>.<uuid> -> end of its grace, ms
    opentera.presence.listening       hash: time since which the user manager listens again

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
"""Lua functions and variables, where ``who`` is ``<kind>.<uuid>``:

``is_held(who, except)``: a gateway other than ``except`` has it open, or had when it died.
``is_elsewhere(who)``: a gateway that keeps no presence in Redis has it open.
``other_kinds(who)``: the same UUID under the other kinds.
``patterns``: number of patterns that any program has subscribed to; 0 when Redis refuses to say.
``receivers(topic)``: number of receivers of a probe.
"""
