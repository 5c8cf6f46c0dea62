"""The ``opentera-bus`` command.

Its commands, by their subject:

calls          services and modules, and what they can be asked
variables      shared variables
publishing     messages that are published
tail           what is published, as it comes
listen         events of a websocket of the gateway, as a client gets them
top            how much is published
people         users, participants and devices
configuration  the file of options of ``twistd opentera-bus``
doctor         what is wrong with Redis
completion     the shell's, of command lines
commands       all of these

What they stand on:

program        what they share: options, the bus, errors and statuses
arguments      text of the command line to what it stands for
online         who is online, and which program knows it
output         results as tables on a terminal, as JSON in a pipe
stream         lines for as long as somebody reads them
rates          how much is published, for top
"""

import signal
import sys

from opentera_twisted._internal.extras import MissingExtra, explained
from opentera_twisted._internal.printable import escape_unencodable


def main() -> None:
    """Run the command, or say what it lacks.

    Until the command has loaded, Ctrl-C ends the process without a traceback.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        escape_unencodable(stream)
    try:
        from opentera_twisted.cli.commands import cli  # noqa: PLC0415 (an extra)
    except ModuleNotFoundError as error:
        why = explained(error)
        if not isinstance(why, MissingExtra):
            raise
        sys.exit(f"opentera-bus: {why}")
    cli(prog_name="opentera-bus")
