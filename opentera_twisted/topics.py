"""Topic names (Redis pub/sub channels): construction, parsing and pattern matching.

    module.<name>.messages    module.<name>.events[.<subtopic>]    module.<name>.rpc
    service.<key>.messages    service.<key>.events[.<subtopic>]    service.<key>.rpc
    websocket.<kind>.<uuid>.events

Names may contain dots (``TeraServer.UserManagerModule``). No part of a name may be the word
``events``, so that a topic can be read in one way only.

Source: docs/reference/topics.md.
"""

from __future__ import annotations

import re
from typing import Final, Literal, get_args

from attrs import frozen

from opentera_twisted.errors import InvalidTopic

Kind = Literal["user", "participant", "device"]
"""Kind of identity that owns a websocket.

Example:
    >>> import typing
    >>> typing.get_args(Kind)
    ('user', 'participant', 'device')
"""

Owner = Literal["module", "service", "websocket"]
Channel = Literal["messages", "events", "rpc"]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

USER_MANAGER_MODULE: Final = "TeraServer.UserManagerModule"
TWISTED_MODULE: Final = "TeraServer.TwistedModule"
DATABASE_MODULE: Final = "TeraServer.DatabaseModule"

REPLY_CHANNELS: Final = "RedisRPCClient."
"""Prefix of the topics on which callers receive replies; existing OpenTera programs use it too."""

RECOVERY: Final = "opentera.recovery."
"""Prefix of the keys and topics with which gateways hand over clients; their names are secrets."""

OWNERS: Final = ("module.", "service.", "websocket.")
"""Prefixes of the topics of the naming convention, without pattern characters."""

# The name match is the shortest one: it ends before the first part that is the word ``events``.
_TOPIC = re.compile(
    r"websocket\.(?P<client>(?:user|participant|device)\..+)\.events"
    r"|(?P<owner>module|service)\.(?P<name>.+?)\."
    r"(?:(?P<channel>messages|rpc)|events(?:\.(?P<subtopic>.+))?)",
    re.DOTALL,
)
# Pattern characters are excluded because existing OpenTera programs subscribe with PSUBSCRIBE.
# Spaces are allowed because some names contain them.
_UNFIT = re.compile(r"[^\S ]|[\x00-\x1f\x7f*?\[\]\\\ud800-\udfff]")


@frozen
class Topic:
    """A parsed topic; ``str(topic)`` is its name in Redis.

    Attributes:
        owner: kind of the topic's owner.
        name: name of the module, key or UUID of the service, or ``<kind>.<uuid>`` of the websocket.
        channel: kind of message that the topic carries.
        subtopic: parts after ``events``, or None.

    Example:
        >>> str(Topic("service", "Bell", "events", "door"))
        'service.Bell.events.door'
    """

    owner: Owner
    name: str
    channel: Channel
    subtopic: str | None = None

    def __str__(self) -> str:
        base = f"{self.owner}.{self.name}.{self.channel}"
        return base if self.subtopic is None else f"{base}.{self.subtopic}"


def parse(topic: str) -> Topic:
    """Parse a topic name.

    Raises:
        InvalidTopic: the name does not follow the naming convention.

    Example:
        >>> parse("service.Bell.events.door").subtopic
        'door'
    """
    found = _TOPIC.fullmatch(topic)
    if not found:
        raise InvalidTopic(
            f"{topic!r} is not a topic; expected module.<name>, service.<key> or "
            "websocket.<user|participant|device>.<uuid>, then .messages, .events or .rpc"
        )
    if found["client"]:
        return Topic("websocket", _name(found["client"]), "events")
    owner: Owner = "module" if found["owner"] == "module" else "service"
    name = _name(found["name"])
    if found["channel"]:
        return Topic(owner, name, "rpc" if found["channel"] == "rpc" else "messages")
    return Topic(owner, name, "events", found["subtopic"] and _subtopic(found["subtopic"]))


def module_messages(name: str) -> str:
    """Return the topic of the messages to the module ``name``.

    Example:
        >>> module_messages("TeraServer.UserManagerModule")
        'module.TeraServer.UserManagerModule.messages'
    """
    return f"module.{_bare(name, 'module')}.messages"


