"""Recovery tokens in Redis, stored by digest, with the client's identity and gateway.

    opentera.recovery.token.<SHA-256>   <kind> <marker topic of the gateway> [<claim>], <identity>

The value has two lines; the identity is JSON. The key expires some time after the gateway last
extended it.

A return claims the token with the SHA-256 of the next one and the end of the claim, in ms of
Redis's clock. The gateway deletes the token once the client has the next one. It frees the token
if the client has left before; the client may hold either token then, and the use of one
invalidates the other::

    valid --take--> claimed --drop--> deleted
      ^                |
      +--free, expiry--+

On a cluster, all tokens of a client begin with the same character, which is the hash tag of their
digests: ``{Q}<SHA-256>``. So the script that claims a token can also store the next one.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final

from attrs import asdict, field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from opentera_twisted._internal.gathered import gathered
from opentera_twisted.errors import BadReply, BusError
from opentera_twisted.gateway.identity import checked
from opentera_twisted.link import Link, Script
from opentera_twisted.messages.templates import NOW
from opentera_twisted.sessions import Identity, is_uuid
from opentera_twisted.topics import RECOVERY, Kind

TOKENS: Final = f"{RECOVERY}token."

CLAIM: Final = 10.0
"""Seconds until a claim expires, after a gateway that has neither dropped nor freed the token."""

ATTEMPTS: Final = 10
"""Tokens to make until the node of one is ready."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)

_SPLIT: Final = r"""
    local value = redis.call('GET', KEYS[1]) or ''
    local kind, marker, claim, identity = value:match('^(%a+) (%S+)( ?[^\n]*)\n(.*)$')
    local following, ends = (claim or ''):match('^ (%S+) (%d+)$')
"""

# Write on a refusal too, so that a replica with stale data answers READONLY.
_TAKE: Final = Script(
    NOW
    + _SPLIT
    + f"""
    if kind ~= ARGV[1] then
        redis.call('DEL', KEYS[2])
        return false
    end
    if following and tonumber(ends) > now then
        redis.call('DEL', KEYS[2])
        return {{}}
    end
    if following then redis.call('DEL', '{TOKENS}' .. following) end
    local claimed = string.format(' %s %d\\n', ARGV[4], now + {round(CLAIM * 1000)})
    redis.call('SET', KEYS[1], kind .. ' ' .. marker .. claimed .. identity, 'PX', ARGV[3])
    redis.call('SET', KEYS[2], kind .. ' ' .. ARGV[2] .. '\\n' .. identity, 'PX', ARGV[3])
    if marker == ARGV[2] then return {{marker, identity, 1}} end
    local followers = redis.pcall('PUBSUB', 'NUMSUB', marker)
    return {{marker, identity, followers.err and 1 or followers[2]}}
    """
)

