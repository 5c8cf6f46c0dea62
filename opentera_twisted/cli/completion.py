"""``opentera-bus completion``: shell completion scripts."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from opentera_twisted.cli.commands import cli

PROGRAM = "opentera-bus"


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    opentera-bus completion bash > ~/.local/share/bash-completion/completions/opentera-bus
    opentera-bus completion zsh > ~/.zfunc/_opentera-bus
    opentera-bus completion fish > ~/.config/fish/completions/opentera-bus.fish
    """  # noqa: D301 (click takes the character itself)
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 (click supports all three shells)
    variable = f"_{PROGRAM}_COMPLETE".replace("-", "_").upper()
    click.echo(kind(cli, {}, PROGRAM, variable).source())
