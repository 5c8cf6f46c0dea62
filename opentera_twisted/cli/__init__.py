"""The ``opentera-bus`` command.

Commands, by subject:

calls          services, modules and their procedures
variables      shared variables
publishing     publishing messages
tail           published messages, decoded, live
listen         events of a gateway, as a websocket client receives them
top            message rates by topic, live
gateways       gateways and their websockets
health         the health page of a gateway
identities     users, participants and devices
configuration  the options file of ``twistd opentera-bus``
doctor         checks of Redis and of the programs connected to it
completion     shell completion

Shared parts:

commands       the command with its common options, and the list of its commands
run            work with a bus, errors and exit statuses
seconds        parsing of seconds
suggestions    completion of arguments from the running bus
arguments      parsing of command-line values
online         online identities and their sources
output         results as tables on a terminal, as JSON in a pipe
values         messages, and single values: JSON, bytes and text
stream         output lines until a count, or until the reader closes the pipe
rates          message rates, for top
"""

import signal
import sys

from opentera_twisted._internal.extras import MissingExtra, explained
from opentera_twisted._internal.printable import escape_unencodable


def main() -> None:
    """Run the command, or name the missing extra.

    While the command loads, Ctrl-C ends the process without a traceback.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        escape_unencodable(stream)
    try:
        from opentera_twisted.cli.commands import cli  # noqa: PLC0415 (an extra)

        cli(prog_name="opentera-bus")
    except ModuleNotFoundError as error:
        why = explained(error)
        if not isinstance(why, MissingExtra):
            raise
        sys.exit(f"opentera-bus: {why}")