_MOVE: Final = Script(
    _SPLIT
    + """
    if following == ARGV[1] then
        if ARGV[2] ~= '' then marker = ARGV[2] end
        if ARGV[3] ~= '' then ends = 0 end
        local claimed = string.format(' %s %d\\n', following, ends)
        redis.call('SET', KEYS[1], kind .. ' ' .. marker .. claimed .. identity, 'PX', ARGV[4])
    end
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
        following_digest: Digest of the next token.
    """

    identity: Identity
    marker: str = field(repr=False)
    is_followed: bool
    digest: str = field(repr=False)
    following: str = field(repr=False)
    following_digest: str = field(repr=False)


class InUse(Exception):
    """Another return has claimed the token."""


def make_token() -> str:
    """Make a token: 43 characters, 256 random bits."""
    return secrets.token_urlsafe(32)


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
        self._is_on_cluster = link.address.is_cluster
        self._marker = marker
        self._lifetime = _milliseconds(lifetime)

    def digest_of(self, token: str) -> str:
        """Return the digest that names a token in Redis."""
        digest = hashlib.sha256(token.encode()).hexdigest()
        return f"{{{token[:1]}}}{digest}" if self._is_on_cluster else digest

    def key_of(self, token: str) -> str:
        """Return the name of a token's key in Redis."""
        return TOKENS + self.digest_of(token)

    def make(self) -> tuple[str, str]:
        """Make a token and its digest; on a cluster, at a ready node if a few attempts find one."""
        for _ in range(ATTEMPTS):
            token = make_token()
            digest = self.digest_of(token)
            key = TOKENS + digest
            if self._link.is_node_ready(key):
                break
        return token, digest

    def _next_of(self, token: str) -> str:
        following = make_token()
        return token[0] + following[1:] if self._is_on_cluster else following

    def store(self, digest: str, identity: Identity) -> Deferred[None]:
        """Store a token for a client of this gateway."""
        value = f"{identity.kind} {self._marker}\n{json.dumps(asdict(identity))}"
        stored = self._link.execute("SET", TOKENS + digest, value, "PX", self._lifetime)
        return stored.addCallback(lambda _: None)

    def take(self, kind: Kind, token: str) -> Deferred[Taken | None]:
        """Claim a token and store the next one for this gateway, atomically.

        If the reply is lost, the token becomes valid again, at the latest when the claim expires.

        Args:
            kind: Kind of the client's websocket.
            token: Any text from the client.

        Returns:
            Fires with the redeemed token, or with None if the text is not a valid token: unknown,
            used, expired, of another kind, or malformed.

        Fails with:
            InUse: Another return has claimed the token.
        """
        if not _TOKEN.fullmatch(token):
            return succeed(None)
        digest, following = self.digest_of(token), self._next_of(token)
        next_digest = self.digest_of(following)
        keys = [TOKENS + digest, TOKENS + next_digest]
        taken = self._link.run(_TAKE, keys, kind, self._marker, self._lifetime, next_digest)

        def lost(failure: Failure) -> Failure:
            freed = self._move(digest, next_digest, "", is_free=True)
            freed.addErrback(lambda failure: failure.trap(BusError))
            return failure

        return taken.addCallbacks(
            partial(
                _taken, kind, digest, following, next_digest, is_on_cluster=self._is_on_cluster
            ),
            lost,
        )

    def put_back(self, taken: Taken) -> Deferred[None]:
        """Make a token valid again after a return that was not admitted."""
        following = taken.following_digest
        self.drop(following).addErrback(lambda failure: failure.trap(BusError))
        return self._move(taken.digest, following, "", is_free=True)

    def move(self, digest: str, following: str, *, is_free: bool) -> Deferred[None]:
        """Point a claimed token to this gateway, which has the client's frames now.

        Args:
            digest: Digest of the token.
            following: Digest of the next token, which the claim names.
            is_free: Make the token valid again.
        """
        return self._move(digest, following, self._marker, is_free=is_free)

    def _move(self, digest: str, following: str, marker: str, *, is_free: bool) -> Deferred[None]:
        free = "1" if is_free else ""
        moved = self._link.run(_MOVE, [TOKENS + digest], following, marker, free, self._lifetime)
        return moved.addCallback(lambda _: None)

    def extend(self, digests: Sequence[str], lifetime: float) -> Deferred[None]:
        """Let tokens expire some seconds from now; redeemed tokens stay invalid."""
        extended = gathered(
            self._link.run(_EXTEND, keys, _milliseconds(lifetime)) for keys in self._keys(digests)
        )
        return extended.addCallback(lambda _: None)

    def drop(self, *digests: str) -> Deferred[None]:
        """Delete tokens."""
        dropped = gathered(self._link.execute("DEL", *keys) for keys in self._keys(digests))
        return dropped.addCallback(lambda _: None)

    def _keys(self, digests: Sequence[str]) -> Iterable[list[str]]:
        """Return the keys of tokens; on a cluster, one list for each slot."""
        slots: dict[str, list[str]] = {}
        for digest in digests:
            slots.setdefault(digest[:3] if self._is_on_cluster else "", []).append(TOKENS + digest)
        return slots.values()


def _taken(
    kind: Kind,
    digest: str,
    following: str,
    following_digest: str,
    found: Any,
    *,
    is_on_cluster: bool,
) -> Taken | None:
    if found is None:
        return None
    if not found:
        raise InUse
    marker, identity, followers = found
    try:
        values = json.loads(identity)
        topics = tuple(values.pop("topics"))
        known = Identity(**values, topics=topics)
        checked(known)
        topic = marker.decode()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, BadReply):
        return None  # written by another program
    if known.kind != kind or not is_uuid(known.uuid) or not topic.startswith(RECOVERY):
        return None
    # On a cluster, the node of the token does not know the subscribers; the hand-over finds out.
    is_followed = is_on_cluster or bool(followers)
    return Taken(known, topic, is_followed, digest, following, following_digest)


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
