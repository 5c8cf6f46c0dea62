"""Output lines until a count, or until the reader closes the pipe."""

from __future__ import annotations

import os
import stat
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from opentera_twisted.bus import Bus
from opentera_twisted.cli.run import forget_output
from opentera_twisted.cli.values import say


@implementer(IReadDescriptor)
class _ClosedPipe:
    """Detects that the reader has closed the pipe, even while nothing is written."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def fileno(self) -> int:
        """Return the descriptor of the pipe."""
        return sys.stdout.fileno()

    def logPrefix(self) -> str:
        """Return the name for Twisted's logs."""
        return "standard output"

    def doRead(self) -> None:
        """End the stream; a closed pipe is the only thing to read here."""
        self._stream.end()

    def connectionLost(self, reason: Failure) -> None:
        """End the stream."""
        self._stream.end()


class Stream:
    """The output lines of a command.

    Args:
        reactor: Twisted reactor, which watches the pipe.
        count: number of lines to write; None for no limit.

    Attributes:
        ended: fires after ``count`` lines or when the reader closes the pipe; fails if writing
            fails.
    """

    def __init__(self, reactor: Any, count: int | None) -> None:
        self.ended: Deferred[None] = Deferred()
        self._left = count
        self._reactor = reactor
        self._pipe = _ClosedPipe(self)
        if _is_pipe():
            self._reactor.addReader(self._pipe)
            # On Ctrl-C the reactor closes all readers, which must not look like a closed pipe.
            self._reactor.addSystemEventTrigger(
                "before", "shutdown", self._reactor.removeReader, self._pipe
            )

    def write(self, line: str) -> None:
        """Write and count one line."""
        if self.ended.called:
            return
        try:
            print(line, flush=True)  # noqa: T201
        except BrokenPipeError:
            self.end()
            return
        except OSError:
            self.end(Failure())
            return
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                self.end()

    def end(self, failure: Failure | None = None) -> None:
        """Stop writing, and fire ``ended``."""
        if self.ended.called:
            return
        self._reactor.removeReader(self._pipe)
        if failure is not None:
            self.ended.errback(failure)
            return
        if self._left != 0:
            forget_output()
        self.ended.callback(None)


def report_gaps(bus: Bus, lost: str) -> None:
    """Print a line on standard error when the link breaks and when it resumes.

    Args:
        bus: started bus.
        lost: description of the possibly missed data.
    """
    reactor: Any = bus.link.reactor
    is_ending = False

    def end() -> None:
        nonlocal is_ending
        is_ending = True

    def broke(cause: Failure) -> None:
        if not is_ending:
            say(f"lost the link to Redis: {cause.getErrorMessage()}")

    # Ctrl-C breaks every connection.
    reactor.addSystemEventTrigger("before", "shutdown", end)
    bus.link.on_lost.append(broke)
    bus.link.on_resumed.append(lambda _: say(f"gap: the link to Redis is back; {lost}"))


def _is_pipe() -> bool:
    return stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)
