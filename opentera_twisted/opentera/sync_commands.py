"""Commands before the reactor runs, where existing programs read their settings from Redis.

Each has a plain connection of its own, which ends with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from opentera_twisted.errors import InvalidArgument
from opentera_twisted.link import RedisAddress
from opentera_twisted.link.plain import execute
from opentera_twisted.link.sentinel import Credentials

__all__ = ["DEFAULT_CONFIG", "address", "execute"]

DEFAULT_CONFIG: Final[Mapping[str, Any]] = {
    "hostname": "127.0.0.1",
    "port": 6379,
    "db": 0,
    "username": "",
    "password": "",
}


def address(config: Mapping[str, Any]) -> RedisAddress:
    """Where the Redis of a ``redis_config`` is.

    Raises:
        InvalidArgument: something is missing in it, or no number.
    """
    try:
        return RedisAddress(
            hosts=((str(config["hostname"]), int(config["port"])),),
            database=int(config.get("db") or 0),
            login=Credentials(config.get("username") or None, config.get("password") or None),
        )
    except (KeyError, TypeError, ValueError):
        raise InvalidArgument(
            "a redis_config has hostname, port and db, and may have username and password"
        ) from None
