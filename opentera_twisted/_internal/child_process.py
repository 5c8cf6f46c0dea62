"""Child processes: their output in lines, and how they ended."""

from __future__ import annotations

import signal
from typing import Final

from twisted.internet.error import ProcessTerminated
from twisted.python.failure import Failure

LONGEST_LINE: Final = 16_384
"""Bytes after which a line is cut, so that an endless one takes no more memory."""


def split_lines(output: bytes) -> tuple[list[bytes], bytes]:
    """Return the complete lines, without their ends, and the incomplete rest.

    Args:
        output: The rest of the earlier output, then the new output.
    """
    *lines, rest = output.split(b"\n")
    if len(rest) > LONGEST_LINE:
        return [*lines, rest], b""
    return lines, rest


def exit_text(reason: Failure) -> str:
    """Return how a process ended: ``exit status 1`` or ``signal SIGKILL``.

    Args:
        reason: What Twisted passes to ``processEnded``.
    """
    if not isinstance(reason.value, ProcessTerminated):
        return "exit status 0"
    number = reason.value.signal
    if number is None:
        return f"exit status {reason.value.exitCode}"
    try:
        return f"signal {signal.Signals(number).name}"
    except ValueError:  # a real-time signal has no name
        return f"signal {number}"
