"""The ``opentera-bus`` commands for services, modules and their procedures."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter

import click

from opentera_twisted import topics
from opentera_twisted.bus import Bus
from opentera_twisted.cli.arguments import parse_argument
from opentera_twisted.cli.commands import cli
from opentera_twisted.cli.output import print_description, print_latency, print_services
from opentera_twisted.cli.run import Work, command, fail
from opentera_twisted.cli.seconds import Seconds
from opentera_twisted.cli.suggestions import suggest_procedures, suggest_servers
from opentera_twisted.cli.values import print_bytes, print_json
from opentera_twisted.errors import BusError
from opentera_twisted.rpc import stub as make_stub
from opentera_twisted.rpc.caller import encode_call


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("server", metavar="service.KEY|module.NAME", shell_complete=suggest_servers)
@click.argument("method", shell_complete=suggest_procedures)
@click.argument("arguments", nargs=-1, metavar="[ARG]...")
@click.option(
    "--timeout",
    type=Seconds(min=0, min_open=True),
    help="Seconds to wait for the reply; by default opentera-bus --timeout.",
)
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    metavar="N",
    help="Number of calls, made one after another; prints how long they took.",
)
@command
def call(
    server: str, method: str, arguments: tuple[str, ...], timeout: float | None, repeat: int | None
) -> Work:
    """Call METHOD of a service or a module.

    Prints the result as JSON.

    ARG is a JSON bool, int, float or string, or bytes as hex:DEADBEEF. Other text is a string.

    \b
    opentera-bus call module.TeraServer.UserManagerModule online_users
    opentera-bus call service.Sum add 1 2 --repeat 1000
    """  # noqa: D301 (click takes the character itself)
    topics.rpc_of(server)
    values = [parse_argument(argument) for argument in arguments]
    seconds = timeout or click.get_current_context().obj.timeout
    encode_call(method, "", 0, values, seconds)

    async def once(bus: Bus) -> None:
        value = await bus.call_server(server, method, *values, timeout=seconds)
        try:
            print_json(value)
        except ValueError:
            fail(f"{server}: {method} returned a value that JSON cannot express: {value!r}")

    async def work(bus: Bus) -> None:
        durations, errors = [], []
        with _progress(range(repeat or 0)) as calls:
            for _ in calls:
                began = perf_counter()
                try:
                    await bus.call_server(server, method, *values, timeout=seconds)
                except BusError as error:
                    errors.append(str(error))
                else:
                    durations.append(perf_counter() - began)
        if durations:
            print_latency(durations, len(errors))
        if errors:
            fail(f"{len(errors)} of {repeat} calls failed; the last error: {errors[-1]}")

    return once if repeat is None else work


def _progress(calls: Sequence[int]) -> AbstractContextManager[Iterable[int]]:
    """Draw a progress bar on a terminal only; elsewhere click would print its label."""
    if sys.stderr.isatty():
        return click.progressbar(calls, label="calls", file=sys.stderr)
    return nullcontext(calls)


@cli.command()
@click.argument("server", metavar="service.KEY|module.NAME", shell_complete=suggest_servers)
@command
def describe(server: str) -> Work:
    """Print the procedures of a service or a module.

    Prints a table on a terminal, JSON in a pipe.

    \b
    opentera-bus describe service.VideoRehabService
    """  # noqa: D301 (click takes the character itself)
    topics.rpc_of(server)
    timeout = click.get_current_context().obj.timeout

    async def work(bus: Bus) -> None:
        print_description(await bus.describe(server, timeout))

    return work


@cli.command()
@command
def services() -> Work:
    """Print the services and modules that listen for calls now.

    Prints a table on a terminal, JSON in a pipe.

    \b
    opentera-bus services | jq -r '.[].server'
    """  # noqa: D301 (click takes the character itself)

    async def work(bus: Bus) -> None:
        print_services(await bus.services())

    return work


@cli.command()
@click.argument("server", metavar="service.KEY|module.NAME", shell_complete=suggest_servers)
@command
def stub(server: str) -> Work:
    """Print a typed Python stub of a server's procedures.

    For editors and mypy.

    \b
    opentera-bus stub service.Sum > sum_service.py
    """  # noqa: D301 (click takes the character itself)
    topics.rpc_of(server)
    timeout = click.get_current_context().obj.timeout

    async def work(bus: Bus) -> None:
        print_bytes(make_stub(await bus.describe(server, timeout)).encode())

    return work
