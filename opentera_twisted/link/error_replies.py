"""Conversion of Redis's error replies to errors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from opentera_twisted.errors import (
    BusError,
    BusUnavailable,
    ClusterMode,
    CommandFailed,
    CrossSlot,
    OutOfMemory,
    PermissionDenied,
    PrimaryDown,
    ReadOnlyReplica,
    ServerLoading,
    WrongType,
)
from opentera_twisted.topics import REPLY_CHANNELS

_CLASSES: Final[Mapping[str, type[CommandFailed]]] = {
    "ASK": ClusterMode,
    "CROSSSLOT": CrossSlot,
    "LOADING": ServerLoading,
    "MASTERDOWN": PrimaryDown,
    "MOVED": ClusterMode,
    "NOPERM": PermissionDenied,
    "OOM": OutOfMemory,
    "READONLY": ReadOnlyReplica,
    "WRONGTYPE": WrongType,
}

# Commands whose first argument is not secret. SET and scripts have session keys as arguments.
_PUBLISH: Final = {"PUBLISH", "SPUBLISH"}
_SHOWN: Final = {"GET", "DEL", "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", *_PUBLISH}

# Redis 7 and Valkey name the subcommand too: 'client|list'.
_REFUSED: Final = re.compile(r"'([\w|.-]+)' command")

_QUOTED_ARGUMENTS: Final = ", with args beginning with:"
"""Begins the part of Redis's error about an unknown command that repeats its arguments."""


def refusal(arguments: Sequence[bytes | str | int], reply: str) -> CommandFailed:
    """Convert the error reply of a command to an error.

    Args:
        arguments: name of the command and its arguments.
        reply: Redis's text, such as ``NOPERM No permissions to access a channel``.
    """
    command = str(arguments[0])
    reply = reply.partition(_QUOTED_ARGUMENTS)[0]
    kind = _CLASSES.get(reply.split(" ", 1)[0], CommandFailed)
    if kind is PermissionDenied:
        return PermissionDenied(command, reply, _missing_right(command, arguments, reply))
    return kind(command, reply)


def no_database(address: object, error: CommandFailed) -> BusError:
    """Convert the refusal of a URL's database; a cluster has only database 0."""
    if error.code != "ERR":
        return error
    return BusUnavailable(f"no such database at {address}: {error.reply}")


def _missing_right(command: str, arguments: Sequence[bytes | str | int], reply: str) -> str:
    """Return the ACL rule that would allow a command, if Redis's text implies one."""
    if "command" in reply:
        named = _REFUSED.search(reply)
        return f"+{named[1] if named else command.lower()}"
    sign = "&" if "channel" in reply else "~" if "key" in reply else ""
    if not sign or command not in _SHOWN or len(arguments) != 2 + (command in _PUBLISH):
        return ""
    name = arguments[1]
    return sign + shown(name if isinstance(name, bytes) else str(name).encode())


def shown(name: bytes) -> str:
    """Decode a name for an error or the log; secret reply topics become a pattern."""
    text = name.decode(errors="replace")
    return f"{REPLY_CHANNELS}*" if text.startswith(REPLY_CHANNELS) else text
