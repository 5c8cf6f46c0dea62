"""The ``opentera-bus`` command."""

import sys

from opentera_twisted.extras import MissingExtra, explained


def main() -> None:
    """Run the command, or say what it lacks."""
    try:
        from opentera_twisted.cli.commands import cli  # noqa: PLC0415 (an extra)
    except ModuleNotFoundError as error:
        why = explained(error)
        if not isinstance(why, MissingExtra):
            raise
        sys.exit(f"opentera-bus: {why}")
    cli(prog_name="opentera-bus")
