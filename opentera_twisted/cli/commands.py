"""The commands of ``opentera-bus``: data on standard output, messages on standard error."""

from __future__ import annotations

import functools
import sys
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, Concatenate, NoReturn, ParamSpec

import click
from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import react

from opentera_twisted import topics
from opentera_twisted.bus import Bus
from opentera_twisted.cli.arguments import (
    is_envelope,
    parse_argument,
    parse_bytes,
    parse_messages,
)
from opentera_twisted.cli.output import (
    print_description,
    print_json,
    print_latency,
    print_services,
)
from opentera_twisted.errors import BusError
from opentera_twisted.link import DEFAULT_URL
from opentera_twisted.rpc import stub as make_stub
from opentera_twisted.sessions import SessionKeys
from opentera_twisted.variables import SESSION_KEY_LIFETIME

P = ParamSpec("P")

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
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Seconds to wait for Redis, and for the reply of a call.",
)
@click.version_option(package_name="opentera-twisted", message="%(version)s")
@click.pass_context
def cli(context: click.Context, url: str, timeout: float) -> None:
    """Read, publish and call on the bus of OpenTera."""
    context.obj = Settings(url, timeout)


def _command(
    function: Callable[Concatenate[Bus, P], Awaitable[None]],
) -> Callable[P, None]:
    """Run a coroutine with a connected bus; a `BusError` becomes one line and status 1."""

    @functools.wraps(function)
    def run(*arguments: P.args, **options: P.kwargs) -> None:
        settings: Settings = click.get_current_context().obj
        finished = False

        async def main(reactor: Any) -> None:
            nonlocal finished
            try:
                bus = Bus(settings.url, reactor=reactor, name="opentera-bus-cli")
                bus.startService()
                try:
                    # Nothing is asked before Redis is there: it is missed no longer than wanted.
                    await bus.link.execute("PING", timeout=settings.timeout)
                    await function(bus, *arguments, **options)
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
            react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
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
async def get(bus: Bus, name: str) -> None:
    """Print the value of the variable NAME; status 1 when there is none."""
    value = await bus.variables.get(name)
    if value is None:
        _fail(f"no variable {name}")
    sys.stdout.buffer.write(value)
    if sys.stdout.isatty():
        sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()


@cli.command("set")
@click.argument("name")
@click.argument("value")
@click.option("--ttl", type=float, metavar="SECONDS", help="Delete it after that time.")
@click.option("--only-if-absent", is_flag=True, help="Leave a variable that exists as it is.")
@_command
async def set_(bus: Bus, name: str, value: str, ttl: float | None, only_if_absent: bool) -> None:
    """Write VALUE (text, or hex:DEADBEEF) to the variable NAME; status 1 when it was not."""
    if not await bus.variables.set(name, parse_bytes(value), ttl, only_if_absent):
        _fail(f"{name} exists already")


@cli.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@_command
async def delete(bus: Bus, names: tuple[str, ...]) -> None:
    """Delete variables, and print how many there were."""
    print_json(await bus.variables.delete(*names))


@cli.command()
@click.argument("topic")
@click.argument("message")
@click.option("--raw", is_flag=True, help="Publish MESSAGE itself: text, or hex:DEADBEEF.")
@_command
async def publish(bus: Bus, topic: str, message: str, raw: bool) -> None:
    """Publish on TOPIC, and print how many received it.

    MESSAGE is JSON with its type: {"@type": "UserEvent", "userUuid": "…"}, or a list of these.
    They travel in one TeraEvent, unless they are a TeraEvent or TeraModuleMessage themselves.
    """
    parsed = [] if raw else parse_messages(message)
    if raw:
        receivers = await bus.publish(topic, parse_bytes(message))
    elif len(parsed) == 1 and is_envelope(parsed[0]):
        receivers = await bus.publish(topic, parsed[0])
    else:
        receivers = await bus.publish_event(topic, *parsed)
    print_json(receivers)


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("server", metavar="service.KEY|module.NAME")
@click.argument("method")
@click.argument("arguments", nargs=-1, metavar="[ARG]...")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds to wait for the reply; by default those of opentera-bus --timeout.",
)
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    metavar="N",
    help="Call N times, one after another, and print how long the calls took.",
)
@_command
async def call(
    bus: Bus,
    server: str,
    method: str,
    arguments: tuple[str, ...],
    timeout: float | None,
    repeat: int | None,
) -> None:
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
    if repeat is None:
        print_json(await bus.caller.call(topic, method, values, seconds))
        return
    durations = []
    with click.progressbar(range(repeat), label="calls", file=sys.stderr) as calls:
        for _ in calls:
            began = perf_counter()
            await bus.caller.call(topic, method, values, seconds)
            durations.append(perf_counter() - began)
    print_latency(durations)


@cli.command()
@click.argument("server", metavar="service.KEY|module.NAME")
@_command
async def describe(bus: Bus, server: str) -> None:
    """Print the procedures of a service or a module: a table on a terminal, JSON in a pipe."""
    timeout = click.get_current_context().obj.timeout
    print_description(await bus.describe(server, timeout))


@cli.command()
@_command
async def services(bus: Bus) -> None:
    """Print which services and modules listen now: a table on a terminal, JSON in a pipe."""
    print_services(await bus.services())


@cli.command()
@click.argument("server", metavar="service.KEY|module.NAME")
@_command
async def stub(bus: Bus, server: str) -> None:
    """Print a typed Python stub of a service's procedures, for editors and mypy.

    \b
    opentera-bus stub service.Sum > sum_service.py
    """  # noqa: D301 (click takes the character itself)
    timeout = click.get_current_context().obj.timeout
    click.echo(make_stub(await bus.describe(server, timeout)), nl=False)


@cli.group()
def key() -> None:
    """Session keys, which log websockets in."""


@key.command()
@click.argument("kind", type=click.Choice(topics.KINDS))
@click.argument("uuid")
@click.option(
    "--ttl",
    type=float,
    metavar="SECONDS",
    default=SESSION_KEY_LIFETIME,
    show_default=True,
    help="How long it can be used.",
)
@click.option("--name", help="The name that others see.")
@_command
async def issue(bus: Bus, kind: topics.Kind, uuid: str, ttl: float, name: str | None) -> None:
    """Print a key that logs one websocket of KIND in as UUID, once."""
    click.echo(await SessionKeys(bus).issue(kind, uuid, ttl, name))
