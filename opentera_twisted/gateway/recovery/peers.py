"""The registry in Redis of the gateways that clients can return to.

opentera.recovery.gateways   sorted set: marker topic -> expiry, ms of Redis's clock

A gateway withdraws its entry before it stops.
"""

from __future__ import annotations

from typing import Final

from twisted.internet.defer import Deferred

from opentera_twisted.link import Link, Script
from opentera_twisted.messages.templates import NOW
from opentera_twisted.topics import RECOVERY

GATEWAYS: Final = f"{RECOVERY}gateways"

LIFETIME: Final = 15.0
"""Seconds until an announcement expires."""

_ANNOUNCE: Final = Script(
    NOW
    + f"""
    redis.call('ZADD', KEYS[1], now + {round(LIFETIME * 1000)}, ARGV[1])
    redis.call('PEXPIRE', KEYS[1], {round(LIFETIME * 1000)})
    """
)

_OTHERS: Final = Script(
    NOW
    + """
    redis.call('ZREM', KEYS[1], ARGV[1])
    local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '+inf', 'WITHSCORES')
    local count = 0
    for i = 1, #found, 2 do
        if tonumber(found[i + 1]) > now then
            count = count + 1
        else
            redis.call('ZREM', KEYS[1], found[i])
        end
    end
    return count
    """
)


class Peers:
    """One gateway's view of the registry.

    Args:
        link: The link for commands.
        name: The gateway's marker topic.
    """

    def __init__(self, link: Link, name: str) -> None:
        self._link = link
        self._name = name

    def announce(self) -> Deferred[None]:
        """Announce this gateway to the others; fails as `Link.run` does."""
        return self._link.run(_ANNOUNCE, [GATEWAYS], self._name)

    def others(self) -> Deferred[int]:
        """Withdraw this gateway and count the others; fails as `Link.run` does."""
        return self._link.run(_OTHERS, [GATEWAYS], self._name)
