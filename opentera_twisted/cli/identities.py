"""The commands of ``opentera-bus`` about users, participants and devices."""

from __future__ import annotations

from getpass import getuser
from socket import gethostname

import click

from opentera_twisted import topics
from opentera_twisted.bus import Bus
from opentera_twisted.cli.commands import cli
from opentera_twisted.cli.online import known_online
from opentera_twisted.cli.output import print_online
from opentera_twisted.cli.run import Work, command, fail
from opentera_twisted.cli.seconds import Seconds
from opentera_twisted.cli.suggestions import suggest_uuids
from opentera_twisted.cli.values import is_json, print_json
from opentera_twisted.sessions import SessionKeys, encode_identity
from opentera_twisted.variables import SESSION_KEY_LIFETIME


@cli.command()
@click.argument(
    "kind",
    type=click.Choice(topics.KINDS),
    required=False,
    metavar=f"[{'|'.join(topics.KINDS)}]",  # older versions of click write two pairs of brackets
)
@click.option("--sources", is_flag=True, help="Add each UUID's sources: gateways, registry.")
@command
def online(kind: topics.Kind | None, sources: bool) -> Work:
    """Print the UUIDs that have a websocket open.

    The sources are the gateways, and the registry of the user manager module if it runs.

    Prints a table on a terminal. In a pipe, prints a JSON list of UUIDs with KIND, otherwise an
    object with a list for each kind. With --sources, each list is an object from UUID to sources.

    \b
    opentera-bus online
    opentera-bus online user | jq length
    """  # noqa: D301 (click takes the character itself)

    async def work(bus: Bus) -> None:
        known = await known_online(bus, topics.KINDS if kind is None else (kind,))
        print_online(known, kind, sources=sources)

    return work


@cli.command()
@click.argument("kind", type=click.Choice(topics.KINDS))
@click.argument("uuid", shell_complete=suggest_uuids)
@command
def disconnect(kind: topics.Kind, uuid: str) -> Work:
    """Close the websockets of UUID.

    Prints the number of receivers of the command: gateways with such a websocket, and
    programs that subscribe to a matching pattern, such as tail. Status 1 without any.

    \b
    opentera-bus disconnect user 11111111-2222-3333-4444-555555555555
    """  # noqa: D301 (click takes the character itself)
    encode_identity(uuid, None, ())

    async def work(bus: Bus) -> None:
        source = f"opentera-bus disconnect: {getuser()} at {gethostname()}"
        receivers = await bus.presence.disconnect(kind, uuid, source)
        if not receivers:
            fail(f"no gateway has a websocket of {kind} {uuid}")
        print_json(receivers)

    return work


@cli.group()
def key() -> None:
    """Issue session keys, the one-time keys of websocket logins."""


@key.command()
@click.argument("kind", type=click.Choice(topics.KINDS))
@click.argument("uuid")
@click.option(
    "--ttl",
    type=Seconds(min=0.001),
    default=SESSION_KEY_LIFETIME,
    show_default=True,
    help="Seconds until the key expires.",
)
@click.option("--name", help="Display name of the client.")
@command
def issue(kind: topics.Kind, uuid: str, ttl: float, name: str | None) -> Work:
    """Print a session key for one websocket of KIND.

    The key logs in one client as UUID, once.

    \b
    opentera-bus key issue user 11111111-2222-3333-4444-555555555555 --name Zoé
    """  # noqa: D301 (click takes the character itself)
    encode_identity(uuid, name, ())

    async def work(bus: Bus) -> None:
        key = await SessionKeys(bus).issue(kind, uuid, ttl, name)
        print_json(key) if is_json() else click.echo(key)

    return work
