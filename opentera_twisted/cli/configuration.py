"""The ``opentera-bus config`` commands, for the options file of ``twistd opentera-bus``."""

from __future__ import annotations

import click

from opentera_twisted.cli.commands import cli
from opentera_twisted.cli.output import print_options
from opentera_twisted.cli.run import FAILED
from opentera_twisted.cli.values import say
from opentera_twisted.program.options import Options, StartFailed


@cli.group()
def config() -> None:
    """Check or show the file of twistd --config FILE."""


@config.command()
@click.argument("file")
def check(file: str) -> None:
    """Print each mistake in FILE with its line.

    Status 1 when there are any.

    \b
    opentera-bus config check /etc/opentera-bus.toml
    """  # noqa: D301 (click takes the character itself)
    _parse(file)
    say(f"{file}: no mistakes")


@config.command()
@click.argument("file")
def show(file: str) -> None:
    """Print every option with its value and its source.

    Secrets are masked.

    \b
    opentera-bus config show /etc/opentera-bus.toml
    """  # noqa: D301 (click takes the character itself)
    print_options(list(_parse(file).shown()))


def _parse(file: str) -> Options:
    options = Options()
    try:
        options.parseOptions(["--config", file])
    except StartFailed as failed:
        for mistake in failed.mistakes:
            say(mistake)
        raise SystemExit(FAILED) from None
    for hint in options.hints:
        say(hint)
    return options
