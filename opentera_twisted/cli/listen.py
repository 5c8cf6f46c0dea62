"""``opentera-bus listen``: events of a gateway, as a websocket client receives them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import click
from rich.text import Text
from twisted.python.failure import Failure

from opentera_twisted import topics
from opentera_twisted._internal.printable import printable
from opentera_twisted.bus import Bus
from opentera_twisted.cli.arguments import json_option, types_option
from opentera_twisted.cli.commands import CommandSettings, cli
from opentera_twisted.cli.output import styled
from opentera_twisted.cli.run import run_in_reactor, run_with_bus
from opentera_twisted.cli.stream import Stream
from opentera_twisted.cli.values import is_terminal, say, short_json
from opentera_twisted.client import Disconnected, Event, GatewayClient
from opentera_twisted.client.address import GatewayAddress
from opentera_twisted.errors import BusError, InvalidArgument
from opentera_twisted.link.secret_file import read_secret
from opentera_twisted.messages.decoding import strict
from opentera_twisted.sessions import SessionKeys, encode_identity

KEY_VARIABLE: Final = "SESSION_KEY"
"""Environment variable with a session key."""

Supplier = Callable[[], "str | Awaitable[str]"]


@cli.command()
@click.argument("url")
@click.option(
    "--kind",
    type=click.Choice(topics.KINDS),
    help="Kind of client for --uuid; by default the last part of the URL's path.",
)
@click.option("--uuid", help="UUID to log in as, with session keys issued in Redis.")
@click.option("--name", help="Display name for --uuid.")
@click.option(
    "--key-file",
    metavar="FILE",
    help="File with a session key, read at each login; - reads a line of standard input.",
)
@types_option("Event")
@json_option
@click.option("--count", "-n", type=click.IntRange(min=1), help="Number of events to print.")
@click.option("--no-recovery", is_flag=True, help="Do not recover events missed in a break.")
@click.option("--ca", metavar="FILE", help="PEM file with the certificates to trust.")
@click.option("--no-verify", is_flag=True, help="Accept any certificate; for tests.")
@click.pass_context
def listen(
    context: click.Context,
    url: str,
    kind: topics.Kind | None,
    uuid: str | None,
    name: str | None,
    key_file: str | None,
    types: tuple[str, ...],
    as_json: bool,
    count: int | None,
    no_recovery: bool,
    ca: str | None,
    no_verify: bool,
) -> None:
    """Print the events of a websocket at URL, until Ctrl-C.

    With --uuid, the command issues session keys in the Redis of --redis. Otherwise it reads a key
    from --key-file, or from the environment variable SESSION_KEY, and needs no Redis.

    Reports refusals and breaks of the websocket, and gaps with possibly missing events, on
    standard error.

    \b
    opentera-bus listen ws://127.0.0.1:40085/wss/user --uuid 11111111-2222-3333-4444-555555555555
    opentera-bus listen wss://example.org/wss/device --key-file key -n 1 --json | jq .data
    """  # noqa: D301 (click takes the character itself)
    settings: CommandSettings = context.obj
    try:
        address = GatewayAddress.parse(url, ca, verify=not no_verify)
        kind = kind or _kind_of(address)
        supplier: Supplier | None
        if uuid is None:
            supplier = _given_key(key_file)
        elif key_file is not None:
            raise InvalidArgument("--uuid and --key-file exclude each other")
        else:
            supplier = None
            identity = _check_identity(kind, uuid, name), uuid
    except InvalidArgument as error:
        raise click.UsageError(str(error), context) from None

    make = partial(GatewayClient, url, ca=ca, verify=not no_verify, recovery=not no_recovery)
    render = _line if as_json or not is_terminal() else _lines

    async def work(reactor: Any, supplier: Supplier) -> None:
        stream = Stream(reactor, count)

        def received(event: Event) -> None:
            if not types or event.name in types:
                stream.write(render(event))

        await _read(reactor, stream, partial(make, supplier, received), settings.timeout)

    async def with_bus(bus: Bus) -> None:
        await bus.link.execute("PING", timeout=settings.timeout)
        await work(bus.link.reactor, lambda: SessionKeys(bus).issue(*identity, name=name))

    if supplier is not None:
        given = supplier
        run_in_reactor(lambda reactor: work(reactor, given))
        return

    run_with_bus(with_bus, context)


class _NoKey(BusError):
    """The gateway needs a session key that the command line does not have."""


def _check_identity(kind: topics.Kind | None, uuid: str, name: str | None) -> topics.Kind:
    """Check the identity of a session key, and return its kind.

    Raises:
        InvalidArgument: the identity is incomplete or malformed.
    """
    if kind is None:
        raise InvalidArgument(
            f"the URL does not end with a kind; add --kind, such as --kind {topics.KINDS[0]}"
        )
    encode_identity(uuid, name, ())
    return kind


def _kind_of(address: GatewayAddress) -> topics.Kind | None:
    last = address.url.path.rstrip("/").rpartition("/")[2]
    return next((kind for kind in topics.KINDS if kind == last), None)


def _given_key(path: str | None) -> Supplier:
    """Return a supplier of keys from a file, standard input or the environment.

    Raises:
        InvalidArgument: no source of keys is given.
    """
    if path is None and KEY_VARIABLE not in os.environ:
        raise InvalidArgument(f"no session key; add --uuid or --key-file, or set {KEY_VARIABLE}")
    used: set[str] = set()

    def read() -> str:
        if path is None:
            return os.environ[KEY_VARIABLE].strip()
        return sys.stdin.readline().strip() if path == "-" else _read_file(path)

    source = f"of {KEY_VARIABLE}"
    if path is not None:
        source = "of standard input" if path == "-" else f"in {path}"

    def supply() -> str:
        try:
            key = read()
        except InvalidArgument as error:
            raise _NoKey(str(error)) from None
        if not key:
            raise _NoKey(f"no session key {source}")
        if key in used:
            raise _NoKey(f"the gateway needs a new session key; the one {source} is used")
        used.add(key)
        return key

    return supply


def _read_file(path: str) -> str:
    secret = read_secret(path, "a session key")
    if secret.exposure:
        say(secret.exposure)
    return secret.text.strip()


async def _read(
    reactor: Any, stream: Stream, make: Callable[..., GatewayClient], timeout: float
) -> None:
    """Read events until the stream ends; report failed attempts and breaks on standard error."""
    reported = ""

    def gap() -> None:
        say("gap: the websocket is back; events in between are missing here")

    def changed() -> None:
        nonlocal reported
        error = client.error
        if error is None:
            reported = ""
        elif isinstance(error, Disconnected):
            stream.end(Failure(error))
        elif isinstance(error.__cause__, _NoKey):
            stream.end(Failure(error.__cause__))
        elif str(error) != reported:
            reported = str(error)
            say(reported)

    client = make(on_gap=gap, reactor=reactor, on_change=changed)
    client.startService()
    reactor.addSystemEventTrigger("before", "shutdown", client.stopService)
    client.connected(timeout).addErrback(stream.end)
    try:
        await stream.ended
    finally:
        await client.stopService()


def _line(event: Event) -> str:
    line = {
        "time": None if event.time is None else event.time.isoformat(),
        "topic": event.topic,
        "name": event.name,
        "data": strict(event.data),
    }
    return json.dumps(line)


def _lines(event: Event) -> str:
    """Format an event for a terminal: time and topic, and below them its fields."""
    when = "" if event.time is None else f"{event.time.astimezone():%H:%M:%S.%f}"[:-3]
    fields = {name: value for name, value in event.data.items() if name != "@type"}
    text = Text.assemble((when, "dim"), " ", (printable(event.topic or "", ""), "bold"))
    text.append("\n  ")
    text.append(printable(event.name, ""), "cyan")
    text.append(f" {short_json(fields)}")
    return styled(text)
