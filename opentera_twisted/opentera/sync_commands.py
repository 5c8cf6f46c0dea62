"""Commands before the reactor runs, for existing OpenTera programs that read settings from Redis.

Each command opens and closes its own blocking connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from opentera_twisted.errors import InvalidArgument
from opentera_twisted.link import RedisAddress
from opentera_twisted.link.blocking_connection import execute
from opentera_twisted.link.credentials import Credentials

__all__ = ["DEFAULT_CONFIG", "address", "execute"]

DEFAULT_CONFIG: Final[Mapping[str, Any]] = {
    "hostname": "127.0.0.1",
    "port": 6379,
    "db": 0,
    "username": "",
    "password": "",
}


def address(config: Mapping[str, Any]) -> RedisAddress:
    """Read the address of a Redis from a ``redis_config``.

    Raises:
        InvalidArgument: an item is missing, or is not a number.
    """
    try:
        return RedisAddress(
            hosts=((str(config["hostname"]), int(config["port"])),),
            database=int(config.get("db") or 0),
            login=Credentials(config.get("username") or None, config.get("password") or None),
        )
    except (KeyError, TypeError, ValueError):
        raise InvalidArgument(
            "a redis_config needs hostname, port and db; username and password are optional"
        ) from None
