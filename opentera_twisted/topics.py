"""Names of topics (Redis pub/sub channels): built from their parts, parsed back, fit to patterns.

    module.<name>.messages    module.<name>.events[.<subtopic>]    module.<name>.rpc
    service.<key>.messages    service.<key>.events[.<subtopic>]    service.<key>.rpc
    websocket.<kind>.<uuid>.events

Names may contain dots (``TeraServer.UserManagerModule``), but no part of a name is the word
``events``: so every topic has one reading.

Source: docs/reference/topics.md.
"""

from __future__ import annotations

import re
from typing import Final, Literal, get_args

from attrs import frozen

from opentera_twisted.errors import InvalidTopic

Kind = Literal["user", "participant", "device"]
"""Whom a websocket belongs to."""

Owner = Literal["module", "service", "websocket"]
Channel = Literal["messages", "events", "rpc"]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

USER_MANAGER_MODULE: Final = "TeraServer.UserManagerModule"
TWISTED_MODULE: Final = "TeraServer.TwistedModule"
DATABASE_MODULE: Final = "TeraServer.DatabaseModule"

REPLY_CHANNELS: Final = "RedisRPCClient."
"""Beginning of the channels on which callers get their replies, those of existing programs too."""

OWNERS: Final = ("module.", "service.", "websocket.")
"""Beginnings of the topics of the naming convention, without pattern characters."""

# The name is the shortest that fits: it ends before the first part that is the word ``events``.
_TOPIC = re.compile(
    r"websocket\.(?P<client>(?:user|participant|device)\..+)\.events"
    r"|(?P<owner>module|service)\.(?P<name>.+?)\."
    r"(?:(?P<channel>messages|rpc)|events(?:\.(?P<subtopic>.+))?)",
    re.DOTALL,
)
# Pattern characters are excluded because existing programs subscribe with PSUBSCRIBE.
# A space is none, and stands in the names of some.
_UNFIT = re.compile(r"[^\S ]|[\x00-\x1f\x7f*?\[\]\\\ud800-\udfff]")


@frozen
class Topic:
    """A topic in its parts; ``str(topic)`` is its name on Redis.

    Attributes:
        owner: what the topic belongs to.
        name: the module's name, the service's key or UUID, or ``<kind>.<uuid>`` of a websocket.
        channel: what it carries.
        subtopic: what follows ``events``, or None.
    """

    owner: Owner
    name: str
    channel: Channel
    subtopic: str | None = None

    def __str__(self) -> str:
        base = f"{self.owner}.{self.name}.{self.channel}"
        return base if self.subtopic is None else f"{base}.{self.subtopic}"