def module_events(name: str, subtopic: str | None = None) -> str:
    """Return the topic of the events of the module ``name``, or of one of its subtopics.

    Example:
        >>> module_events("TeraServer.UserManagerModule")
        'module.TeraServer.UserManagerModule.events'
    """
    return _events("module", name, subtopic)


def module_rpc(name: str) -> str:
    """Return the topic of the requests to the module ``name``.

    Example:
        >>> module_rpc("TeraServer.UserManagerModule")
        'module.TeraServer.UserManagerModule.rpc'
    """
    return f"module.{_bare(name, 'module')}.rpc"


def service_messages(key: str) -> str:
    """Return the topic of the messages to a service; ``key`` is its key or UUID.

    Example:
        >>> service_messages("Bell")
        'service.Bell.messages'
    """
    return f"service.{_bare(key, 'service')}.messages"


def service_events(key: str, subtopic: str | None = None) -> str:
    """Return the topic of the events of the service ``key``, or of one of its subtopics.

    Example:
        >>> service_events("Bell", "door")
        'service.Bell.events.door'
    """
    return _events("service", key, subtopic)


def service_rpc(key: str) -> str:
    """Return the topic of the requests to a service; ``key`` is its key or UUID.

    Example:
        >>> service_rpc("Bell")
        'service.Bell.rpc'
    """
    return f"service.{_bare(key, 'service')}.rpc"


def websocket_events(kind: Kind, uuid: str) -> str:
    """Return the topic of the events for the websockets of one user, participant or device.

    Example:
        >>> websocket_events("user", "11111111-2222-3333-4444-555555555555")
        'websocket.user.11111111-2222-3333-4444-555555555555.events'
    """
    if kind not in KINDS:
        raise InvalidTopic(f"{kind!r} is not a kind of client; expected one of {', '.join(KINDS)}")
    return f"websocket.{kind}.{_name(uuid)}.events"


GATEWAY_SERVICE: Final = "OpenTeraGateway"
"""Key of the service by which gateways tell operators about themselves."""


def disconnect_command(uuid: str) -> str:
    """Return the topic of the command that closes the websockets of ``uuid``.

    Example:
        >>> disconnect_command("11111111-2222-3333-4444-555555555555")
        'module.TeraServer.TwistedModule.events.11111111-2222-3333-4444-555555555555'
    """
    return f"{module_events(TWISTED_MODULE)}.{_subtopic(uuid)}"


def disconnect_commands(uuid: str) -> tuple[str, ...]:
    """Return the topics of the disconnect command that reach each spelling of ``uuid``.

    Gateways of this package follow the UUID in lower case, existing ones only as their client's
    key spells it.

    Returns:
        The topic of the UUID in lower case, and that of the UUID as it is; one if both are equal.

    Example:
        >>> disconnect_commands("11111111-2222-3333-4444-555555555555")
        ('module.TeraServer.TwistedModule.events.11111111-2222-3333-4444-555555555555',)
    """
    as_given = disconnect_command(uuid)
    lower = disconnect_command(uuid.lower())
    return (lower,) if lower == as_given else (lower, as_given)


def rpc_of(server: str) -> str:
    """Return the topic of the requests to ``service.<key>`` or ``module.<name>``.

    Example:
        >>> rpc_of("service.Bell")
        'service.Bell.rpc'
    """
    owner, _, name = server.removesuffix(".rpc").partition(".")
    if owner == "service":
        return service_rpc(name)
    if owner == "module":
        return module_rpc(name)
    raise InvalidTopic(f"{server!r} is not a server; expected service.KEY or module.NAME")


def encode(topic: str) -> bytes:
    """Encode the name of any topic.

    Raises:
        InvalidTopic: it is empty, not a string, or cannot be encoded in UTF-8.

    Example:
        >>> encode("service.Bell.events")
        b'service.Bell.events'
    """
    if not isinstance(topic, str) or not topic:
        raise InvalidTopic(f"a topic must be a non-empty string, not {topic!r}")
    try:
        return topic.encode()
    except UnicodeEncodeError:
        raise InvalidTopic(f"a topic must be valid UTF-8 text, not {topic!r}") from None


