"""The command ``opentera-bus``, its common options, and the modules of its commands.

Loads neither Twisted nor a command before it runs, so that help and completion are quick.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

import click
from attrs import field, frozen

from opentera_twisted._internal.default_url import DEFAULT_URL
from opentera_twisted._internal.garbage import paused
from opentera_twisted.cli.seconds import Seconds
from opentera_twisted.cli.values import JSON, say
from opentera_twisted.errors import InvalidArgument

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "call": ("calls", "Call METHOD of a service or a module."),
    "completion": ("completion", "Print the completion script for SHELL."),
    "clients": ("gateways", "Print the websockets of all gateways."),
    "config": ("configuration", "Check or show the file of twistd --config FILE."),
    "delete": ("variables", "Delete variables and print how many existed."),
    "describe": ("calls", "Print the procedures of a service or a module."),
    "disconnect": ("identities", "Close the websockets of UUID."),
    "doctor": ("doctor.command", "Check Redis and the programs connected to it."),
    "gateways": ("gateways", "Print the gateways of this Redis."),
    "get": ("variables", "Print the value of the variable NAME."),
    "health": ("health", "Print the health of a gateway."),
    "key": ("identities", "Issue session keys, the one-time keys of websocket logins."),
    "listen": ("listen", "Print the events of a websocket at URL, until Ctrl-C."),
    "online": ("identities", "Print the UUIDs that have a websocket open."),
    "publish": ("publishing", "Publish on TOPIC and print the number of receivers."),
    "services": ("calls", "Print the services and modules that listen for calls now."),
    "set": ("variables", "Write VALUE to the variable NAME."),
    "stub": ("calls", "Print a typed Python stub of a server's procedures."),
    "tail": ("tail", "Print published messages, decoded, until Ctrl-C."),
    "top": ("top", "Show message rates by topic."),
    "watch": ("variables", "Print the variable NAME now and after each change."),
}
"""Modules and summaries of the commands."""


PRINTS_NO_DATA: Final = ("completion", "stub")
"""Commands that print a script or a program."""


class _Command(click.Command):
    """A command with the option ``--json``."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        names = {name for parameter in self.params for name in parameter.opts}
        if self.name not in PRINTS_NO_DATA and "--json" not in names:
            self.params.append(
                click.Option(
                    ["--json"],
                    is_flag=True,
                    expose_value=False,
                    callback=_require_json,
                    help="Print JSON, also on a terminal.",
                )
            )


def _require_json(context: click.Context, _: object, is_given: bool) -> None:
    if is_given:
        context.meta[JSON] = True


class _Subgroup(click.Group):
    """A group of commands with the option ``--json``."""

    command_class = _Command


class _Group(click.Group):
    """A group that imports the module of a command when the command runs."""

    command_class = _Command
    group_class = _Subgroup

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Import the command's module, which replaces the command."""
        if args[0] in COMMANDS:
            module, _ = COMMANDS[args[0]]
            with paused():
                import_module(f"opentera_twisted.cli.{module}")
        return super().resolve_command(ctx, args)


@frozen
class CommandSettings:
    """Options common to all commands."""

    url: str = field(repr=False)
    timeout: float


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--redis",
    "url",
    metavar="URL",
    envvar="REDIS_URL",
    default=DEFAULT_URL,
    show_default=True,
    show_envvar=True,
    help="Address of Redis: redis://[[user]:password@]host[:port][/database], rediss:// with TLS, "
    "unix:///path?db=n, redis+sentinel://host:port,host:port/primary/database or "
    "redis+cluster://host:port,host:port.",
)
@click.option(
    "--redis-password-file",
    "password_file",
    metavar="FILE",
    envvar="REDIS_PASSWORD_FILE",
    show_envvar=True,
    help="File with the Redis password, to keep it out of the process list.",
)
@click.option(
    "--timeout",
    type=Seconds(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Seconds to wait for Redis, for the reply to a call, and for the websocket of listen.",
)
@click.version_option(package_name="opentera-twisted", message="%(version)s")
@click.pass_context
def cli(context: click.Context, url: str, password_file: str | None, timeout: float) -> None:
    """Read, publish and call on the bus of OpenTera.

    \b
    opentera-bus services
    opentera-bus tail 'websocket.*'
    opentera-bus --redis redis://redis.example.org/0 doctor
    """  # noqa: D301 (click takes the character itself)
    if password_file is not None:
        # Loaded only here, since it loads Twisted.
        from opentera_twisted.link.secret_file import read_secret, with_password  # noqa: PLC0415

        try:
            secret = read_secret(password_file)
        except InvalidArgument as error:
            raise click.BadParameter(
                str(error), context, param_hint="--redis-password-file"
            ) from None
        if secret.exposure:
            say(secret.exposure)
        try:
            url = with_password(url, secret.text)
        except InvalidArgument as error:
            raise click.BadParameter(str(error), context, param_hint="--redis") from None
    context.obj = CommandSettings(url, timeout)


def load_commands() -> click.Group:
    """Import the modules of all commands, and return the complete group."""
    for module, _ in COMMANDS.values():
        import_module(f"opentera_twisted.cli.{module}")
    return cli


for _name, (_, _summary) in COMMANDS.items():
    cli.add_command(click.Command(_name, short_help=_summary))
