"""Hash slots of a Redis Cluster.

Source: Redis documentation, "Redis cluster specification", key distribution model and hash tags.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Sequence
from functools import cache
from itertools import count
from typing import Final

SLOTS: Final = 16_384
"""Number of hash slots in every cluster."""

ANY_NODE: Final = frozenset({"ECHO", "PING", "TIME"})
"""Commands without keys that each node answers alike."""

EACH_NODE: Final = frozenset(
    {"ACL", "BGREWRITEAOF", "BGSAVE", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DBSIZE", "DEBUG"}
    | {"FLUSHALL", "FLUSHDB", "FUNCTION", "INFO", "KEYS", "LASTSAVE", "LATENCY", "MODULE", "PUBSUB"}
    | {"RANDOMKEY", "REPLICAOF", "ROLE", "SAVE", "SCAN", "SCRIPT", "SLAVEOF", "SLOWLOG", "SWAPDB"}
)
"""Commands without keys that concern the one node which receives them."""

_SCRIPTS: Final = frozenset({"EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "FCALL", "FCALL_RO"})
_SECOND: Final = frozenset(
    {"BITOP", "LMPOP", "MEMORY", "OBJECT", "SINTERCARD", "XGROUP", "XINFO", "ZDIFF", "ZINTER"}
    | {"ZINTERCARD", "ZMPOP", "ZUNION"}
)


def key_slot(name: bytes) -> int:
    """Compute the slot of a key or topic; only the hash tag counts if the name has one."""
    return crc_hqx(_tag(name), 0) % SLOTS


def _tag(name: bytes) -> bytes:
    """Return the hash tag of a name, or the name if it has none."""
    start = name.find(b"{") + 1
    if start:
        end = name.find(b"}", start)
        if end > start:
            return name[start:end]
    return name


def slot_of_topic(topic: bytes | str | int) -> int:
    """Compute the slot of a topic."""
    return key_slot(_encoded(topic))


@cache
def slot_tags() -> Sequence[bytes]:
    """Return a hash tag of each slot."""
    tags: dict[int, bytes] = {}
    for number in count():
        tag = b"%d" % number
        tags.setdefault(crc_hqx(tag, 0) % SLOTS, tag)
        if len(tags) == SLOTS:
            break
    return [tags[slot] for slot in range(SLOTS)]


def topic_beside(name: bytes, prefix: bytes = b"opentera.slot.") -> bytes:
    """Return a topic of this package in the same slot as a key or topic."""
    topic = prefix + b"{" + _tag(name) + b"}"
    # A name with a closing brace outside a tag fits in no tag.
    return topic if key_slot(topic) == key_slot(name) else name


def command_slot(arguments: Sequence[bytes | str | int]) -> int | None:
    """Compute the slot of a command from its first key; None for a command without keys."""
    command = arguments[0]
    if command in ANY_NODE or command in EACH_NODE or len(arguments) < 2:
        return None
    if command in _SCRIPTS:
        if len(arguments) < 4 or int(arguments[2]) == 0:
            return None
        return key_slot(_encoded(arguments[3]))
    position = 2 if command in _SECOND and len(arguments) > 2 else 1
    if command in {"XREAD", "XREADGROUP"}:
        words = [_encoded(argument).upper() for argument in arguments[:-1]]
        position = words.index(b"STREAMS") + 1 if b"STREAMS" in words else 1
    return key_slot(_encoded(arguments[position]))


def _encoded(argument: bytes | str | int) -> bytes:
    return argument if isinstance(argument, bytes) else str(argument).encode()
