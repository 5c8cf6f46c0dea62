"""The garbage collector of the program: what was there is frozen, what comes is still collected."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from opentera_twisted import garbage


class Cycle:
    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def defaults() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_what_was_there_is_looked_at_no_more() -> None:
    there = [Cycle()]
    garbage.collect_seldom()
    assert gc.get_freeze_count()
    assert not any(one is there for one in gc.get_objects())


def test_cycles_that_come_later_are_still_collected() -> None:
    garbage.collect_seldom()
    gone = weakref.ref(Cycle())
    kept: list[object] = []
    while gone() is not None:
        assert len(kept) < 2 * garbage.THRESHOLDS[0]
        kept.append([kept])
