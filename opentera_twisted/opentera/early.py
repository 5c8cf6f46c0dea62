"""Commands before the reactor runs, where existing programs read their settings from Redis.

Each has a plain connection of its own, which ends with it.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any, Final

import hiredis

from opentera_twisted.errors import AuthenticationFailed, BusUnavailable, InvalidArgument
from opentera_twisted.link import COMMAND_TIMEOUT, RedisAddress
from opentera_twisted.link.protocol import Argument
from opentera_twisted.link.refusals import refusal
from opentera_twisted.link.sentinel import Login

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
            login=Login(config.get("username") or None, config.get("password") or None),
        )
    except (KeyError, TypeError, ValueError):
        raise InvalidArgument(
            "a redis_config has hostname, port and db, and may have username and password"
        ) from None


def execute(where: RedisAddress, *command: Argument) -> Any:
    """Connect, send one command, and give back its reply.

    Raises:
        BusUnavailable: Redis is not there, or does not answer.
        AuthenticationFailed: it refuses the user or the password.
        CommandFailed: it refuses the command.
    """
    commands: list[tuple[Argument, ...]] = [("SELECT", where.database), command]
    if where.login.password is not None:
        user = () if where.login.username is None else (where.login.username,)
        commands.insert(0, ("AUTH", *user, where.login.password))
    try:
        with socket.create_connection(where.hosts[0], COMMAND_TIMEOUT) as connection:
            data = b"".join(hiredis.pack_command(one) for one in commands)  # type: ignore[arg-type]
            connection.sendall(data)
            replies = _receive(connection, len(commands))
    except OSError as error:
        raise BusUnavailable(f"no Redis at {where}: {error}") from None
    for one, reply in zip(commands, replies, strict=True):
        if isinstance(reply, hiredis.HiredisError):
            if one[0] == "AUTH":
                raise AuthenticationFailed(
                    f"Redis at {where} refuses the user or the password of redis_config"
                )
            raise refusal(one, str(reply))
    return replies[-1]


def _receive(connection: socket.socket, count: int) -> list[Any]:
    reader = hiredis.Reader()
    replies: list[Any] = []
    while len(replies) < count:
        reply = reader.gets()
        if reply is not False:
            replies.append(reply)
            continue
        data = connection.recv(65536)
        if not data:
            raise ConnectionResetError("it closed the connection")
        reader.feed(data)
    return replies
