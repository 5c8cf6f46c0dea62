"""ACL rights of the URL's user, queried without using them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Final
from uuid import uuid4

from attrs import evolve, frozen

from opentera_twisted import topics
from opentera_twisted.errors import CommandFailed, PermissionDenied
from opentera_twisted.holders import GATEWAYS, HELD, OWED, REAPED, REPORTS
from opentera_twisted.link import Link, RedisAddress, Script, is_always_sharded
from opentera_twisted.program.redis_checks.finding import Finding, Verdict
from opentera_twisted.revocation import TOPICS as REVOCATIONS
from opentera_twisted.user_manager.registry import BUSY, LOG, ONLINE

# Source: Redis documentation of redis.acl_check_cmd, which Redis 7 and Valkey have.
_ALLOWED: Final = Script(
    """
    if not redis.acl_check_cmd then return redis.error_reply('ERR too old') end
    local allowed = {}
    for i, command in ipairs(ARGV) do
        local known, is_allowed = pcall(redis.acl_check_cmd, unpack(cjson.decode(command)))
        allowed[i] = (not known or is_allowed) and 1 or 0
    end
    return allowed
    """
)

_UUID: Final = str(uuid4())
_EXISTING_KEY: Final = "0" * 128
_EXISTING_RULE: Final = f"~{'?' * 128}"
_DISCONNECT_RULE: Final = f"&{topics.disconnect_command(_UUID).removesuffix(_UUID)}*"


@frozen
class Right:
    """A command that must be allowed.

    Attributes:
        command: command with unused names as arguments.
        rules: ACL rules that allow it.
    """

    command: tuple[str, ...]
    rules: str


@frozen
class Purpose:
    """A feature and the rights that it needs.

    Attributes:
        what: name, for people.
        without: verdict if a right is missing.
        rights: all rights that it needs.
    """

    what: str
    without: Verdict
    rights: tuple[Right, ...]


def purposes(database: int) -> Iterator[Purpose]:
    """List the features of programs with a bus; a gateway needs those that are ``wrong`` without.

    Args:
        database: number of Redis's database.
    """
    select = [_plain("SELECT", str(database))] if database else []
    yield Purpose(
        "the link",
        "warning",
        (*select, _plain("PING"), _client("SETNAME", "x"), _client("ID"), _plain("INFO", "stats")),
    )
    yield Purpose("logging in", "wrong", tuple(_logging_in()))
    yield Purpose(
        "session keys of existing programs",
        "warning",
        tuple(_key(command, _EXISTING_KEY, _EXISTING_RULE) for command in ("GET", "DEL")),
    )
    yield Purpose("events of websockets", "wrong", tuple(_events()))
    yield Purpose("presence", "wrong", tuple(_presence()))
    yield Purpose("recovery of missed events", "warning", tuple(_recovery()))
    yield Purpose("presence at other gateways", "warning", tuple(_presence_elsewhere()))
    yield Purpose("the user manager", "warning", tuple(_user_manager()))
    yield Purpose(
        "calls",
        "warning",
        (
            _subscribe(f"{topics.REPLY_CHANNELS}{_UUID}", f"&{topics.REPLY_CHANNELS}*"),
            _publish(topics.module_rpc(topics.USER_MANAGER_MODULE), "&module.*"),
            _publish(topics.service_rpc(_UUID), "&service.*"),
        ),
    )
    yield Purpose(
        "answering calls",
        "warning",
        (
            _subscribe(topics.service_rpc(_UUID), "&service.*"),
            _publish(f"{topics.REPLY_CHANNELS}{_UUID}", f"&{topics.REPLY_CHANNELS}*"),
            Right(("SET", f"opentera.claim.{_UUID}", "", "NX"), "+set ~opentera.*"),
        ),
    )
    yield Purpose(
        "watching variables",
        "warning",
        (
            _client("TRACKING", "ON"),
            _client("CACHING", "YES"),
            _key("GET", f"service.{_UUID}", "~service.*"),
            _subscribe("__redis__:invalidate"),
        ),
    )
    yield Purpose(
        "listing servers",
        "warning",
        (
            Right(("PUBSUB", "CHANNELS", "*.rpc"), "+pubsub|channels"),
            Right(("PUBSUB", "NUMPAT"), "+pubsub|numpat"),
            _plain("SCAN", "0"),
        ),
    )


def _logging_in() -> Iterator[Right]:
    for kind in topics.KINDS:
        key = f"{kind}.{'0' * 43}"
        yield Right(("EVALSHA", "0" * 40, "1", key), f"+evalsha ~{kind}.*")
        yield Right(("EVAL", "", "1", key), f"+eval ~{kind}.*")
        for command in ("TYPE", "PTTL", "STRLEN", "GET", "DEL"):
            yield _key(command, key, f"~{kind}.*")
        yield Right(("SET", key, "", "PX", "1", "NX"), f"+set ~{kind}.*")


def _events() -> Iterator[Right]:
    for kind in topics.KINDS:
        yield _subscribe(topics.websocket_events(kind, _UUID), f"&websocket.{kind}.*")
    yield _subscribe(topics.disconnect_command(_UUID), _DISCONNECT_RULE)
    yield _subscribe(topics.module_events(topics.USER_MANAGER_MODULE))
    yield _subscribe(topics.service_events("FileTransferService"))
    for topic in REVOCATIONS:
        yield _subscribe(topic)
    yield _plain("UNSUBSCRIBE")


def _presence() -> Iterator[Right]:
    yield Right(("EVAL", "", "1", GATEWAYS), "+eval ~opentera.*")
    yield Right(("EVALSHA", "0" * 40, "1", GATEWAYS), "+evalsha ~opentera.*")
    yield _plain("TIME")
    for command, *arguments in (
        ("ZADD", "0", "m"),
        ("ZSCORE", "m"),
        ("ZREM", "m"),
        ("ZRANGE", "0", "-1"),
        ("ZRANGEBYSCORE", "0", "1"),
    ):
        yield _key(command, GATEWAYS, "~opentera.*", *arguments)
    held = HELD + _UUID
    for command, *arguments in (
        ("HGET", "f"),
        ("HSET", "f", "v"),
        ("HDEL", "f"),
        ("HEXISTS", "f"),
        ("HKEYS",),
        ("HSCAN", "0"),
        ("TYPE",),
        ("EXISTS",),
    ):
        yield _key(command, held, "~opentera.*", *arguments)
    yield _key("SET", REAPED + _UUID, "~opentera.*", "", "EX", "1")
    yield _key("DEL", REAPED + _UUID, "~opentera.*")
    yield _publish(REPORTS)
    yield _publish(topics.disconnect_command(_UUID), _DISCONNECT_RULE)


def _recovery() -> Iterator[Right]:
    name, rule = f"opentera.recovery.{_UUID}", "opentera.recovery.*"
    for command, *arguments in (
        ("GET",),
        ("SET", "", "PX", "1"),
        ("DEL",),
        ("PEXPIRE", "1"),
        ("ZADD", "0", "m"),
    ):
        yield _key(command, name, f"~{rule}", *arguments)
    yield _subscribe(name, f"&{rule}")
    yield _publish(name, f"&{rule}")


def _presence_elsewhere() -> Iterator[Right]:
    """Find keys that Redis lost, clients at existing gateways, and a module that listens again."""
    yield _key("HLEN", HELD + _UUID, "~opentera.*")
    yield _key("ZCARD", GATEWAYS, "~opentera.*")
    yield _key("PEXPIRE", OWED, "~opentera.*", "1")
    yield Right(("PUBSUB", "NUMSUB", REPORTS), "+pubsub|numsub")
    yield Right(("PUBSUB", "NUMPAT"), "+pubsub|numpat")
    yield _publish(topics.module_events("TeraServer.Nobody"))
    yield _publish(topics.websocket_events("user", _UUID), "&websocket.*.events")


def _user_manager() -> Iterator[Right]:
    yield _subscribe(REPORTS)
    yield _subscribe(topics.module_rpc(topics.USER_MANAGER_MODULE))
    yield _publish(topics.module_events(topics.USER_MANAGER_MODULE))
    yield _key("HGETALL", BUSY + "user", "~opentera.*")
    yield _key("HLEN", ONLINE + "user", "~opentera.*")
    for command, *arguments in (
        ("LLEN",),
        ("LRANGE", "0", "1"),
        ("RPUSH", ""),
        ("LTRIM", "0", "1"),
    ):
        yield _key(command, LOG, "~opentera.*", *arguments)


def _plain(name: str, *arguments: str) -> Right:
    return Right((name, *arguments), f"+{name.lower()}")


def _client(subcommand: str, *arguments: str) -> Right:
    return Right(("CLIENT", subcommand, *arguments), f"+client|{subcommand.lower()}")


def _key(command: str, key: str, rule: str, *arguments: str) -> Right:
    return Right((command, key, *arguments), f"+{command.lower()} {rule}")


def _subscribe(topic: str, rule: str | None = None) -> Right:
    return Right(("SUBSCRIBE", topic), f"+subscribe {rule or f'&{topic}'}")


def _publish(topic: str, rule: str | None = None) -> Right:
    return Right(("PUBLISH", topic, ""), f"+publish {rule or f'&{topic}'}")


async def rights(link: Link, address: RedisAddress) -> Sequence[Finding]:
    """Check the rights for each feature, or report that Redis cannot check them.

    Args:
        link: link to the server, or to one node of a cluster.
        address: address of the server, or of the cluster.
    """
    needed = list(purposes(address.database))
    if address.is_cluster:
        needed = [_on_cluster(purpose, address) for purpose in needed]
    commands = [json.dumps(right.command) for purpose in needed for right in purpose.rights]
    try:
        allowed = await link.run(_ALLOWED, [], *commands)
        user = await _user(link)
    except PermissionDenied as error:
        reason = f"{error}; logins and this check need scripts"
        return [
            Finding("rights", "wrong", reason, f"ACL SETUSER {await _user(link)} +eval +evalsha")
        ]
    except CommandFailed as error:
        reason = "Redis checks rights from version 7 on"
        if error.code == "READONLY":
            reason = "a replica does not run the check"
        return [Finding("rights", "unknown", f"{reason} ({error})")]
    answers = iter(allowed)
    return [
        judge(purpose, [right for right in purpose.rights if not next(answers)], user)
        for purpose in needed
    ]


_SHARDED: Final = {
    "PUBLISH": "SPUBLISH",
    "SUBSCRIBE": "SSUBSCRIBE",
    "UNSUBSCRIBE": "SUNSUBSCRIBE",
    "CHANNELS": "SHARDCHANNELS",
    "NUMSUB": "SHARDNUMSUB",
}
"""Commands of a single server, and those that take their place on a cluster."""


_SLOT: Final = Right(("SSUBSCRIBE", "opentera.slot.{}"), "+ssubscribe &opentera.slot.*")
"""Right to learn from a node that a slot has moved."""


def _on_cluster(purpose: Purpose, address: RedisAddress) -> Purpose:
    """Return a feature with the rights that it needs on a cluster."""
    rights = [
        _sharded(right) if _is_sharded(right, address) else right
        for right in purpose.rights
        if "NUMPAT" not in right.command
    ]
    if purpose.what == "the link":
        rights.append(Right(("CLUSTER", "SLOTS"), "+cluster|slots"))
        rights.append(Right(("CLUSTER", "INFO"), "+cluster|info"))
        rights.append(Right(("ROLE",), "+role"))
    if purpose.what == ("the link" if address.is_classic else "watching variables"):
        rights.append(_SLOT)
    return evolve(purpose, rights=tuple(rights))


def _is_sharded(right: Right, address: RedisAddress) -> bool:
    topic = right.command[1] if len(right.command) > 1 else ""
    if topic == "__redis__:invalidate":
        return False
    return not address.is_classic or "CHANNELS" in right.command or is_always_sharded(topic)


def _sharded(right: Right) -> Right:
    command = tuple(_SHARDED.get(word, word) for word in right.command)
    rules = right.rules
    for before, after in zip(right.command, command, strict=True):
        if before != after:
            for sign in "+|":
                rules = rules.replace(sign + before.lower(), sign + after.lower())
    return Right(command, rules)


async def _user(link: Link) -> str:
    try:
        name: bytes = await link.execute("ACL", "WHOAMI")
    except CommandFailed:
        return link.address.login.username or "default"
    return name.decode(errors="replace")


def judge(purpose: Purpose, lacking: Sequence[Right], user: str) -> Finding:
    """Judge the rights for one feature.

    Args:
        purpose: feature.
        lacking: its rights that the user does not have.
        user: name of the user in Redis.
    """
    check = f"rights: {purpose.what}"
    if not lacking:
        return Finding(check, "ok", f"{user} may do all of it")
    shown = ", ".join(" ".join(_words(right)) for right in lacking)
    rules = " ".join(dict.fromkeys(rule for right in lacking for rule in right.rules.split()))
    remedy = f"ACL SETUSER {user} {rules}"
    return Finding(check, purpose.without, f"{user} may not {shown}", remedy)


def _words(right: Right) -> Sequence[str]:
    """Describe a right by its command and the names in its rules."""
    command, *names = right.rules.split()
    shown = ("(128 digits)" if name == _EXISTING_RULE else name[1:] for name in names)
    return [command[1:].upper().replace("|", " "), *shown]
