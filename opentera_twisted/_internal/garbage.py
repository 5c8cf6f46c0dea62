"""Python's collector of cyclic garbage: off during imports, brief with many clients."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

THRESHOLDS: Final = (1_000, 2, 100)
"""Thresholds of the collector: new objects, then collections of the next younger generation."""

GROWTH: Final = 2
"""Growth of the survivors, as a ratio, after which a collection traverses all of them again."""


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


def collect_briefly() -> None:
    """Freeze current objects and set the collection thresholds; call it after the start.

    Each login makes more than fifty objects that live as long as the client. A collection
    traverses all objects of its generations, and every client waits for its end. The young
    generations are therefore small. A full collection leaves its survivors out of the next ones,
    until they have grown. Reference counting still frees objects without cycles at once.
    """
    gc.collect()
    _survivors.freeze()
    gc.set_threshold(*THRESHOLDS)
    if _survivors.collected not in gc.callbacks:
        gc.callbacks.append(_survivors.collected)


class _Survivors:
    """The survivors of full collections, which are frozen until they have grown."""

    def __init__(self) -> None:
        self._count = 0
        self._are_frozen = False

    def freeze(self) -> None:
        """Freeze the survivors of a collection of everything."""
        gc.freeze()
        self._count = gc.get_freeze_count()
        self._are_frozen = True

    def collected(self, phase: str, info: dict[str, Any]) -> None:
        """Freeze the survivors of a full collection; after their growth, release all of them."""
        if phase != "stop" or info["generation"] != 2:
            return
        if not self._are_frozen:
            self.freeze()
            return
        gc.freeze()
        if gc.get_freeze_count() > GROWTH * self._count:
            gc.unfreeze()  # the next full collection traverses everything
            self._are_frozen = False


_survivors: Final = _Survivors()
