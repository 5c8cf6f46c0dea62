"""The commands of ``opentera-bus``: data on standard output, messages on standard error."""

from __future__ import annotations

import functools
import sys
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import NoReturn, ParamSpec

import click
from attrs import frozen
from google.protobuf.message import Message
from twisted.internet.defer import Deferred
from twisted.internet.task import react

from opentera_twisted import topics
from opentera_twisted.bus import Bus
from opentera_twisted.cli.arguments import (
    Seconds,
    is_envelope,
    parse_argument,
    parse_bytes,
    parse_messages,
)
from opentera_twisted.cli.output import (
    print_description,
    print_json,
    print_latency,
    print_online,
    print_services,
)
from opentera_twisted.errors import BusError, InvalidArgument, InvalidTopic
from opentera_twisted.link import DEFAULT_URL
from opentera_twisted.messages.packing import tera_event
from opentera_twisted.rpc import stub as make_stub
from opentera_twisted.rpc.caller import encode_call
from opentera_twisted.sessions import SessionKeys, encode_identity
from opentera_twisted.variables import SESSION_KEY_LIFETIME

P = ParamSpec("P")

Work = Callable[[Bus], Awaitable[None]]
"""What a command does once Redis is there."""

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""

FAILED = 1
"""Exit status when a command could not do its work; click's own for a wrong command line is 2."""


@frozen
class Settings:
    """What holds for every command."""

    url: str
    timeout: float


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--redis",
    "url",
    metavar="URL",
    envvar="REDIS_URL",
    default=DEFAULT_URL,
    show_default=True,
    show_envvar=True,
    help="redis://[[user]:password@]host[:port][/database] or unix:///path?db=n",
)
@click.option(
    "--timeout",
    type=Seconds(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Seconds to wait for Redis, and for the reply of a call.",
)
@click.version_option(package_name="opentera-twisted", message="%(version)s")
@click.pass_context
def cli(context: click.Context, url: str, timeout: float) -> None:
    """Read, publish and call on the bus of OpenTera."""
    context.obj = Settings(url, timeout)


def _command(function: Callable[P, Work]) -> Callable[P, None]:
    """Run what a function returns with a connected bus; a `BusError` is one line and status 1.

    The function itself looks at the command line: what it raises is a mistake there, of which
    Redis does not hear.
    """

    @functools.wraps(function)
    def run(*arguments: P.args, **options: P.kwargs) -> None:
        context = click.get_current_context()
        settings: Settings = context.obj
        try:
            work = function(*arguments, **options)
        except (InvalidArgument, InvalidTopic) as error:
            raise click.UsageError(str(error), context) from None
        try:
            bus = Bus(settings.url, name="opentera-bus-cli")
        except InvalidArgument as error:
            raise click.BadParameter(str(error), context, param_hint="--redis") from None
        finished = False

        async def main() -> None:
            nonlocal finished
            try:
                bus.startService()
                try:
                    # Nothing is asked before Redis is there: it is missed no longer than wanted.
                    await bus.link.execute("PING", timeout=settings.timeout)
                    await work(bus)
                finally:
                    await bus.stopService()
            except BusError as error:
                _fail(str(error))
            except BrokenPipeError:  # who reads has seen enough
                raise SystemExit(FAILED) from None
            except OSError as error:
                _fail(f"cannot write: {error.strerror}")
            finally:
                finished = True

        try:
            react(lambda _: Deferred.fromCoroutine(main()))
        except SystemExit:
            if not finished:
                raise SystemExit(INTERRUPTED) from None
            raise

    return run


def _fail(message: str) -> NoReturn:
    click.echo(f"opentera-bus: {message}", err=True)
    raise SystemExit(FAILED)


@cli.command()
@click.argument("name")
@_command
def get(name: str) -> Work:
    """Print the value of the variable NAME; status 1 when there is none."""

    async def work(bus: Bus) -> None:
        value = await bus.variables.get(name)
        if value is None:
            _fail(f"no variable {name}")
        sys.stdout.buffer.write(value)
        if sys.stdout.isatty():
            sys.stdout.buffer.write(b"\n")
        sys.stdout.buffer.flush()

    return work


@cli.command("set")
@click.argument("name")
@click.argument("value")
@click.option("--ttl", type=Seconds(min=0.001), help="Delete it after that time.")
@click.option("--only-if-absent", is_flag=True, help="Leave a variable that exists as it is.")
@_command
def set_(name: str, value: str, ttl: float | None, only_if_absent: bool) -> Work:
    """Write VALUE (text, or hex:DEADBEEF) to the variable NAME; status 1 when it was not."""
    data = parse_bytes(value)

    async def work(bus: Bus) -> None:
        if not await bus.variables.set(name, data, ttl, only_if_absent):
            _fail(f"{name} exists already")

    return work


@cli.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@_command
def delete(names: tuple[str, ...]) -> Work:
    """Delete variables, and print how many there were."""

    async def work(bus: Bus) -> None:
        print_json(await bus.variables.delete(*names))

    return work


@cli.command()
@click.argument("topic")
@click.argument("message")
@click.option("--raw", is_flag=True, help="Publish MESSAGE itself: text, or hex:DEADBEEF.")
@_command
def publish(topic: str, message: str, raw: bool) -> Work:
    """Publish on TOPIC, and print how many received it.

    MESSAGE is JSON with its type: {"@type": "UserEvent", "userUuid": "…"}, or a list of these.
    They travel in one TeraEvent, unless they are a TeraEvent or TeraModuleMessage themselves.
    """
    topics.encode(topic)
    payload: bytes | Message
    if raw:
        payload = parse_bytes(message)
    else:
        parsed = parse_messages(message)
        alone = len(parsed) == 1 and is_envelope(parsed[0])
        payload = parsed[0] if alone else tera_event(topic, parsed)

    async def work(bus: Bus) -> None:
        print_json(await bus.publish(topic, payload))

    return work


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("server", metavar="service.KEY|module.NAME")
@click.argument("method")
@click.argument("arguments", nargs=-1, metavar="[ARG]...")
@click.option(
    "--timeout",
    type=Seconds(min=0, min_open=True),
    help="Seconds to wait for the reply; by default those of opentera-bus --timeout.",
)
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    metavar="N",
    help="Call N times, one after another, and print how long the calls took.",
)
@_command
def call(
    server: str, method: str, arguments: tuple[str, ...], timeout: float | None, repeat: int | None
) -> Work:
    """Call METHOD of a service or a module, and print what it returns as JSON.

    An ARG is read as JSON when it is a JSON bool, int, float or string, as bytes when written
    hex:DEADBEEF, otherwise as the text itself.

    \b
    opentera-bus call module.TeraServer.UserManagerModule online_users
    opentera-bus call service.Sum add 1 2 --repeat 1000
    """  # noqa: D301 (click takes the character itself)
    topic = topics.rpc_of(server)
    values = [parse_argument(argument) for argument in arguments]
    seconds = timeout or click.get_current_context().obj.timeout
    encode_call(method, "", 0, values, seconds)

    async def once(bus: Bus) -> None:
        print_json(await bus.caller.call(topic, method, values, seconds))

    async def work(bus: Bus) -> None:
        durations, errors = [], []
        with click.progressbar(range(repeat or 0), label="calls", file=sys.stderr) as calls:
            for _ in calls:
                began = perf_counter()
                try:
                    await bus.caller.call(topic, method, values, seconds)
                except BusError as error:
                    errors.append(str(error))
                else:
                    durations.append(perf_counter() - began)
        if durations:
            print_latency(durations, len(errors))
        if errors:
            _fail(f"{len(errors)} of {repeat} calls failed, the last one with: {errors[-1]}")

    return once if repeat is None else work


