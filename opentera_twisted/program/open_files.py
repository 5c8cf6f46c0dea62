"""The number of open files that the system allows this process, which bounds its connections."""

from __future__ import annotations

import resource
from typing import Final

RESERVED: Final = 100
"""Files that a program needs beside its clients: Redis, sockets, log, modules."""

PLENTY: Final = 1_048_576
"""Limit that is asked for where the hard one is infinite."""


def raise_limit() -> int:
    """Raise the soft limit to the hard one, as far as the system lets it.

    Returns:
        The soft limit that holds then.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = PLENTY if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):  # macOS has another bound beside it
            return soft
        return wanted
    return PLENTY if soft == resource.RLIM_INFINITY else soft


def clients_within(files: int) -> int:
    """Number of clients that a process with so many files can have."""
    return max(files - RESERVED, 0)
