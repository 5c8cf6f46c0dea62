"""The ``opentera-bus`` command."""

import sys


def main() -> None:
    """Run the command, or say what it lacks."""
    try:
        from opentera_twisted.cli.commands import cli  # noqa: PLC0415 (an extra)
    except ModuleNotFoundError as error:
        if error.name not in {"click", "rich"}:
            raise
        sys.exit("opentera-bus needs: pip install 'opentera-twisted[cli]'")
    cli(prog_name="opentera-bus")
