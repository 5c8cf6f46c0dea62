"""Python's collector of cyclic garbage: off during imports, rare in a program with many clients."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

THRESHOLDS: Final = (5_000, 3, 15)
"""Thresholds of the collector: new objects, then collections of the next younger generation."""


@contextmanager
def paused() -> Iterator[None]:
    """Load modules without collections, which would take a sixth of the time and free nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def collect_seldom() -> None:
    """Freeze current objects and raise the collection thresholds; call it after the start.

    Each login makes more than fifty objects that live as long as the client. With Python's
    defaults, the collector traverses them and the objects from the program's start again and again.
    These traversals take a third of the CPU time of thousands of logins, in pauses of more than 0.1
    seconds. Reference counting still frees objects without cycles at once.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
