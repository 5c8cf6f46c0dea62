"""Tokens of recovery in Redis: whose they are, and at which gateway. Redis never sees a token.

    opentera.recovery.token.<SHA-256>   <kind> <marker topic of the gateway>, <identity in JSON>

Its value has two lines. It expires some time after the gateway has last extended it.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Sequence
from typing import Any, Final

from attrs import asdict, field, frozen
from twisted.internet.defer import Deferred, gatherResults, succeed

from opentera_twisted.link import Link, Script
from opentera_twisted.sessions import Identity, is_uuid
from opentera_twisted.topics import Kind

PREFIX: Final = "opentera.recovery."
"""The beginning of all keys and topics of recovery."""

TOKENS: Final = f"{PREFIX}token."

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)

# A refusal writes too, and changes nothing: a replica, whose data may be old, answers READONLY.
_TAKE: Final = Script(
    """
    local value = redis.call('GET', KEYS[1])
    local kind, marker, identity = (value or ''):match('^(%a+) (%S+)\\n(.*)$')
    if kind ~= ARGV[1] then
        redis.call('DEL', KEYS[2])
        return false
    end
    redis.call('DEL', KEYS[1])
    redis.call('SET', KEYS[2], kind .. ' ' .. ARGV[2] .. '\\n' .. identity, 'PX', ARGV[3])
    local followers = redis.pcall('PUBSUB', 'NUMSUB', marker)
    return {marker, identity, followers.err and 1 or followers[2]}
    """
)

_EXTEND: Final = Script(
    """
    for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[1]) end
    """
)


@frozen
class Taken:
    """A token that was used up.

    Attributes:
        identity: whose it was.
        marker: topic of the gateway that has the client's frames.
        is_followed: whether any gateway follows that topic.
        digest: of the token.
        following: the token that the client gets instead.
    """

    identity: Identity
    marker: str = field(repr=False)
    is_followed: bool
    digest: str = field(repr=False)
    following: str = field(repr=False)


def make_token() -> str:
    """A new token: 43 characters, 256 random bits."""
    return secrets.token_urlsafe(32)


def digest_of(token: str) -> str:
    """The name of a token in Redis, which it cannot be guessed from."""
    return hashlib.sha256(token.encode()).hexdigest()


class Tokens:
    """Issues tokens and takes them, each once.

    All Deferreds fail with BusUnavailable, ConnectionLost or CommandFailed.

    Args:
        link: carries the commands.
        marker: topic of this gateway.
        lifetime: seconds for which a token is good unless it is extended.
    """

    def __init__(self, link: Link, marker: str, lifetime: float) -> None:
        self._link = link
        self._marker = marker
        self._lifetime = _milliseconds(lifetime)

    def store(
        self, digest: str, identity: Identity, lifetime: float | None = None
    ) -> Deferred[None]:
        """Have a token good for the client of an identity at this gateway."""
        return self._store(digest, identity, self._marker, lifetime)

    def take(self, kind: Kind, token: str) -> Deferred[Taken | None]:
        """Use a token up, and store the next one for this gateway, in one step.

        Args:
            kind: of the websocket that shows it.
            token: as the client gave it: any text.

        Returns:
            Fires with what it was good for, or None when it is unknown, used, expired, of another
            kind, or no token at all.
        """
        if not _TOKEN.fullmatch(token):
            return succeed(None)
        digest, following = digest_of(token), make_token()
        keys = [TOKENS + digest, TOKENS + digest_of(following)]
        taken = self._link.run(_TAKE, keys, kind, self._marker, self._lifetime)
        return taken.addCallback(_taken, digest, following)

    def put_back(self, taken: Taken, lifetime: float) -> Deferred[None]:
        """Make a token good again with which nobody was let in."""
        dropped = self.drop(digest_of(taken.following))
        stored = self._store(taken.digest, taken.identity, taken.marker, lifetime)
        return gatherResults([dropped, stored], consumeErrors=True).addCallback(lambda _: None)

    def extend(self, digests: Sequence[str], lifetime: float) -> Deferred[None]:
        """Have tokens good for some seconds from now on; those that were taken stay so."""
        keys = [TOKENS + one for one in digests]
        return self._link.run(_EXTEND, keys, _milliseconds(lifetime)).addCallback(lambda _: None)

    def drop(self, *digests: str) -> Deferred[None]:
        """Have tokens good no longer."""
        keys = [TOKENS + one for one in digests]
        return self._link.execute("DEL", *keys).addCallback(lambda _: None)

    def _store(
        self, digest: str, identity: Identity, marker: str, lifetime: float | None
    ) -> Deferred[None]:
        value = f"{identity.kind} {marker}\n{json.dumps(asdict(identity))}"
        milliseconds = self._lifetime if lifetime is None else _milliseconds(lifetime)
        stored = self._link.execute("SET", TOKENS + digest, value, "PX", milliseconds)
        return stored.addCallback(lambda _: None)


def _taken(found: Any, digest: str, following: str) -> Taken | None:
    if found is None:
        return None
    marker, identity, followers = found
    try:
        values = json.loads(identity)
        topics = tuple(values.pop("topics"))
        known = Identity(**values, topics=topics)
        topic = marker.decode()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None  # another program has written it
    if not is_uuid(known.uuid) or not topic.startswith(PREFIX):
        return None
    return Taken(known, topic, bool(followers), digest, following)


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def batches(digests: Iterable[str], size: int) -> Iterable[Sequence[str]]:
    """Parts of many, each for one command."""
    all_of_them = list(digests)
    for first in range(0, len(all_of_them), size):
        yield all_of_them[first : first + size]
