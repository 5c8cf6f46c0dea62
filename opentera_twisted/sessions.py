"""Session keys: one-time keys in Redis that log a websocket in.

The client chooses the text of a key, which is the name of a Redis key. So the form of the text is
checked first; one script then reads, decides and deletes atomically.

Source: docs/reference/wire.md.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from typing import Any, Final

from attrs import field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from opentera_twisted._internal.unused import needs_use
from opentera_twisted.errors import InvalidArgument, PermissionDenied
from opentera_twisted.holders import GATEWAYS, HOLDERS
from opentera_twisted.link import PRESENCE, HasLink, Script
from opentera_twisted.messages.templates import NOW
from opentera_twisted.topics import KINDS, Kind
from opentera_twisted.variables import SESSION_KEY_LIFETIME, milliseconds

_BOUND: Final = re.compile(r"(user|participant|device)\.[A-Za-z0-9_-]{43}", re.ASCII)
_EXISTING: Final = re.compile(r"[0-9a-f]{128}", re.ASCII)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)

MAX_VALUE: Final = 16_384
"""Maximum size of a key's value, in bytes."""

# Redeem only a string that expires and has the form of a session key's value. Leave anything else
# as it is, with the same answer as for a missing key.
# The answer begins with the data to restore the key: time, remaining lifetime, value. UUID, name
# and topics follow as the script has parsed them: Redis accepts JSON that Python does not, such as
# 0x10.
# A refusal writes without a change, so that a replica, whose data may be old, answers READONLY.
# Keys of existing OpenTera programs have no kind. A UUID that is open under another kind keeps its
# key.
REDEEM: Final = Script(
    f"""
    local key, as, is_bound = KEYS[1], ARGV[1], ARGV[2] == 'bound'
    local kind = redis.call('TYPE', key).ok
    local function refuse()
        if kind == 'none' then redis.call('DEL', key) else redis.call('SET', key, '', 'NX') end
        return false
    end
    if kind ~= 'string' then return refuse() end
    local left = redis.call('PTTL', key)
    if left < 0 then return refuse() end
    if redis.call('STRLEN', key) > {MAX_VALUE} then return refuse() end
    local function is_uuid(text)
        local form = '%x'
        local eight, four = form:rep(8), form:rep(4)
        return text:find('^' .. eight .. '%-' .. four .. '%-' .. four .. '%-' .. four
            .. '%-' .. eight .. four .. '$') ~= nil
    end
    local function is_string(value) return type(value) == 'string' end
    local value = redis.call('GET', key)
    local identity = {{value, ''}}
    {NOW}
    if not is_uuid(value) then
        if value:sub(1, 1) ~= '{{' then return refuse() end
        local ok, object = pcall(cjson.decode, value)
        if not ok or not is_string(object.uuid) or not is_uuid(object.uuid) then return refuse() end
        identity = {{object.uuid, is_string(object.name) and object.name or ''}}
        for _, topic in ipairs(type(object.topics) == 'table' and object.topics or {{}}) do
            if is_string(topic) and topic ~= '' then table.insert(identity, topic) end
        end
    end
    """
    + HOLDERS
    + """
    for _, other in ipairs(other_kinds(as .. '.' .. identity[1])) do
        if is_held(other) or (not is_bound and is_elsewhere(other)) then return refuse() end
    end
    redis.call('DEL', key)
    return {now, left, value, identity}
    """
)

GIVE_BACK: Final = (
    NOW
    + """
    local left = ARGV[2] - math.max(0, now - ARGV[1])
    return left > 0 and redis.call('SET', KEYS[1], ARGV[3], 'PX', left, 'NX') and 1 or 0
"""
)


# On a cluster, a session key and presence are in different slots.
_OTHER_KIND: Final = Script(
    NOW
    + HOLDERS
    + """
    for _, other in ipairs(other_kinds(ARGV[1])) do
        if is_held(other) then return 1 end
    end
    return 0
    """,
    PRESENCE,
)


