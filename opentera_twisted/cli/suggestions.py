"""Completion of arguments from the running bus; without an answer in time, there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Thread
from typing import Final
from uuid import uuid4

import click

from opentera_twisted import topics
from opentera_twisted.holders import GATEWAYS, HELD
from opentera_twisted.link import RedisAddress
from opentera_twisted.link.plain import PlainConnection, execute
from opentera_twisted.rpc.description import DESCRIBE
from opentera_twisted.rpc.wire import decode_reply, encode_request, new_id

PATIENCE: Final = 0.3
"""Seconds to wait for the bus."""

Suggest = Callable[[click.Context, click.Parameter, str], list[str]]


def _suggesting(read: Callable[[PlainConnection, click.Context], Iterable[str]]) -> Suggest:
    """Make a completion of the names that a function reads from Redis."""

    def suggest(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
        found: list[str] = []

        def work() -> None:
            try:
                url = context.find_root().params["url"]
                with PlainConnection(RedisAddress.parse(url)) as connection:
                    found.extend(read(connection, context))
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


def _read_channels(connection: PlainConnection, pattern: str) -> list[str]:
    return [topics.decode(name) for name in connection.execute("PUBSUB", "CHANNELS", pattern)]


def _read_servers(connection: PlainConnection, _: click.Context) -> list[str]:
    names = [name.removesuffix(".rpc") for name in _read_channels(connection, "*.rpc")]
    own = f"service.{topics.GATEWAY_SERVICE}"
    return [name for name in names if name.startswith(("service.", "module.")) and name != own]


def _read_topics(connection: PlainConnection, _: click.Context) -> list[str]:
    hidden = (topics.REPLY_CHANNELS, "opentera.")
    return [name for name in _read_channels(connection, "*") if not name.startswith(hidden)]


def _read_uuids(connection: PlainConnection, context: click.Context) -> list[str]:
    kind = context.params.get("kind")
    found = []
    for gateway in connection.execute("ZRANGE", GATEWAYS, 0, -1):
        for identity in connection.execute("HKEYS", HELD + topics.decode(gateway)):
            of, _, uuid = topics.decode(identity).partition(".")
            if kind in {None, of}:
                found.append(uuid)
    return found


def _read_procedures(connection: PlainConnection, context: click.Context) -> list[str]:
    """Ask the server for its description."""
    reply_to = f"{topics.REPLY_CHANNELS}{uuid4()}"
    request = encode_request(DESCRIBE, reply_to, new_id(), ())
    connection.execute("SUBSCRIBE", reply_to)
    address = RedisAddress.parse(context.find_root().params["url"])
    execute(address, "PUBLISH", topics.rpc_of(context.params["server"]), request)
    _, _, payload = connection.read()
    reply = decode_reply(payload) or {}
    return [str(procedure["name"]) for procedure in reply["return_value"]["procedures"]]


suggest_procedures: Final = _suggesting(_read_procedures)
suggest_servers: Final = _suggesting(_read_servers)
suggest_topics: Final = _suggesting(_read_topics)
suggest_uuids: Final = _suggesting(_read_uuids)
