"""Starts a worker; run by path, and never imported: ``start.py NUMBER REACTOR``.

By path, since with a module's name all packages above it would be imported first, and with them
some reactor.
"""

from __future__ import annotations

import signal
import sys
from importlib import import_module


def main() -> int:
    """Serve until the parent says otherwise, or is gone; the status says whether that was asked."""
    _, number, reactor_module = sys.argv
    # A terminal sends these to all of its processes; the parent says what is to be done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    import_module(reactor_module).install()
    from opentera_twisted.program.workers.worker import run  # noqa: PLC0415 (its imports need the reactor)

    return run(int(number))


if __name__ == "__main__":
    sys.exit(main())