@frozen
class Identity:
    """The authenticated owner of a websocket.

    Attributes:
        kind: user, participant or device.
        uuid: UUID of the user, participant or device.
        name: name for display.
        topics: further topics whose events the websocket receives.
        project: name of a participant's project.
        site: name of a participant's site.

    Example:
        >>> identity = Identity("user", UUID, name="Ada")
        >>> identity.kind, identity.name
        ('user', 'Ada')
    """

    kind: Kind
    uuid: str
    name: str = ""
    topics: tuple[str, ...] = ()
    project: str = ""
    site: str = ""


@frozen
class Redeemed:
    """A redeemed key.

    Attributes:
        identity: identity that the key logs in.
        key: text of the key.
        stored: time of redemption in milliseconds of Redis's clock, remaining milliseconds, and
            value.
    """

    identity: Identity
    key: str = field(repr=False)
    stored: tuple[int, int, bytes] = field(repr=False)


class SessionKeys:
    """Issue and redeem session keys.

    Args:
        bus: a `Bus`, or another object with a link.
        require_bound: reject keys without a kind, as existing OpenTera programs issue them; they
            can be guessed.

    Example:
        >>> keys = SessionKeys(bus)
        >>> key = await keys.issue("user", UUID, ttl=60, name="Ada")
        >>> (await keys.redeem("user", key)).name
        'Ada'
        >>> await keys.redeem("user", key)  # a key works once
    """

    def __init__(self, bus: HasLink, require_bound: bool = False) -> None:
        self._link = bus.link
        self._require_bound = require_bound

    def issue(
        self,
        kind: Kind,
        uuid: str,
        ttl: float = SESSION_KEY_LIFETIME,
        name: str | None = None,
        topics: Sequence[str] = (),
    ) -> Deferred[str]:
        """Make a key that logs one websocket in.

        Args:
            kind: kind of identity: user, participant or device.
            uuid: UUID of the identity, with hyphens.
            ttl: seconds until the key expires.
            name: name for display.
            topics: further topics whose events the websocket receives.

        Returns:
            Fires with the key: ``<kind>.<43 characters>``, 256 random bits.

        Raises:
            InvalidArgument: an argument has an invalid form.

        Fails with:
            BusUnavailable, ConnectionLost, CommandFailed.

        Source: Redis command SET with NX and PX.
        """
        if kind not in KINDS:
            raise InvalidArgument(f"expected a kind ({', '.join(KINDS)}), not {kind!r}")
        value = encode_identity(uuid, name, topics)
        key = f"{kind}.{secrets.token_urlsafe(32)}"
        stored = self._link.execute("SET", key, value, "PX", milliseconds(ttl), "NX")
        return needs_use(stored.addCallback(lambda _: key), "issue")

    def redeem(self, kind: Kind, key: str) -> Deferred[Identity | None]:
        """Redeem a key: get its identity and delete it.

        Concurrent attempts get the identity at most once. A Redis key that is not a session key
        stays as it is.

        Args:
            kind: kind of the websocket.
            key: any text from the client.

        Returns:
            Fires with the identity, or None when the key is unknown, used, expired or of another
            kind.

        Fails with:
            BusUnavailable, ConnectionLost, CommandFailed: try again later; the key may still be
                valid.
        """
        return self.take(kind, key).addCallback(_identity)

    def take(self, kind: Kind, key: str) -> Deferred[Redeemed | None]:
        """Redeem a key so that `give_back` can restore it; otherwise like `redeem`."""
        if not self._may_be(kind, key):
            return succeed(None)
        form = "bound" if is_bound(key) else ""
        taken = self._link.run(REDEEM, [key], kind, form).addCallback(_redeemed, kind, key)
        if self._link.address.is_cluster:
            taken.addCallback(self._unless_other_kind)
        return taken

    def _unless_other_kind(self, redeemed: Redeemed | None) -> Any:
        """Restore a key whose UUID is open under another kind; the script cannot see that.

        If this process dies in between, the key is lost.
        """
        if redeemed is None:
            return None
        who = f"{redeemed.identity.kind}.{redeemed.identity.uuid}"

        def decide(is_open: int) -> Any:
            if not is_open:
                return redeemed
            return self.give_back(redeemed).addCallback(lambda _: None)

        def failed(failure: Failure) -> Any:
            if failure.check(PermissionDenied):  # a service need not know presence
                return redeemed
            return self.give_back(redeemed).addBoth(lambda _: failure)

        return self._link.run(_OTHER_KIND, [GATEWAYS], who).addCallbacks(decide, failed)

    def check(self) -> Deferred[None]:
        """Redeem a key that does not exist, to test whether logins work.

        Returns:
            Fires when Redis accepts the command.

        Fails with:
            BusUnavailable, ConnectionLost, CommandFailed: a login would get 503.
        """
        unknown = f"{KINDS[0]}.{secrets.token_urlsafe(32)}"
        return self._link.run(REDEEM, [unknown]).addCallback(lambda _: None)

    def give_back(self, redeemed: Redeemed) -> Deferred[bool]:
        """Restore a redeemed key whose login did not complete, for its remaining lifetime.

        Args:
            redeemed: a result of `take`; restore it once only.

        Returns:
            Fires with True if the key is valid again; False if it expired or a new key has its
            name.

        Fails with:
            BusUnavailable, ConnectionLost, CommandFailed.
        """
        # One command, unlike `Link.run`: a new attempt over this link is always executed after it.
        given = self._link.execute("EVAL", GIVE_BACK, 1, redeemed.key, *redeemed.stored)
        return given.addCallback(bool)

    def _may_be(self, kind: Kind, key: str) -> bool:
        """Check the form of a key."""
        bound = _BOUND.fullmatch(key)
        if bound:
            return bound[1] == kind
        return not self._require_bound and _EXISTING.fullmatch(key) is not None


