"""Start a server that ends when its parent process ends, even if the parent is killed.

A script, run by path with ``python -I -S`` and never imported::

    guard.py PARENT prctl SERVER [ARGUMENT…]    Linux: the kernel sends SIGTERM to the server
    guard.py PARENT pipe SERVER [ARGUMENT…]     elsewhere: at the end of file of descriptor 3

``PARENT`` is the process id of the program that starts the server. Descriptor 3 is the reading end
of a pipe that only that program keeps open. The server inherits the guard's standard streams. Guard
and server have a separate session, so that Ctrl-C in a terminal does not end the server before the
program stops it. The id of their process group is the guard's.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
from typing import NoReturn

PR_SET_PDEATHSIG = 1
"""Option of ``prctl``, from ``<sys/prctl.h>``: signal to receive when the parent ends."""

HELD_BY_PARENT = 3
"""Descriptor that reaches its end of file when the parent ends."""

STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})

PATIENCE = 10.0
"""Seconds from SIGTERM to SIGKILL."""


def guard_by_prctl(parent: int, command: list[str]) -> NoReturn:
    """Become the server; the kernel terminates it when its parent ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        sys.exit(f"guard: prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it ended before the call of prctl
        sys.exit(f"guard: process {parent} has ended")
    os.execv(command[0], command)  # noqa: S606 - its purpose


def guard_by_pipe(command: list[str]) -> int:
    """Run the server until it ends; terminate it at end of file or on a signal.

    Returns:
        The server's exit status, or the negative number of the signal that ended it.
    """
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (*STOP_SIGNALS, signal.SIGCHLD):
        signal.signal(number, lambda _number, _frame: None)
    server = subprocess.Popen(command)  # noqa: S603 - its purpose
    watched, patience = [HELD_BY_PARENT, woken], None
    while server.poll() is None:
        readable = select.select(watched, [], [], patience)[0]
        if not readable:
            server.kill()
        parent_ended = HELD_BY_PARENT in readable and not os.read(HELD_BY_PARENT, 64)
        signalled = woken in readable and not STOP_SIGNALS.isdisjoint(os.read(woken, 64))
        if parent_ended or signalled:
            server.terminate()
            watched, patience = [woken], PATIENCE
    return server.returncode


def end_as(status: int) -> NoReturn:
    """End this process with the same status or signal as another."""
    if status < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no handler to reset
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


def main() -> NoReturn:
    """Run the guard that the arguments select."""
    parent, mode, *command = sys.argv[1:]
    os.setsid()
    try:
        if mode == "prctl":
            guard_by_prctl(int(parent), command)
        end_as(guard_by_pipe(command))
    except OSError as error:
        sys.exit(f"guard: {command[0]}: {error}")


if __name__ == "__main__":
    main()
