"""The process's limit of open files, which bounds its connections."""

from __future__ import annotations

import resource
from typing import Final

RESERVED: Final = 100
"""Files that a program needs in addition to its clients: Redis, sockets, log, modules."""

PLENTY: Final = 1_048_576
"""Limit to request if the hard limit is infinite."""


def raise_limit() -> int:
    """Raise the soft limit to the hard limit if the system allows it.

    Returns:
        The resulting soft limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = PLENTY if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):  # macOS has a further limit
            return soft
        return wanted
    return PLENTY if soft == resource.RLIM_INFINITY else soft


def clients_within(files: int) -> int:
    """Return the number of clients that a limit of open files allows."""
    return max(files - RESERVED, 0)
