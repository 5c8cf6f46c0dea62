"""Session keys: one-time keys in Redis that log a websocket in.

A key names a Redis key, and the client chooses it: so its form is checked before Redis is asked,
and one script looks, decides and deletes in Redis, where nothing can come between.

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

from opentera_twisted.errors import InvalidArgument
from opentera_twisted.holders import HOLDERS
from opentera_twisted.link import HasLink, Script
from opentera_twisted.topics import KINDS, Kind
from opentera_twisted.variables import SESSION_KEY_LIFETIME, milliseconds

_BOUND: Final = re.compile(r"(user|participant|device)\.[A-Za-z0-9_-]{43}", re.ASCII)
_DEPLOYED: Final = re.compile(r"[0-9a-f]{128}", re.ASCII)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)

MAX_VALUE: Final = 16_384
"""Bytes of a key's value, at most."""

# Only a string that will expire, and is of the form of a session key's value, is taken; anything
# else stays as it is, and the answer does not tell it from a key that is not there. The answer is
# what the script has read: UUID, name, topics. Redis reads JSON that Python does not, such as 0x10.
# Before that, what it takes to give the key back: when it was taken, what it had left, its value.
# A refusal writes too, and changes nothing: a replica, whose data may be old, answers READONLY.
# Keys of existing servers carry no kind. Whoever is open as another kind keeps its key.
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
    local clock = redis.call('TIME')
    local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
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

GIVE_BACK: Final = """
    local clock = redis.call('TIME')
    local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
    local left = ARGV[2] - math.max(0, now - ARGV[1])
    return left > 0 and redis.call('SET', KEYS[1], ARGV[3], 'PX', left, 'NX') and 1 or 0
"""


@frozen
class Identity:
    """Who a websocket belongs to.

    Attributes:
        kind: user, participant or device.
        uuid: of that user, participant or device.
        name: for people to read.
        topics: further topics, all of whose events it receives.
        project: name of a participant's project.
        site: name of a participant's site.
    """

    kind: Kind
    uuid: str
    name: str = ""
    topics: tuple[str, ...] = ()
    project: str = ""
    site: str = ""


@frozen
class Redeemed:
    """A key that was used up.

    Attributes:
        identity: whom it logs in.
        key: its name.
        stored: when it was used up, in milliseconds of Redis's clock; how many it had left; and
            what it held.
    """

    identity: Identity
    key: str = field(repr=False)
    stored: tuple[int, int, bytes] = field(repr=False)


class SessionKeys:
    """Issues session keys and redeems them.

    Args:
        bus: through which Redis is reached.
        require_bound: refuse the keys of deployed servers, which are guessable and of any kind.
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
        """Make a key that lets one websocket in.

        Args:
            kind: of websocket: user, participant or device.
            uuid: whom it logs in.
            ttl: seconds until it is worth nothing.
            name: of the identity, for people to read.
            topics: further topics whose events it receives.

        Returns:
            Fires with the key: ``<kind>.<43 characters>``, 256 random bits.

        Raises:
            InvalidArgument: something is not of its form.

        Fails with:
            BusUnavailable, ConnectionLost, CommandFailed.

        Source: Redis command SET with NX and PX.
        """
        if kind not in KINDS:
            raise InvalidArgument(f"a kind is one of {', '.join(KINDS)}, not {kind!r}")
        value = encode_identity(uuid, name, topics)
        key = f"{kind}.{secrets.token_urlsafe(32)}"
        stored = self._link.execute("SET", key, value, "PX", milliseconds(ttl), "NX")
        return stored.addCallback(lambda _: key)

    def redeem(self, kind: Kind, key: str) -> Deferred[Identity | None]:
        """Use a key up.

        Args:
            kind: of the websocket that shows it.
            key: as the client gave it: any text.

        Returns:
            Fires with who that is, or None when the key is not valid for that kind: unknown,
            used, expired, or no session key at all. Of any number of attempts one gets the
            identity; what is no session key is left as it was.

        Fails with:
            BusUnavailable, ConnectionLost, CommandFailed: try again later; the key may be good.
        """
        return self.take(kind, key).addCallback(_identity)

    def take(self, kind: Kind, key: str) -> Deferred[Redeemed | None]:
        """Use a key up, so that it can be given back; otherwise like `redeem`."""
        if not self._may_be(kind, key):
            return succeed(None)
        form = "bound" if is_bound(key) else ""
        return self._link.run(REDEEM, [key], kind, form).addCallback(_redeemed, kind, key)

    def check(self) -> Deferred[None]:
        """Try to redeem a key that does not exist, as a login would.

        Returns:
            Fires when Redis would redeem keys now.

        Fails with:
            BusUnavailable, ConnectionLost, CommandFailed: a login would be answered 503.
        """
        unknown = f"{KINDS[0]}.{secrets.token_urlsafe(32)}"
        return self._link.run(REDEEM, [unknown]).addCallback(lambda _: None)

    def give_back(self, redeemed: Redeemed) -> Deferred[bool]:
        """Make a key good again that nobody was let in with, for as long as it would be good.

        Args:
            redeemed: what was taken; it is given back once.

        Returns:
            Fires with whether it is good again: not when its time is over, nor when another key of
            that name was stored meanwhile.

        Fails with:
            BusUnavailable, ConnectionLost, CommandFailed.
        """
        # One command, unlike `Link.run`: who comes again at once, over this link, comes after it.
        given = self._link.execute("EVAL", GIVE_BACK, 1, redeemed.key, *redeemed.stored)
        return given.addCallback(bool)

    def _may_be(self, kind: Kind, key: str) -> bool:
        """Whether it is of a key's form."""
        bound = _BOUND.fullmatch(key)
        if bound:
            return bound[1] == kind
        return not self._require_bound and _DEPLOYED.fullmatch(key) is not None


def is_bound(key: str) -> bool:
    """Tell whether a session key names its kind; those of existing servers do not."""
    return _BOUND.fullmatch(key) is not None


def encode_identity(uuid: str, name: str | None, topics: Sequence[str]) -> str:
    """The value of a key.

    Raises:
        InvalidArgument: something is not of its form.
    """
    if not is_uuid(uuid):
        raise InvalidArgument(f"expected a UUID with hyphens, not {uuid!r}")
    if name is not None and not (isinstance(name, str) and _is_text(name)):
        raise InvalidArgument(f"a name is a string in UTF-8, not {name!r}")
    if isinstance(topics, str) or not all(isinstance(topic, str) and topic for topic in topics):
        raise InvalidArgument("topics are a sequence of strings that are not empty")
    value = uuid
    if name is not None or topics:
        value = json.dumps({"uuid": uuid, "name": name or "", "topics": list(topics)})
    if len(value) > MAX_VALUE:
        raise InvalidArgument(f"name and topics take {len(value)} bytes; {MAX_VALUE} are allowed")
    return value


def _redeemed(found: Any, kind: Kind, key: str) -> Redeemed | None:
    """What `REDEEM` has found."""
    if found is None:
        return None
    taken, left, value, identity = found
    uuid, name, *topics = [text.decode(errors="replace") for text in identity]
    return Redeemed(Identity(kind, uuid, name, tuple(topics)), key, (taken, left, value))


def _identity(redeemed: Redeemed | None) -> Identity | None:
    return redeemed.identity if redeemed is not None else None


def is_uuid(text: Any) -> bool:
    """Whether that is the text of a UUID, with hyphens."""
    return isinstance(text, str) and _UUID.fullmatch(text) is not None


def _is_text(text: str) -> bool:
    """Whether it can be encoded: Redis's JSON knows no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
