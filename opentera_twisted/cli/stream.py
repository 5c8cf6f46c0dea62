"""Lines on standard output for as long as somebody reads them."""

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
from opentera_twisted.cli.program import forget_output, say


@implementer(IReadDescriptor)
class _ClosedPipe:
    """Notices that nobody reads a pipe any more, even when nothing is written to it."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def fileno(self) -> int:
        """Of the pipe's end to write to."""
        return sys.stdout.fileno()

    def logPrefix(self) -> str:
        """For Twisted's logs."""
        return "standard output"

    def doRead(self) -> None:
        """There is nothing to read but the end."""
        self._stream.end()

    def connectionLost(self, reason: Failure) -> None:
        """The other end was closed."""
        self._stream.end()


class Stream:
    """What a command writes until it is enough.

    Args:
        reactor: waits for the end.
        count: of lines after which it is enough; None: it never is.

    Attributes:
        ended: fires when it is enough, or nobody reads it; fails when it cannot be written.
    """

    def __init__(self, reactor: Any, count: int | None) -> None:
        self.ended: Deferred[None] = Deferred()
        self._left = count
        self._reactor = reactor
        self._pipe = _ClosedPipe(self)
        if _is_pipe():
            self._reactor.addReader(self._pipe)
            # The reactor's own end, on Ctrl-C, is not that of the pipe.
            self._reactor.addSystemEventTrigger(
                "before", "shutdown", self._reactor.removeReader, self._pipe
            )

    def write(self, line: str) -> None:
        """Write one line, and count it."""
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
        """Write no more."""
        if self.ended.called:
            return
        self._reactor.removeReader(self._pipe)
        if failure is not None:
            self.ended.errback(failure)
            return
        if self._left != 0:
            forget_output()
        self.ended.callback(None)


def tell_gaps(bus: Bus, lost: str) -> None:
    """Say on standard error when the link breaks, and when it is back.

    Args:
        bus: whose link it is.
        lost: what may have been missed meanwhile.
    """
    reactor: Any = bus.link.reactor
    is_ending = False

    def end() -> None:
        nonlocal is_ending
        is_ending = True

    def broke(cause: Failure) -> None:
        if not is_ending:
            say(f"the link to Redis broke: {cause.getErrorMessage()}")

    # Ctrl-C breaks every connection.
    reactor.addSystemEventTrigger("before", "shutdown", end)
    bus.link.on_lost.append(broke)
    bus.link.on_resumed.append(lambda: say(f"gap: the link was lost and is back; {lost}"))


def _is_pipe() -> bool:
    return stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)
