"""Online and busy identities in Redis, shared by all programs that run the module.

    opentera.user_manager.online.<kind>   hash: UUID -> "gateway" if a gateway of ours has it open
    opentera.user_manager.busy.<kind>     hash: UUID -> UUID of its session
    opentera.user_manager.device_status   hash: UUID -> JSON, while the device is online
    opentera.user_manager.log             list: fingerprints of the newest messages applied
    opentera.user_manager.log.start       the number of the log's first message

Each program that runs the module receives every message, in the same order. For each message, a
script in Redis searches the log from the program's cursor. If the message is there, another program
has applied it. Otherwise the script applies the message and appends it to the log, atomically. The
log therefore holds each message once. If a program dies, the others apply its messages.

A script that publishes an event also changes the registry, so each event is published once and in
order. On a cluster, presence is in another slot, so the program reads it before the script runs. A
program that marks an identity by presence that has just changed receives the report of that change
next. A comparison is refused if another message was applied since the program read presence.

The numbers in the log start with the time of its creation in microseconds. A cursor into a log that
Redis has lost is thus invalid in the next log.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Final

from attrs import frozen
from twisted.internet.defer import Deferred

from opentera_twisted import topics
from opentera_twisted._internal.gathered import gathered
from opentera_twisted.holders import GATEWAYS, HOLDERS, NIL_UUID
from opentera_twisted.link import PRESENCE, USER_MANAGER, Argument, Link, Script
from opentera_twisted.messages.decoding import strict
from opentera_twisted.messages.templates import NOW, PUBLISH
from opentera_twisted.sessions import is_uuid
from opentera_twisted.topics import Kind
from opentera_twisted.user_manager.changes import EVENTS, Change, event

ONLINE: Final = "opentera.user_manager.online."
BUSY: Final = "opentera.user_manager.busy."
DEVICE_STATUS: Final = "opentera.user_manager.device_status"
LOG: Final = "opentera.user_manager.log"
LOG_START: Final = "opentera.user_manager.log.start"

LOG_LENGTH: Final = 20_000
"""Messages kept in the log; a program that lags further behind applies messages again, in order."""

COMPARED_AT_ONCE: Final = 250
"""Identities compared by one script call."""

COMPARISONS: Final = 10
"""Attempts at a comparison that other messages interrupt."""

_EVENTS: Final = ("JOINED_SESSION", "LEFT_SESSION", "CONNECTED", "DISCONNECTED")
_TEMPLATES: Final = tuple(event(kind, what) for kind in topics.KINDS for what in _EVENTS)

# The last argument has the identities that were online, of those that the script concerns.
_READ_BEFORE: Final = """
    local last, held = #ARGV - 1, {}
    for who in ARGV[#ARGV]:gmatch('%S+') do held[who] = true end
    local function is_held(who) return held[who] end
"""

# Publish each event before its change: if Redis refuses the event, nothing has changed.
_CHANGES: Final = f"""
    local kinds = {{{", ".join(f"'{kind}'" for kind in topics.KINDS)}}}
    local templates = {{}}
    for i, kind in ipairs(kinds) do
        templates[kind] = {{ARGV[i * 4 - 3], ARGV[i * 4 - 2], ARGV[i * 4 - 1], ARGV[i * 4]}}
    end
    local JOINED, LEFT, CAME, WENT = 1, 2, 3, 4
    local function publish_event(kind, what, uuid)
        local text = templates[kind][what]
        local at = text:find('{NIL_UUID}', 1, true)
        publish('{EVENTS}', text:sub(1, at - 1) .. uuid .. text:sub(at + {len(NIL_UUID)}))
    end
    local apply = {{}}
    function apply.online(kind, uuid, report)
        local online = '{ONLINE}' .. kind
        if redis.call('HEXISTS', online, uuid) == 0 then
            if report then publish('{EVENTS}', report) else publish_event(kind, CAME, uuid) end
        end
        redis.call('HSET', online, uuid, is_held(kind .. '.' .. uuid) and 'gateway' or '')
    end
    function apply.offline(kind, uuid, report)
        if redis.call('HEXISTS', '{ONLINE}' .. kind, uuid) == 1 then
            if report then publish('{EVENTS}', report) else publish_event(kind, WENT, uuid) end
            redis.call('HDEL', '{ONLINE}' .. kind, uuid)
        end
        if kind == 'device' then redis.call('HDEL', '{DEVICE_STATUS}', uuid) end
    end
    function apply.join(kind, uuid, session)
        if redis.call('HEXISTS', '{BUSY}' .. kind, uuid) == 0 then
            publish_event(kind, JOINED, uuid)
            redis.call('HSET', '{BUSY}' .. kind, uuid, session)
        end
    end
    function apply.leave(kind, uuid, session)
        if redis.call('HGET', '{BUSY}' .. kind, uuid) == session then
            publish_event(kind, LEFT, uuid)
            redis.call('HDEL', '{BUSY}' .. kind, uuid)
        end
    end
    function apply.stop(_, session)
        for _, kind in ipairs(kinds) do
            local busy = redis.call('HGETALL', '{BUSY}' .. kind)
            for i = 1, #busy, 2 do
                if busy[i + 1] == session then apply.leave(kind, busy[i], session) end
            end
        end
    end
"""

_HELD: Final = Script(
    NOW
    + HOLDERS
    + """
    local held = {}
    for _, who in ipairs(ARGV) do
        if is_held(who) then held[#held + 1] = who end
    end
    return held
    """,
    PRESENCE,
)


@frozen
class _Changing:
    """A script that changes the registry.

    Attributes:
        single: the script on a single server, where it reads presence itself.
        cluster: the script on a cluster.
    """

    single: Script
    cluster: Script

    @classmethod
    def of(cls, text: str) -> _Changing:
        """Make both scripts of the part that they share."""
        return cls(
            Script(f"{PUBLISH}{HOLDERS}    local last = #ARGV\n{_CHANGES}{text}", USER_MANAGER),
            Script(f"{PUBLISH}{_READ_BEFORE}{_CHANGES}{text}", USER_MANAGER),
        )


_APPLY: Final = _Changing.of(
    f"""
    local start = tonumber(redis.call('GET', KEYS[2]) or nil)
    local length = redis.call('LLEN', KEYS[1])
    if not start then
        redis.call('DEL', KEYS[1])
        start, length = clock[1] * 1000000 + clock[2], 0
        redis.call('SET', KEYS[2], string.format('%.0f', start))
    end
    local next_arg = 13
    local function argument()
        next_arg = next_arg + 1
        return ARGV[next_arg - 1]
    end
    local cursor = tonumber(argument())
    if cursor < start or cursor > start + length then cursor = start end
    local function behind(fingerprint)
        local at, size = cursor - start, 4
        while at < length do
            for i, one in ipairs(redis.call('LRANGE', KEYS[1], at, at + size - 1)) do
                if one == fingerprint then return start + at + i end
            end
            at, size = at + size, math.min(size * 2, 1024)
        end
    end
    while next_arg <= last do
        local fingerprint, count = argument(), tonumber(argument())
        local found = behind(fingerprint)
        for _ = 1, count do
            local what, kind, uuid, detail = argument(), argument(), argument(), argument()
            if not found then apply[what](kind, uuid, detail) end
        end
        if found then
            cursor = found
        else
            length = redis.call('RPUSH', KEYS[1], fingerprint)
            cursor = start + length
        end
    end
    if length > {LOG_LENGTH} then
        redis.call('SET', KEYS[2], string.format('%.0f', start + length - {LOG_LENGTH}))
        redis.call('LTRIM', KEYS[1], length - {LOG_LENGTH}, -1)
    end
    local reply = {{cursor}}
    for i, kind in ipairs(kinds) do
        local size = redis.pcall('HLEN', '{ONLINE}' .. kind)
        reply[i + 1] = type(size) == 'number' and size or 0
    end
    return reply
    """
)

_LOG_END: Final = """
    local function log_end()
        return (tonumber(redis.call('GET', KEYS[2]) or nil) or 0) + redis.call('LLEN', KEYS[1])
    end
"""

_COMPARE: Final = _Changing.of(
    f"""
    {_LOG_END}
    if ARGV[13] ~= '' then
        if log_end() ~= tonumber(ARGV[13]) then return 0 end
    end
    for i = 14, last, 2 do
        local kind, uuid = ARGV[i], ARGV[i + 1]
        local is_open = is_held(kind .. '.' .. uuid)
        local known = redis.call('HGET', '{ONLINE}' .. kind, uuid)
        if is_open and known ~= 'gateway' then
            apply.online(kind, uuid)
        elseif known == 'gateway' and not is_open then
            apply.offline(kind, uuid)
        end
    end
    return 1
    """
)

_END: Final = Script(f"{_LOG_END}    return log_end()", USER_MANAGER)

_SET_DEVICE_STATUS: Final = Script(
    PUBLISH
    + f"""
    if redis.call('HEXISTS', '{ONLINE}device', ARGV[1]) == 0 then return 0 end
    if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
        publish('{EVENTS}', ARGV[3])
        redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
    end
    return 1
    """,
    USER_MANAGER,
)


class Registry:
    """Online and busy identities.

    All methods fail with `BusUnavailable`, `ConnectionLost` or `CommandFailed`.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._is_on_cluster = link.address.is_cluster
        self._sizes: list[int] = []  # number online by kind, at the last check

    def _key(self, name: str) -> str:
        return self._link.key(USER_MANAGER, name)

    async def end(self) -> int:
        """Return the current end of the log: the first cursor of a program that subscribes next."""
        end: int = await self._link.run(_END, [LOG, LOG_START])
        return end

    async def apply(self, cursor: int, messages: Iterable[tuple[bytes, Sequence[Change]]]) -> int:
        """Apply messages, except those that another program has applied.

        The operation is idempotent: after a lost reply, call it again.

        Args:
            cursor: this program's position in the log.
            messages: fingerprint and changes of each message, in order of arrival.

        Returns:
            The cursor of the next messages.
        """
        arguments: list[bytes | str | int] = [*_TEMPLATES, cursor]
        coming: list[str] = []
        for fingerprint, changes in messages:
            arguments += fingerprint, len(changes)
            for change in changes:
                arguments += change.what, change.kind, change.uuid, change.detail
                if change.what == "online":
                    coming.append(f"{change.kind}.{change.uuid}")
        behind: int
        behind, *self._sizes = await self._change(_APPLY, arguments, coming)
        return behind

    async def _change(
        self, script: _Changing, arguments: Sequence[Argument], concerned: Sequence[str]
    ) -> Any:
        """Run a script; on a cluster, read first which of the identities are online."""
        keys = [LOG, LOG_START]
        if not self._is_on_cluster:
            return await self._link.run(script.single, keys, *arguments)
        held = await self._link.run(_HELD, [GATEWAYS], *concerned) if concerned else ()
        return await self._link.run(script.cluster, keys, *arguments, b" ".join(held))

    async def compare(self, everyone: dict[Kind, list[str]]) -> bool:
        """Correct the registry after missed messages, by the clients of this package's gateways.

        Args:
            everyone: UUIDs online at these gateways; the script checks each difference again.

        Returns:
            False if other changes interfered; compare again.
        """
        doubtful: list[tuple[Kind, str]] = []
        for kind, uuids in everyone.items():
            known = _by_uuid(await self._link.execute("HGETALL", self._key(ONLINE + kind)))
            ours = {uuid for uuid, mark in known.items() if mark == "gateway"}
            doubtful += [(kind, uuid) for uuid in ours.symmetric_difference(uuids)]
        for start in range(0, len(doubtful), COMPARED_AT_ONCE):
            if not await self._compare(doubtful[start : start + COMPARED_AT_ONCE]):
                return False
        return True

    async def _compare(self, doubtful: Sequence[tuple[Kind, str]]) -> bool:
        concerned = [f"{kind}.{uuid}" for kind, uuid in doubtful]
        for _ in range(COMPARISONS):
            end = await self.end() if self._is_on_cluster else ""
            arguments = [*_TEMPLATES, end, *chain.from_iterable(doubtful)]
            if await self._change(_COMPARE, arguments, concerned):
                return True
        return False

    async def has_shrunk(self) -> bool:
        """Return True if fewer are online than after the last messages or the last check."""
        lengths = [self._link.execute("HLEN", self._key(ONLINE + kind)) for kind in topics.KINDS]
        sizes = await gathered(lengths)
        before, self._sizes = self._sizes, sizes  # after the replies to earlier messages
        return any(now < then for now, then in zip(sizes, before, strict=False))

    async def online(self, kind: Kind) -> list[str]:
        """Return the sorted UUIDs of online identities."""
        return sorted(await self._uuids(ONLINE + kind))

    async def busy(self, kind: Kind) -> dict[str, str]:
        """Return the UUIDs of busy identities, each with the UUID of its session."""
        return _by_uuid(await self._link.execute("HGETALL", self._key(BUSY + kind)))

    async def status(self, kind: Kind) -> dict[str, dict[str, Any]]:
        """Return the flags ``online`` and ``busy`` of identities with at least one of them."""
        names = (ONLINE + kind, BUSY + kind)
        online, busy = await gathered(Deferred.fromCoroutine(self._uuids(name)) for name in names)
        return {
            uuid: {"online": uuid in online, "busy": uuid in busy} for uuid in sorted(online | busy)
        }

    async def device_statuses(self) -> dict[str, Any]:
        """Return the latest statuses of online devices, by UUID."""
        stored = _by_uuid(await self._link.execute("HGETALL", self._key(DEVICE_STATUS)))
        return {uuid: _status(text) for uuid, text in stored.items()}

    async def _uuids(self, name: str) -> set[str]:
        """Return the UUIDs among the fields of a hash."""
        fields: Sequence[bytes] = await self._link.execute("HKEYS", self._key(name))
        return set(filter(is_uuid, map(topics.decode, fields)))

    async def set_device_status(self, uuid: str, status: str, timestamp: float) -> bool:
        """Store a device's status and publish a change.

        Returns:
            True if the device is online; otherwise nothing was stored.
        """
        text = json.dumps({"status": status, "timestamp": timestamp})
        report = event("device", "STATUS_CHANGED", uuid, device_status=text)
        return bool(await self._link.run(_SET_DEVICE_STATUS, [DEVICE_STATUS], uuid, text, report))


def fingerprint(payload: bytes) -> bytes:
    """Return the hash that represents a message in the log."""
    return hashlib.blake2b(payload, digest_size=16).digest()


def _by_uuid(reply: Sequence[bytes]) -> dict[str, str]:
    """Return the fields of a hash that are UUIDs, with their values; others are foreign."""
    texts = list(map(topics.decode, reply))
    pairs = zip(texts[::2], texts[1::2], strict=True)
    return {field: value for field, value in pairs if is_uuid(field)}


def _status(text: str) -> Any:
    """Read a device's status; None for a foreign value."""
    try:
        return strict(json.loads(text))
    except (ValueError, RecursionError):
        return None
