"""Checks of Redis itself: version, role, memory, eviction, output buffer, persistence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from opentera_twisted.program.open_files import clients_within
from opentera_twisted.program.redis_checks.finding import Finding, Verdict

OLDEST: Final = (6, 2)
"""Oldest supported version: the bus needs client tracking, channel rights, exclusive ranges."""

SMALL_BUFFER: Final = 8 * 1024**2
"""Bytes of output buffer that a burst of events may need."""

TINY_BUFFER: Final = 1024**2
"""Bytes of output buffer that one large message or a short pause of the reader may fill."""

ALL_STRINGS: Final = 1024**3
"""``min-string-size-avoid-copy-reply`` in bytes that exceeds any published payload."""

FULL: Final = 0.9
"""Share of ``maxmemory`` from which memory is short."""

MANY_CLIENTS: Final = 10_000
"""Default limit of a gateway's clients."""

Facts = Mapping[str, str]


def examine(info: Facts, config: Facts) -> Iterator[Finding]:
    """Run all checks of the server itself.

    Args:
        info: fields of INFO.
        config: settings from CONFIG GET, without those that Redis refuses to show.
    """
    yield version(info)
    yield role(info)
    yield eviction(info)
    yield memory(info)
    yield output_buffer(info, config)
    if "min-string-size-avoid-copy-reply" in config:
        yield uncounted_payloads(config)
    yield persistence(info, config)


def version(info: Facts) -> Finding:
    """Check that the version is supported."""
    text = info["redis_version"]
    name = info.get("server_name", "redis").capitalize()
    # Valkey reports here the version of Redis with which it is compatible.
    number = tuple(int(part) for part in text.split(".")[:2])
    shown = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"{name} {text}"
    if number < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        remedy = f"use Redis {oldest} or later, or Valkey"
        return Finding("version", "wrong", f"{shown} is older than {oldest}", remedy)
    return Finding("version", "ok", shown)


def role(info: Facts) -> Finding:
    """Check that the server accepts writes."""
    if info.get("role") == "master":
        return Finding("role", "ok", f"primary, {info.get('connected_slaves', '0')} replicas")
    where = f"{info.get('master_host', '?')}:{info.get('master_port', '?')}"
    link = info.get("master_link_status", "unknown")
    return Finding(
        "role",
        "wrong",
        f"a replica of {where} (link {link}): it refuses session keys and every other write",
        f"use the primary, redis://{where}, or sentinels, redis+sentinel://HOST:26379/PRIMARY",
    )


def eviction(info: Facts) -> Finding:
    """Check that Redis does not delete keys before they expire."""
    policy = info.get("maxmemory_policy", "noeviction")
    limited = int(info.get("maxmemory", "0")) > 0
    remedy = "CONFIG SET maxmemory-policy noeviction, also in redis.conf"
    if policy == "noeviction":
        return Finding("eviction", "ok", "noeviction: Redis deletes nothing to make room")
    if policy.startswith("volatile"):
        what = f"{policy} may delete session keys before they expire"
    else:
        what = f"{policy} may delete any variable: token secrets, session keys, presence"
    if not limited:
        later = f"{what} once maxmemory is set; now there is no limit"
        return Finding("eviction", "warning", later, remedy)
    verdict: Verdict = "warning" if policy.startswith("volatile") else "wrong"
    return Finding("eviction", verdict, what, remedy)


def memory(info: Facts) -> Finding:
    """Check that memory is free."""
    used, limit = int(info.get("used_memory", "0")), int(info.get("maxmemory", "0"))
    if not limit:
        return Finding("memory", "ok", f"{_size(used)} used, no limit")
    reason = f"{_size(used)} of {_size(limit)} used"
    if used < FULL * limit:
        return Finding("memory", "ok", reason)
    verdict: Verdict = "wrong" if used >= limit else "warning"
    return Finding("memory", verdict, reason, "raise maxmemory, or delete unneeded keys")


