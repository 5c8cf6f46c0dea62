"""Commands over blocking connections, for threads of a process without a reactor."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Any, Final, Self

import hiredis

from opentera_twisted.errors import (
    AuthenticationFailed,
    BusUnavailable,
    CommandFailed,
    ConnectionLost,
)
from opentera_twisted.link import strangers
from opentera_twisted.link.address import RedisAddress
from opentera_twisted.link.cluster_errors import redirection
from opentera_twisted.link.credentials import TLS, Credentials
from opentera_twisted.link.error_replies import no_database, refusal
from opentera_twisted.link.protocol import Argument
from opentera_twisted.link.slots import key_slot
from opentera_twisted.link.topology import Topology, parse_slots

TIMEOUT: Final = 10.0
"""Seconds to connect, and to receive each reply."""


class BlockingConnection:
    """A blocking connection; a context manager that closes it.

    Args:
        address: address of Redis, or of sentinels.

    Attributes:
        host: host of the connected server; empty for a Unix socket.

    Raises:
        BusUnavailable: Redis is unreachable.
        AuthenticationFailed: Redis refuses the user or the password.
    """

    def __init__(self, address: RedisAddress) -> None:
        self._where = str(address)
        self._address = address
        self.host = ""
        try:
            for self._socket, self.host in _connections(address):
                self._reader = hiredis.Reader()
                if self._is_usable(address):
                    return
                self._socket.close()
        except OSError as error:
            raise BusUnavailable(f"no Redis at {address}: {error}") from None

    def _is_usable(self, address: RedisAddress) -> bool:
        """Log in; return False if sentinels named a server that is no longer the primary."""
        try:
            self._log_in(address.login)
            if address.database:
                self._select(address)
            return not address.primary or self._is_primary()
        except ConnectionLost as error:
            self._socket.close()
            raise BusUnavailable(str(error)) from None
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def execute(self, *command: Argument) -> Any:
        """Send a command and return its reply.

        Raises:
            ConnectionLost: no reply arrived; Redis may have executed the command.
            CommandFailed: Redis refused the command.
        """
        reply = self._exchange(command)
        if not isinstance(reply, hiredis.HiredisError):
            return reply
        error = refusal(command, str(reply))
        moved = redirection(error, self.host) if self._address.is_cluster else None
        if moved is None or moved.kind != "moved" or moved.address is None:
            raise error
        return execute(self._address.node(*moved.address), *command)

    def _select(self, address: RedisAddress) -> None:
        try:
            self.execute("SELECT", address.database)
        except CommandFailed as error:
            raise no_database(address, error) from None

    def _log_in(self, login: Credentials) -> None:
        """Log in.

        Source: Redis command AUTH.
        """
        if login.password is None:
            return
        user = () if login.username is None else (login.username,)
        if isinstance(self._exchange(("AUTH", *user, login.password)), hiredis.HiredisError):
            raise AuthenticationFailed(f"Redis at {self._where} refuses the user or the password")

    def _is_primary(self) -> bool:
        """Ask the server for its role; without the right to ask, assume that it is the primary.

        Source: Redis command ROLE.
        """
        reply = self._exchange(("ROLE",))
        return isinstance(reply, hiredis.HiredisError) or reply[0] == b"master"

    def _exchange(self, command: tuple[Argument, ...]) -> Any:
        try:
            self._socket.sendall(hiredis.pack_command(command))  # type: ignore[arg-type]
        except OSError as error:
            raise self._lost(error) from None
        return self.read()

    def read(self) -> Any:
        """Wait for the next reply, or for a message of a subscription.

        Raises:
            ConnectionLost: none arrived.
        """
        data = b""
        try:
            while (reply := self._reader.gets()) is False:
                data = self._socket.recv(65536)
                if not data:
                    raise ConnectionResetError("Redis closed the connection")
                self._reader.feed(data)
        except OSError as error:
            raise self._lost(error) from None
        except hiredis.ProtocolError:
            raise ConnectionLost(strangers.answered(data)) from None
        return reply

    def _lost(self, error: OSError) -> ConnectionLost:
        return ConnectionLost(f"Redis at {self._where} did not reply: {error}")


def execute(address: RedisAddress, *command: Argument) -> Any:
    """Connect, send one command and return its reply; raise the errors of `BlockingConnection`."""
    with BlockingConnection(address) as connection:
        return connection.execute(*command)


def servers(address: RedisAddress) -> list[RedisAddress]:
    """Return the addresses of a cluster's primaries, or of the single server."""
    if not address.is_cluster:
        return [address]
    return [address.node(*primary) for primary in _topology(address).primaries]


def server_of(address: RedisAddress, name: str) -> RedisAddress:
    """Return the address of the server that owns the slot of a key or topic.

    Raises:
        BusUnavailable: none does.
    """
    if not address.is_cluster:
        return address
    owner = _topology(address).owners[key_slot(name.encode())]
    if owner is None:
        raise BusUnavailable(f"no node of {address} serves the slot of {name}")
    return address.node(*owner)


def _topology(address: RedisAddress) -> Topology:
    """Read the owners of a cluster's slots.

    Source: Redis command CLUSTER SLOTS.
    """
    with BlockingConnection(address) as connection:
        return parse_slots(connection.execute("CLUSTER", "SLOTS"), connection.host)


def _connections(address: RedisAddress) -> Iterator[tuple[socket.socket, str]]:
    """Connect to each server in turn; yield the connection and the server's host."""
    if address.path:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(TIMEOUT)
        connection.connect(address.path)
        yield connection, ""
        return
    hosts = _primaries(address) if address.primary else address.hosts
    error: OSError | None = None
    for host, port in hosts:
        try:
            connection = socket.create_connection((host, port), TIMEOUT)
            if address.tls is not None:
                connection = _encrypted(connection, host, address.tls)
        except OSError as failed:
            error = failed
        except UnicodeError:
            error = OSError(f"{host!r} is not the name of a host")
        else:
            yield connection, host
            # The caller rejected it.
            error = OSError(f"{host}:{port} is a replica")
    raise error or OSError("no host")


def _encrypted(connection: socket.socket, host: str, tls: TLS) -> socket.socket:
    context = ssl.create_default_context(cafile=tls.ca)
    if tls.certificate is not None:
        # Without a password, OpenSSL would ask for one on the terminal.
        context.load_cert_chain(tls.certificate, tls.private_key, password="")
    return context.wrap_socket(connection, server_hostname=host)


def _primaries(address: RedisAddress) -> Iterator[tuple[str, int]]:
    """Ask the sentinels in turn for the primary; a sentinel that lost the others may be wrong.

    Source: Redis command SENTINEL GET-MASTER-ADDR-BY-NAME.
    """
    causes = []
    found: set[tuple[str, int]] = set()
    for host in address.hosts:
        sentinel = RedisAddress(hosts=(host,), login=address.sentinel_login, tls=address.tls)
        try:
            reply = execute(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.primary)
        except Exception as error:  # noqa: BLE001 (the next sentinel may know)
            causes.append(str(error))
            continue
        if reply is None:
            causes.append(f"{sentinel} does not know the name")
            continue
        primary = (reply[0].decode(), int(reply[1]))
        if primary not in found:
            found.add(primary)
            yield primary
    if not found:
        raise ConnectionError(f"no sentinel knows {address.primary} ({'; '.join(causes)})")
