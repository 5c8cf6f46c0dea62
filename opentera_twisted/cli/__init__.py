"""The ``opentera-bus`` command.

arguments      text of the command line to what it stands for
output         results as tables on a terminal, as JSON in a pipe
program        the group of all commands, its options, the bus that a command runs with
stream         lines for as long as somebody reads them
variables, publishing, calls, people, tail, top, doctor, configuration, completion
               the commands, by what they are about; rates and redis_info serve them
commands       all of them
"""

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