def decode(topic: bytes) -> str:
    """Decode a topic name from Redis; bytes outside UTF-8 become surrogates.

    Example:
        >>> decode(b"service.Bell.events")
        'service.Bell.events'
    """
    return topic.decode(errors="surrogateescape")


def is_pattern(text: str) -> bool:
    """Return True for a Redis pattern, False for the name of a single topic.

    Example:
        >>> is_pattern("service.*.events"), is_pattern("service.Bell.events")
        (True, False)
    """
    return any(character in text for character in "*?[\\")


def compile_pattern(pattern: bytes) -> re.Pattern[bytes]:
    """Compile a Redis pattern to a regular expression for a whole topic.

    Matching takes time linear in both lengths, whatever the number of ``*``. It searches the text
    between two of them once, from the left, without backtracking.

    Example:
        >>> bool(compile_pattern(b"service.*.events").fullmatch(b"service.Bell.events"))
        True

    Source: Redis's ``stringmatchlen``.
    """
    at, part = 0, b""
    parts = [part]
    while at < len(pattern):
        byte = pattern[at : at + 1]
        at += 1
        if byte == b"*":
            parts.append(b"")
            continue
        if byte == b"?":
            part = b"."
        elif byte == b"[":
            part, at = _set(pattern, at)
        else:
            if byte == b"\\" and at < len(pattern):
                byte = pattern[at : at + 1]
                at += 1
            part = re.escape(byte)
        parts[-1] += part
    first, *between = parts
    last = between.pop() if between else None
    text = first + b"".join(b"(?>.*?%b)" % literal for literal in between if literal)
    return re.compile(text if last is None else text + b".*" + last, re.DOTALL)


def _set(text: bytes, at: int) -> tuple[bytes, int]:
    """Compile the set after ``[`` and return its end; an unclosed set ends the pattern."""
    negated = text[at : at + 1] == b"^"
    at += negated
    allowed: set[int] = set()
    while at < len(text) and text[at] != ord("]"):
        if text[at] == ord("\\") and at + 1 < len(text):
            at += 1
            allowed.add(text[at])
            at += 1
        elif text[at + 1 : at + 2] == b"-" and at + 2 < len(text):
            low, high = sorted((text[at], text[at + 2]))
            allowed.update(range(low, high + 1))
            at += 3
        else:
            allowed.add(text[at])
            at += 1
    at += 1
    if negated:
        allowed = set(range(256)) - allowed
    if not allowed:
        return b"(?!)", at
    return b"[" + b"".join(b"\\x%02x" % byte for byte in sorted(allowed)) + b"]", at


def _events(owner: Owner, name: str, subtopic: str | None) -> str:
    base = f"{owner}.{_bare(name, owner)}.events"
    return base if subtopic is None else f"{base}.{_subtopic(subtopic)}"


def _bare(name: str, owner: Owner) -> str:
    """Reject a name that already has a prefix, which would occur twice in the topic."""
    prefix, _, rest = _name(name).partition(".")
    if prefix in {"module", "service"} and rest:
        if prefix != owner:
            raise InvalidTopic(f"{name!r} is a {prefix}; expected the name of a {owner}")
        raise InvalidTopic(
            f"{name!r} includes the prefix of a {owner}; expected the name alone, "
            f"{rest.removesuffix('.rpc')!r}"
        )
    return name


def _name(name: str) -> str:
    parts = _fit(name, "name").split(".")
    if "" in parts or "events" in parts:
        raise InvalidTopic(
            f"{name!r} cannot be a name in a topic: its parts must not be empty or 'events'"
        )
    return name


def _subtopic(subtopic: str) -> str:
    if "" in _fit(subtopic, "subtopic").split("."):
        raise InvalidTopic(f"{subtopic!r} cannot be a subtopic: its parts must not be empty")
    return subtopic


def _fit(text: str, what: str) -> str:
    if not isinstance(text, str) or not text:
        raise InvalidTopic(f"a {what} in a topic must be a non-empty string, not {text!r}")
    unfit = _UNFIT.search(text)
    if unfit:
        raise InvalidTopic(
            f"{text!r} cannot be a {what} in a topic: it contains the character {unfit.group()!r}"
        )
    return text
