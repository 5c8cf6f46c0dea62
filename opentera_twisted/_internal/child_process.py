"""Output lines and exit of child processes."""

from __future__ import annotations

import signal
from typing import Final

from twisted.internet.error import ProcessTerminated
from twisted.python.failure import Failure

LONGEST_LINE: Final = 16_384
"""Maximum length of a line in bytes, to bound the memory of an endless one."""


def split_lines(output: bytes) -> tuple[list[bytes], bytes]:
    """Split output into complete lines, without their ends, and the incomplete rest.

    Args:
        output: the previous rest, then the new output.
    """
    *lines, rest = output.split(b"\n")
    if len(rest) > LONGEST_LINE:
        return [*lines, rest], b""
    return lines, rest


def exit_text(reason: Failure) -> str:
    """Describe how a process ended: ``exit status 1`` or ``signal SIGKILL``."""
    if not isinstance(reason.value, ProcessTerminated):
        return "exit status 0"
    number = reason.value.signal
    if number is None:
        return f"exit status {reason.value.exitCode}"
    try:
        return f"signal {signal.Signals(number).name}"
    except ValueError:  # a real-time signal has no name
        return f"signal {number}"
