"""The program's garbage collector: survivors frozen, later cycles collected."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator

import pytest

from opentera_twisted._internal import garbage


class Cycle:
    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def defaults() -> Iterator[None]:
    thresholds, callbacks = gc.get_threshold(), gc.callbacks[:]
    yield
    gc.set_threshold(*thresholds)
    gc.callbacks[:] = callbacks
    gc.unfreeze()
    gc.collect()
    gc.freeze()  # as before


def test_existing_objects_are_frozen() -> None:
    there = [Cycle()]
    garbage.collect_briefly()
    assert gc.get_freeze_count()
    assert not any(candidate is there for candidate in gc.get_objects())


def test_later_cycles_are_still_collected() -> None:
    garbage.collect_briefly()
    gone: list[object] = []
    # No direct lookup: a reference would keep the object alive.
    there = weakref.ref(Cycle(), gone.append)
    kept: list[object] = []
    while not gone:
        assert len(kept) < 2 * garbage.THRESHOLDS[0]
        kept.append([kept])
    assert gone == [there]


def test_survivors_of_a_full_collection_are_frozen() -> None:
    garbage.collect_briefly()
    there = [Cycle()]
    gc.collect()
    assert not any(candidate is there for candidate in gc.get_objects())


def test_frozen_cycles_are_collected_after_growth() -> None:
    garbage.collect_briefly()
    gone: list[object] = []
    cycle = Cycle()
    there = weakref.ref(cycle, gone.append)
    gc.collect()
    del cycle
    gc.collect()
    assert not gone
    kept = [[number] for number in range(garbage.GROWTH * gc.get_freeze_count())]
    gc.collect()
    gc.collect()
    assert kept
    assert gone == [there]


STARTED = """
import gc
from opentera_twisted.tap import Options, makeService
options = Options()
options.parseOptions(["--redis", "redis://127.0.0.1:1/0", "--admin", "none", "-w", "tcp:0"])
makeService(options).startService()
print(gc.get_freeze_count() > 0, gc.get_threshold())
"""


def test_the_program_collects_briefly() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STARTED], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"True {garbage.THRESHOLDS}\n"
