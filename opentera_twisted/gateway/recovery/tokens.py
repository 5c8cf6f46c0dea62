"""Recovery tokens in Redis, stored by digest, with the client's identity and gateway.

    opentera.recovery.token.<SHA-256>   <kind> <marker topic of the gateway>, <identity in JSON>

The value has two lines. The key expires some time after the gateway last extended it.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Sequence
from typing import Any, Final

from attrs import asdict, field, frozen
from twisted.internet.defer import Deferred, gatherResults, succeed

from opentera_twisted.link import Link, Script
from opentera_twisted.sessions import Identity, is_uuid
from opentera_twisted.topics import Kind

PREFIX: Final = "opentera.recovery."
"""Prefix of all keys and topics of recovery."""

TOKENS: Final = f"{PREFIX}token."

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)

# Write on a refusal too, so that a replica with stale data answers READONLY.
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
    """A token that was redeemed.

    Attributes:
        identity: The client's identity.
        marker: Topic of the gateway that has the client's frames.
        is_followed: True if a gateway subscribes to that topic.
        digest: Digest of the token.
        following: The client's next token.
    """

    identity: Identity
    marker: str = field(repr=False)
    is_followed: bool
    digest: str = field(repr=False)
    following: str = field(repr=False)


def make_token() -> str:
    """Make a token: 43 characters, 256 random bits."""
    return secrets.token_urlsafe(32)


def digest_of(token: str) -> str:
    """Return the digest that names a token in Redis."""
    return hashlib.sha256(token.encode()).hexdigest()


class Tokens:
    """A store of single-use tokens.

    All Deferreds fail with BusUnavailable, ConnectionLost or CommandFailed.

    Args:
        link: The link for commands.
        marker: Marker topic of this gateway.
        lifetime: Seconds until a token expires, unless it is extended.
    """

    def __init__(self, link: Link, marker: str, lifetime: float) -> None:
        self._link = link
        self._marker = marker
        self._lifetime = _milliseconds(lifetime)

    def store(
        self, digest: str, identity: Identity, lifetime: float | None = None
    ) -> Deferred[None]:
        """Store a token for a client of this gateway."""
        return self._store(digest, identity, self._marker, lifetime)

    def take(self, kind: Kind, token: str) -> Deferred[Taken | None]:
        """Redeem a token and store the next one for this gateway, atomically.

        Args:
            kind: Kind of the client's websocket.
            token: Any text from the client.

        Returns:
            Fires with the redeemed token, or with None if the text is not a valid token: unknown,
            used, expired, of another kind, or malformed.
        """
        if not _TOKEN.fullmatch(token):
            return succeed(None)
        digest, following = digest_of(token), make_token()
        keys = [TOKENS + digest, TOKENS + digest_of(following)]
        taken = self._link.run(_TAKE, keys, kind, self._marker, self._lifetime)
        return taken.addCallback(_taken, digest, following)

    def put_back(self, taken: Taken, lifetime: float) -> Deferred[None]:
        """Make a token valid again after a return that was not admitted."""
        dropped = self.drop(digest_of(taken.following))
        stored = self._store(taken.digest, taken.identity, taken.marker, lifetime)
        return gatherResults([dropped, stored], consumeErrors=True).addCallback(lambda _: None)

    def extend(self, digests: Sequence[str], lifetime: float) -> Deferred[None]:
        """Let tokens expire some seconds from now; redeemed tokens stay invalid."""
        keys = [TOKENS + digest for digest in digests]
        return self._link.run(_EXTEND, keys, _milliseconds(lifetime)).addCallback(lambda _: None)

    def drop(self, *digests: str) -> Deferred[None]:
        """Delete tokens."""
        keys = [TOKENS + digest for digest in digests]
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
        return None  # written by another program
    if not is_uuid(known.uuid) or not topic.startswith(PREFIX):
        return None
    return Taken(known, topic, bool(followers), digest, following)


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
