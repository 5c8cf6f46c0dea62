"""Starts a worker; run by path, never imported: ``bootstrap.py NUMBER REACTOR``.

Running it by module name would first import its parent packages, and with them a reactor.
"""

from __future__ import annotations

import signal
import sys
from importlib import import_module


def main() -> int:
    """Serve until the parent stops the worker or is gone, and return the exit status."""
    _, number, reactor_module = sys.argv
    # A terminal sends these to all its processes; only the parent handles them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    import_module(reactor_module).install()
    from opentera_twisted.program.workers.worker_main import run  # noqa: PLC0415 (needs the reactor)

    return run(int(number))


if __name__ == "__main__":
    sys.exit(main())
