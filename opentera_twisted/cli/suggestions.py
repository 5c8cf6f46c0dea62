"""Completion of arguments from the running bus; without an answer in time, there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Thread
from typing import Final
from uuid import uuid4

import click

from opentera_twisted import topics
from opentera_twisted.holders import GATEWAYS, HELD
from opentera_twisted.link import PRESENCE, RedisAddress
from opentera_twisted.link.blocking_connection import (
    BlockingConnection,
    execute,
    server_of,
    servers,
)
from opentera_twisted.link.secret_file import read_secret, with_password
from opentera_twisted.rpc.description import DESCRIBE
from opentera_twisted.rpc.wire import decode_reply, encode_request, new_id

PATIENCE: Final = 0.3
"""Seconds to wait for the bus."""

Suggest = Callable[[click.Context, click.Parameter, str], list[str]]


def _suggesting(read: Callable[[RedisAddress, click.Context], Iterable[str]]) -> Suggest:
    """Make a completion of the names that a function reads from Redis."""

    def suggest(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
        found: list[str] = []

        def work() -> None:
            try:
                options = context.find_root().params
                url = options["url"]
                if options["password_file"] is not None:
                    url = with_password(url, read_secret(options["password_file"]).text)
                address = RedisAddress.parse(url)
                found.extend(read(address, context))
            except Exception:  # noqa: BLE001, S110 (completion must not print errors)
                pass

        thread = Thread(target=work, daemon=True)
        thread.start()
        thread.join(PATIENCE)
        # The names come from other programs, and go to a terminal.
        return sorted(
            {name for name in list(found) if name.startswith(incomplete) and name.isprintable()}
        )

    return suggest


def _read_channels(address: RedisAddress, pattern: str) -> list[str]:
    found: set[bytes] = set()
    for server in servers(address):
        with BlockingConnection(server) as connection:
            found.update(connection.execute("PUBSUB", "CHANNELS", pattern))
            if address.is_cluster:
                found.update(connection.execute("PUBSUB", "SHARDCHANNELS", pattern))
    return list(map(topics.decode, found))


def _read_servers(address: RedisAddress, _: click.Context) -> list[str]:
    names = [name.removesuffix(".rpc") for name in _read_channels(address, "*.rpc")]
    own = f"service.{topics.GATEWAY_SERVICE}"
    return [name for name in names if name.startswith(("service.", "module.")) and name != own]


def _read_topics(address: RedisAddress, _: click.Context) -> list[str]:
    hidden = (topics.REPLY_CHANNELS, "opentera.", "__redis__:")
    return [name for name in _read_channels(address, "*") if not name.startswith(hidden)]


def _read_uuids(address: RedisAddress, context: click.Context) -> list[str]:
    kind = context.params.get("kind")
    found = []

    def key(name: str) -> str:
        return PRESENCE.on_cluster(name) if address.is_cluster else name

    with BlockingConnection(server_of(address, key(GATEWAYS))) as connection:
        for gateway in connection.execute("ZRANGE", key(GATEWAYS), 0, -1):
            for identity in connection.execute("HKEYS", key(HELD + topics.decode(gateway))):
                of, _, uuid = topics.decode(identity).partition(".")
                if kind in {None, of}:
                    found.append(uuid)
    return found


def _read_procedures(address: RedisAddress, context: click.Context) -> list[str]:
    """Ask the server for its description."""
    reply_to = f"{topics.REPLY_CHANNELS}{uuid4()}"
    request = encode_request(DESCRIBE, reply_to, new_id(), ())
    topic = topics.rpc_of(context.params["server"])
    sharded = "S" if address.is_cluster else ""
    with BlockingConnection(server_of(address, reply_to)) as connection:
        connection.execute(f"{sharded}SUBSCRIBE", reply_to)
        execute(address, f"{sharded}PUBLISH", topic, request)
        _, _, payload = connection.read()
    reply = decode_reply(payload) or {}
    return [str(procedure["name"]) for procedure in reply["return_value"]["procedures"]]


suggest_procedures: Final = _suggesting(_read_procedures)
suggest_servers: Final = _suggesting(_read_servers)
suggest_topics: Final = _suggesting(_read_topics)
suggest_uuids: Final = _suggesting(_read_uuids)
