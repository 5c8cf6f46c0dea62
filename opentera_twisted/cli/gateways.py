"""The commands of ``opentera-bus`` about gateways and their websockets."""

from __future__ import annotations

import click

from opentera_twisted.bus import Bus
from opentera_twisted.cli.commands import cli
from opentera_twisted.cli.output import print_clients, print_gateways
from opentera_twisted.cli.run import Work, command
from opentera_twisted.gateway import all_gateways
from opentera_twisted.gateway.listing import MOST


@cli.command()
@command
def gateways() -> Work:
    """Print the gateways of this Redis.

    Each worker is one gateway. Gateways of existing OpenTera programs are not listed.

    Prints a table on a terminal, JSON in a pipe.

    \b
    opentera-bus gateways | jq 'map(.clients.user) | add'
    """  # noqa: D301 (click takes the character itself)

    async def work(bus: Bus) -> None:
        print_gateways(await all_gateways.gateways(bus))

    return work


@cli.command()
@click.argument("search", default="")
@click.option(
    "--most",
    type=click.IntRange(1, MOST),
    default=MOST,
    show_default=True,
    help="Number of websockets to print, the latest first.",
)
@command
def clients(search: str, most: int) -> Work:
    """Print the websockets of all gateways.

    SEARCH is a part of a kind, UUID, name or address.

    Prints a table on a terminal, JSON in a pipe.

    \b
    opentera-bus clients 192.0.2.
    opentera-bus clients device --json | jq '.clients[].uuid'
    """  # noqa: D301 (click takes the character itself)

    async def work(bus: Bus) -> None:
        print_clients(await all_gateways.clients(bus, search, most))

    return work
