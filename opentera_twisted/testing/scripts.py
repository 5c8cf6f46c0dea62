"""The scripts that a bus runs in Redis, in Python."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from opentera_twisted.presence import ONLINE
from opentera_twisted.sessions import GIVE_BACK, MAX_VALUE, REDEEM, is_uuid
from opentera_twisted.topics import KINDS
from opentera_twisted.variables import COMPARE_AND_SET


class Strings(Protocol):
    """The methods of a Redis that scripts need.

    Attributes:
        online: ``<kind>.<uuid>`` of identities with an open websocket.
    """

    online: set[str]

    def read(self, name: bytes) -> bytes | None:
        """Read a string variable, or None."""

    def write(self, name: bytes, value: bytes, milliseconds: int | None = None) -> None:
        """Write a string variable."""

    def delete(self, name: bytes) -> bool:
        """Delete a variable."""

    def now(self) -> int:
        """Return the time of the clock in milliseconds."""

    def left(self, name: bytes) -> int | None:
        """Return the remaining milliseconds of a variable; None if it does not expire or exist."""


def compare_and_set(redis: Strings, names: Sequence[bytes], arguments: Sequence[bytes]) -> int:
    """Run the script of `Variables.compare_and_set`."""
    (name,) = names
    what, expected, value, milliseconds = arguments
    if redis.read(name) != (None if what == b"absent" else expected):
        return 0
    redis.write(name, value, int(milliseconds) if milliseconds else None)
    return 1


def redeem(redis: Strings, names: Sequence[bytes], arguments: Sequence[bytes]) -> list[Any] | None:
    """Run the script of `SessionKeys.take`."""
    (name,) = names
    left = redis.left(name)
    if left is None:
        return None
    value = redis.read(name)
    if value is None or len(value) > MAX_VALUE:
        return None
    found = _identity(value.decode(errors="replace"))
    if found is None:
        return None
    own = arguments[0].decode()
    if any(f"{kind}.{found[0].decode()}" in redis.online for kind in KINDS if kind != own):
        return None
    redis.delete(name)
    return [redis.now(), left, value, found]


def give_back(redis: Strings, names: Sequence[bytes], arguments: Sequence[bytes]) -> int:
    """Run the script of `SessionKeys.give_back`."""
    (name,) = names
    taken, left, value = arguments
    milliseconds = int(left) - max(0, redis.now() - int(taken))
    if milliseconds <= 0 or redis.read(name) is not None:
        return 0
    redis.write(name, value, milliseconds)
    return 1


def _identity(text: str) -> list[bytes] | None:
    if is_uuid(text):
        return [text.encode(), b""]
    try:
        stored = json.loads(text)
    except ValueError:
        return None
    if not isinstance(stored, dict) or not is_uuid(stored.get("uuid")):
        return None
    name, topics = stored.get("name"), stored.get("topics")
    texts = [stored["uuid"], name if isinstance(name, str) else ""]
    texts += [topic for topic in topics or [] if isinstance(topic, str) and topic]
    return [text.encode() for text in texts]


SCRIPTS: Final[Mapping[str, Callable[[Strings, Sequence[bytes], Sequence[bytes]], Any]]] = {
    COMPARE_AND_SET.text: compare_and_set,
    REDEEM.text: redeem,
    GIVE_BACK: give_back,
    ONLINE.text: lambda redis, _, __: [[identity.encode() for identity in redis.online]],
}
