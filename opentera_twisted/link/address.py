"""A Redis URL: where the server is, and as whom to log in there."""

from __future__ import annotations

from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from attrs import field, frozen
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint

from opentera_twisted.errors import InvalidArgument

DEFAULT_URL = "redis://127.0.0.1:6379/0"
DEFAULT_PORT = 6379


@frozen
class RedisAddress:
    """Where a Redis server is, and as whom to log in there.

    Attributes:
        host: name or IP address; empty for a unix socket.
        port: TCP port.
        path: of the unix socket; empty for TCP.
        database: number of the database.
        username: None for the default user.
        password: None when the server asks for none.
    """

    host: str = ""
    port: int = DEFAULT_PORT
    path: str = ""
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> RedisAddress:
        """Read ``redis://[[user]:password@]host[:port][/database]`` or ``unix:///path[?db=n]``.

        Raises:
            InvalidArgument: saying what is wrong; the password is never repeated.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or DEFAULT_PORT
        except ValueError:
            raise InvalidArgument(
                f"not a URL of a Redis server (port or host): {_mask(url)}"
            ) from None
        query = dict(parse_qsl(parts.query))
        database = query.pop("db", None)
        if query:
            raise InvalidArgument(f"unknown in a Redis URL: {', '.join(sorted(query))}; known: db")
        username = unquote(parts.username) if parts.username else None
        password = unquote(parts.password) if parts.password is not None else None
        if parts.scheme == "redis":
            if database is None:
                database = parts.path.strip("/") or "0"
            return cls(
                host=parts.hostname or "127.0.0.1",
                port=port,
                database=_database(database),
                username=username,
                password=password,
            )
        if parts.scheme == "unix":
            return cls(
                path=_socket_path(parts),
                database=_database(database or "0"),
                username=username,
                password=password,
            )
        raise InvalidArgument(
            f"{_mask(url)} is not a URL of a Redis server: expected redis://host:port/database "
            "or unix:///path?db=database"
        )

    def __str__(self) -> str:
        """The URL without user and password: what may stand in a log."""
        if self.path:
            return f"unix://{self.path}?db={self.database}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"redis://{host}:{self.port}/{self.database}"

    def endpoint(self, reactor: Any, timeout: float) -> IStreamClientEndpoint:
        """The endpoint that connects there, giving up an attempt after ``timeout`` seconds."""
        if self.path:
            return UNIXClientEndpoint(reactor, self.path, timeout=timeout)
        return HostnameEndpoint(reactor, self.host, self.port, timeout=timeout)


def _socket_path(parts: SplitResult) -> str:
    if parts.hostname or not parts.path.startswith("/") or len(parts.path) == 1:
        raise InvalidArgument("a unix:// URL names an absolute path: unix:///run/redis.sock?db=0")
    return unquote(parts.path)


def _database(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise InvalidArgument(f"the database of a Redis URL is a number, not {text!r}")
    return int(text)


def _mask(url: str) -> str:
    """The URL without what stands before the last ``@``."""
    scheme, separator, rest = url.partition("://")
    return (
        f"{scheme}{separator}{rest.rpartition('@')[2]}"
        if separator
        else repr(url.rpartition("@")[2])
    )