def parse(topic: str) -> Topic:
    """Take a topic's name apart.

    Raises:
        InvalidTopic: when it does not follow the naming convention.
    """
    found = _TOPIC.fullmatch(topic)
    if not found:
        raise InvalidTopic(
            f"{topic!r} is not a topic: expected module.<name>, service.<key> or "
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
    """Topic of the messages that the module ``name`` receives."""
    return f"module.{_bare(name)}.messages"


def module_events(name: str, subtopic: str | None = None) -> str:
    """Topic of the events that the module ``name`` publishes, or of one subtopic of them."""
    return _events("module", name, subtopic)


def module_rpc(name: str) -> str:
    """Topic on which the module ``name`` is called."""
    return f"module.{_bare(name)}.rpc"


def service_messages(key: str) -> str:
    """Topic of the messages that a service receives; ``key`` is its key or its UUID."""
    return f"service.{_bare(key)}.messages"


def service_events(key: str, subtopic: str | None = None) -> str:
    """Topic of the events that the service ``key`` publishes, or of one subtopic of them."""
    return _events("service", key, subtopic)


def service_rpc(key: str) -> str:
    """Topic on which a service is called; ``key`` is its key or its UUID."""
    return f"service.{_bare(key)}.rpc"


def websocket_events(kind: Kind, uuid: str) -> str:
    """Topic of the events for the websockets of one user, participant or device."""
    if kind not in KINDS:
        raise InvalidTopic(f"{kind!r} is not a kind of client: expected one of {', '.join(KINDS)}")
    return f"websocket.{kind}.{_name(uuid)}.events"


def disconnect_command(uuid: str) -> str:
    """Topic of the command that closes the websockets of ``uuid``."""
    return module_events(TWISTED_MODULE, uuid)


def rpc_of(server: str) -> str:
    """Topic on which a server is called: of ``service.<key>`` or ``module.<name>``."""
    owner, _, name = server.removesuffix(".rpc").partition(".")
    if owner == "service":
        return service_rpc(name)
    if owner == "module":
        return module_rpc(name)
    raise InvalidTopic(f"{server!r} is no server: expected service.KEY or module.NAME")


def encode(topic: str) -> bytes:
    """The bytes of a topic's name, whatever its form.

    Raises:
        InvalidTopic: when it is empty, no string, or cannot be encoded in UTF-8.
    """
    if not isinstance(topic, str) or not topic:
        raise InvalidTopic(f"a topic is a string that is not empty, not {topic!r}")
    try:
        return topic.encode()
    except UnicodeEncodeError:
        raise InvalidTopic(f"a topic is text in UTF-8, not {topic!r}") from None


def decode(topic: bytes) -> str:
    """The text of a topic's name as it came from Redis; bytes outside UTF-8 become surrogates."""
    return topic.decode(errors="surrogateescape")


def is_pattern(text: str) -> bool:
    """Whether it stands, as a pattern of Redis, for more than the topic that is written so."""
    return any(one in text for one in "*?[\\")


def compile_pattern(pattern: bytes) -> re.Pattern[bytes]:
    """Compile a pattern of Redis to a regular expression of the whole topic.

    Matching takes steps in proportion to the lengths of both, however many ``*`` there are: what
    stands between two of them is looked for once, from the left, and never again.

    Source: Redis's ``stringmatchlen``.
    """
    at, part = 0, b""
    parts = [part]
    while at < len(pattern):
        one = pattern[at : at + 1]
        at += 1
        if one == b"*":
            parts.append(b"")
            continue
        if one == b"?":
            part = b"."
        elif one == b"[":
            part, at = _set(pattern, at)
        else:
            if one == b"\\" and at < len(pattern):
                one = pattern[at : at + 1]
                at += 1
            part = re.escape(one)
        parts[-1] += part
    first, *between = parts
    last = between.pop() if between else None
    text = first + b"".join(b"(?>.*?%b)" % one for one in between if one)
    return re.compile(text if last is None else text + b".*" + last, re.DOTALL)


def _set(text: bytes, at: int) -> tuple[bytes, int]:
    """The set that begins behind ``[``, and where it ends; one that is not closed ends the text."""
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
    return b"[" + b"".join(b"\\x%02x" % one for one in sorted(allowed)) + b"]", at


def _events(owner: Owner, name: str, subtopic: str | None) -> str:
    base = f"{owner}.{_bare(name)}.events"
    return base if subtopic is None else f"{base}.{_subtopic(subtopic)}"


def _bare(name: str) -> str:
    """Refuse a name that says already what it names, which would stand twice in the topic."""
    owner, _, rest = _name(name).partition(".")
    if owner in {"module", "service"} and rest:
        raise InvalidTopic(
            f"{name!r} is a {owner} with its prefix: give its name alone, "
            f"{rest.removesuffix('.rpc')!r}"
        )
    return name


def _name(name: str) -> str:
    parts = _fit(name, "name").split(".")
    if "" in parts or "events" in parts:
        raise InvalidTopic(
            f"{name!r} cannot be a name in a topic: its parts between dots must not be empty "
            "nor the word events"
        )
    return name


def _subtopic(subtopic: str) -> str:
    if "" in _fit(subtopic, "subtopic").split("."):
        raise InvalidTopic(f"{subtopic!r} cannot be a subtopic: its parts must not be empty")
    return subtopic


def _fit(text: str, what: str) -> str:
    if not isinstance(text, str) or not text:
        raise InvalidTopic(f"a {what} in a topic is a string that is not empty, not {text!r}")
    unfit = _UNFIT.search(text)
    if unfit:
        raise InvalidTopic(
            f"{text!r} cannot be a {what} in a topic: it holds the character {unfit.group()!r}"
        )
    return text
