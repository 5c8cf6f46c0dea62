"""The program's garbage collector: existing objects frozen, later ones collected."""

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
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_existing_objects_are_frozen() -> None:
    there = [Cycle()]
    garbage.collect_seldom()
    assert gc.get_freeze_count()
    assert not any(candidate is there for candidate in gc.get_objects())


def test_later_cycles_are_still_collected() -> None:
    garbage.collect_seldom()
    gone: list[object] = []
    # No direct lookup: a reference would keep the object alive.
    there = weakref.ref(Cycle(), gone.append)
    kept: list[object] = []
    while not gone:
        assert len(kept) < 2 * garbage.THRESHOLDS[0]
        kept.append([kept])
    assert gone == [there]


STARTED = """
import gc
from opentera_twisted.tap import Options, makeService
options = Options()
options.parseOptions(["--redis", "redis://127.0.0.1:1/0", "--admin", "none"])
makeService(options).startService()
print(gc.get_freeze_count() > 0, gc.get_threshold())
"""


def test_the_program_collects_rarely() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STARTED], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"True {garbage.THRESHOLDS}\n"