def output_buffer(info: Facts, config: Facts) -> Finding:
    """Check that a subscriber survives a burst and Redis closes a stuck one."""
    check = "output buffer"
    setting = config.get("client-output-buffer-limit")
    closed = int(info.get("client_output_buffer_limit_disconnections", "0"))
    since = f"; Redis has closed {closed} connections over it since its start" if closed else ""
    if setting is None:
        reason = f"Redis does not show client-output-buffer-limit{since}"
        verdict: Verdict = "warning" if closed else "unknown"
        return Finding(check, verdict, reason, "give the user +config|get, or check redis.conf")
    words = setting.split()
    at = words.index("pubsub")
    hard, soft, seconds = map(int, words[at + 1 : at + 4])
    remedy = (
        'CONFIG SET client-output-buffer-limit "pubsub 33554432 8388608 60", also in redis.conf'
    )
    limits = [limit for limit in (hard, soft) if limit]
    if not limits:
        reason = f"pub/sub has no limit: a stuck subscriber fills Redis's memory{since}"
        return Finding(check, "warning", reason, remedy)
    parts = []
    if hard:
        parts.append(f"at {_size(hard)}")
    if soft:
        parts.append(f"at {_size(soft)} for {seconds} s")
    reason = f"Redis closes a subscriber {' or '.join(parts)}{since}"
    if min(limits) < TINY_BUFFER:
        return Finding(check, "wrong", f"{reason}: one burst is enough to lose events", remedy)
    if (hard and hard < SMALL_BUFFER) or closed:
        return Finding(check, "warning", reason, remedy)
    return Finding(check, "ok", reason)


def uncounted_payloads(config: Facts) -> Finding:
    """Check that Valkey counts large payloads against the limit of the output buffer."""
    size = int(config["min-string-size-avoid-copy-reply"])
    check = "uncounted payloads"
    if size == 0 or size >= ALL_STRINGS:
        return Finding(check, "ok", "payloads of every size count towards the output buffer")
    return Finding(
        check,
        "warning",
        f"Valkey does not count payloads from {size:,} bytes on towards the output buffer: it "
        "never closes a stuck subscriber, which fills its memory",
        f"CONFIG SET min-string-size-avoid-copy-reply {ALL_STRINGS}",
    )


def persistence(info: Facts, config: Facts) -> Finding:
    """Check that Redis saves its data."""
    check = "persistence"
    remedy = "CONFIG SET appendonly yes, also in redis.conf"
    failed = [
        name
        for name in ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status")
        if info.get(name, "ok") != "ok"
    ]
    if failed:
        reason = f"saving failed ({', '.join(failed)}): Redis may refuse all writes (MISCONF)"
        return Finding(check, "wrong", reason, "check the space on its disk, and its log")
    if info.get("loading") == "1":
        return Finding(check, "warning", "Redis is loading its data", "wait")
    if info.get("aof_enabled") == "1":
        return Finding(check, "ok", "append-only file")
    if "save" not in config:
        reason = "no append-only file; Redis does not show its snapshot settings"
        return Finding(check, "unknown", reason, "give the user +config|get, or check redis.conf")
    if not config["save"]:
        reason = "Redis saves nothing: a restart loses token secrets and session keys"
        return Finding(check, "warning", reason, remedy)
    unsaved = info.get("rdb_changes_since_last_save", "?")
    reason = f"snapshots only (save {config['save']}); {unsaved} changes are not in the last one"
    return Finding(check, "ok", reason)


def _size(count: int) -> str:
    if count < 1024:
        return f"{count} B"
    if count < 1024**2:
        return f"{count / 1024:.1f} KiB"
    return f"{count / 1024**2:.1f} MiB"


def open_files(files: int) -> Finding:
    """Judge how many clients the limit of open files allows a gateway started from here."""
    clients = clients_within(files)
    reason = f"limit of {files} open files here: enough for {clients} clients of a gateway"
    if clients < MANY_CLIENTS:
        return Finding(
            "open files", "warning", reason, "raise ulimit -n, or LimitNOFILE= of systemd"
        )
    return Finding("open files", "ok", reason)