@cli.command()
@click.argument("server", metavar="service.KEY|module.NAME")
@_command
def describe(server: str) -> Work:
    """Print the procedures of a service or a module: a table on a terminal, JSON in a pipe."""
    topics.rpc_of(server)
    timeout = click.get_current_context().obj.timeout

    async def work(bus: Bus) -> None:
        print_description(await bus.describe(server, timeout))

    return work


@cli.command()
@_command
def services() -> Work:
    """Print which services and modules listen now: a table on a terminal, JSON in a pipe."""

    async def work(bus: Bus) -> None:
        print_services(await bus.services())

    return work


@cli.command()
@click.argument("server", metavar="service.KEY|module.NAME")
@_command
def stub(server: str) -> Work:
    """Print a typed Python stub of a service's procedures, for editors and mypy.

    \b
    opentera-bus stub service.Sum > sum_service.py
    """  # noqa: D301 (click takes the character itself)
    topics.rpc_of(server)
    timeout = click.get_current_context().obj.timeout

    async def work(bus: Bus) -> None:
        click.echo(make_stub(await bus.describe(server, timeout)), nl=False)

    return work


@cli.command()
@click.argument("kind", type=click.Choice(topics.KINDS), required=False)
@_command
def online(kind: topics.Kind | None) -> Work:
    """Print who has a websocket open: a table on a terminal, JSON in a pipe.

    A list of UUIDs with KIND, otherwise an object with a list for each kind.
    """

    async def work(bus: Bus) -> None:
        everyone = await bus.presence.everyone()
        print_online(everyone if kind is None else {kind: everyone[kind]}, kind)

    return work


@cli.command()
@click.argument("kind", type=click.Choice(topics.KINDS))
@click.argument("uuid")
@_command
def disconnect(kind: topics.Kind, uuid: str) -> Work:
    """Have the websockets of UUID closed, and print how many gateways were told.

    Status 1 when there is none.
    """
    encode_identity(uuid, None, ())

    async def work(bus: Bus) -> None:
        gateways = await bus.presence.disconnect(kind, uuid)
        if not gateways:
            _fail(f"no gateway has a websocket of {kind} {uuid}")
        print_json(gateways)

    return work


@cli.group()
def key() -> None:
    """Session keys, which log websockets in."""


@key.command()
@click.argument("kind", type=click.Choice(topics.KINDS))
@click.argument("uuid")
@click.option(
    "--ttl",
    type=Seconds(min=0.001),
    default=SESSION_KEY_LIFETIME,
    show_default=True,
    help="How long it can be used.",
)
@click.option("--name", help="The name that others see.")
@_command
def issue(kind: topics.Kind, uuid: str, ttl: float, name: str | None) -> Work:
    """Print a key that logs one websocket of KIND in as UUID, once."""
    encode_identity(uuid, name, ())

    async def work(bus: Bus) -> None:
        click.echo(await SessionKeys(bus).issue(kind, uuid, ttl, name))

    return work