def is_bound(key: str) -> bool:
    """Return True if a session key names its kind; keys of existing OpenTera programs do not."""
    return _BOUND.fullmatch(key) is not None


def encode_identity(uuid: str, name: str | None, topics: Sequence[str]) -> str:
    """Make the value of a key.

    Raises:
        InvalidArgument: an argument has an invalid form.
    """
    if not is_uuid(uuid):
        raise InvalidArgument(f"expected a UUID with hyphens, not {uuid!r}")
    if name is not None and not (isinstance(name, str) and _is_text(name)):
        raise InvalidArgument(f"a name must be valid UTF-8 text, not {name!r}")
    if isinstance(topics, str) or not all(isinstance(topic, str) and topic for topic in topics):
        raise InvalidArgument("topics must be a sequence of non-empty strings")
    value = uuid
    if name is not None or topics:
        value = json.dumps({"uuid": uuid, "name": name or "", "topics": list(topics)})
    if len(value) > MAX_VALUE:
        raise InvalidArgument(
            f"name and topics have {len(value)} bytes; at most {MAX_VALUE} are allowed"
        )
    return value


def _redeemed(found: Any, kind: Kind, key: str) -> Redeemed | None:
    """Convert the answer of `REDEEM`."""
    if found is None:
        return None
    taken, left, value, identity = found
    uuid, name, *topics = [text.decode(errors="replace") for text in identity]
    return Redeemed(Identity(kind, uuid, name, tuple(topics)), key, (taken, left, value))


def _identity(redeemed: Redeemed | None) -> Identity | None:
    return redeemed.identity if redeemed is not None else None


def is_uuid(text: Any) -> bool:
    """Return True for the text of a UUID with hyphens."""
    return isinstance(text, str) and _UUID.fullmatch(text) is not None


def _is_text(text: str) -> bool:
    """Return True for text that UTF-8 can encode: Redis's JSON rejects lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
