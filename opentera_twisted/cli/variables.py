"""The ``opentera-bus`` commands for shared variables."""

from __future__ import annotations

import json
from datetime import datetime

import click

from opentera_twisted._internal.printable import printable
from opentera_twisted.bus import Bus
from opentera_twisted.cli.arguments import json_option, parse_bytes
from opentera_twisted.cli.commands import cli
from opentera_twisted.cli.run import Work, command, fail
from opentera_twisted.cli.seconds import Seconds
from opentera_twisted.cli.stream import Stream, report_gaps
from opentera_twisted.cli.values import is_terminal, print_bytes, print_json, text_or_hex
from opentera_twisted.variables import encode_name


@cli.command()
@click.argument("name")
@command
def get(name: str) -> Work:
    """Print the value of the variable NAME.

    Status 1 if it does not exist.

    \b
    opentera-bus get service.VideoRehabService | jq .
    """  # noqa: D301 (click takes the character itself)
    encode_name(name)

    async def work(bus: Bus) -> None:
        value = await bus.variables.get(name)
        if value is None:
            fail(f"there is no variable {name}")
        print_bytes(value)

    return work


@cli.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("value")
@click.option("--ttl", type=Seconds(min=0.001), help="Seconds until Redis deletes it.")
@click.option("--only-if-absent", is_flag=True, help="Do not overwrite an existing variable.")
@command
def set_(name: str, value: str, ttl: float | None, only_if_absent: bool) -> Work:
    """Write VALUE to the variable NAME.

    VALUE is text or hex:DEADBEEF. Status 1 if the variable was not written.

    \b
    opentera-bus set greeting hello --ttl 60
    opentera-bus set lock hex:01 --only-if-absent
    """  # noqa: D301 (click takes the character itself)
    encode_name(name)
    data = parse_bytes(value)

    async def work(bus: Bus) -> None:
        if not await bus.variables.set(name, data, ttl, only_if_absent):
            fail(f"{name} already exists")

    return work


@cli.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@command
def delete(names: tuple[str, ...]) -> Work:
    """Delete variables and print how many existed.

    \b
    opentera-bus delete greeting lock
    """  # noqa: D301 (click takes the character itself)
    for name in names:
        encode_name(name)

    async def work(bus: Bus) -> None:
        print_json(await bus.variables.delete(*names))

    return work


@cli.command()
@click.argument("name")
@json_option
@click.option("--count", "-n", type=click.IntRange(min=1), help="Number of lines to print.")
@command
def watch(name: str, as_json: bool, count: int | None) -> Work:
    """Print the variable NAME now and after each change.

    Until Ctrl-C. Changes in quick succession may be printed as one.

    \b
    opentera-bus watch service.VideoRehabService
    opentera-bus watch service.VideoRehabService --json | jq .value
    """  # noqa: D301 (click takes the character itself)
    encode_name(name)

    async def work(bus: Bus) -> None:
        stream = Stream(bus.link.reactor, count)
        report_gaps(bus, "changes in between are missing here")
        printed: list[bytes | None] = []

        def changed(_: str, value: bytes | None) -> None:
            if printed == [value]:  # a watch reads the value again after a gap
                return
            printed[:] = [value]
            stream.write(_change(name, value, as_json=as_json or not is_terminal()))

        await bus.variables.watch(name, changed)
        await stream.ended

    return work


def _change(name: str, value: bytes | None, *, as_json: bool) -> str:
    now = datetime.now().astimezone()
    text = "(none)" if value is None else text_or_hex(value)
    if not as_json:
        return f"{now:%H:%M:%S} {printable(text)}"
    try:
        shown = {"value": None if value is None else value.decode()}
    except UnicodeDecodeError:
        shown = {"hex": text.removeprefix("hex:")}
    return json.dumps({"time": now.isoformat(), "name": name, **shown})
