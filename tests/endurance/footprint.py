"""Memory, objects and open files of a running program, and whether they stay level."""

from __future__ import annotations

import gc
import mmap
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

_FORMAT: Final = struct.Struct("q")

BEFORE: Final = (
    "import sys; from tests.endurance.footprint import report; report(sys.argv.pop(1))\n"
)
"""Code that a measured program runs first; the path of the file is its first argument."""

_EVERY: Final = 1.0
"""Seconds between counts of objects."""

TOLERANCE: Final = 1.1
"""Growth from the second to the last quarter of a run that is still level, as a ratio."""

SLACK: Final = {"memory": 4.0, "objects": 2000, "files": 4}
"""Growth that is always level: the programs hold a little more or less from moment to moment."""


class Footprint(NamedTuple):
    """Memory, objects and files of a process.

    Attributes:
        memory: resident memory in MB.
        objects: objects that the garbage collector knows.
        files: open file descriptors.
    """

    memory: float
    objects: int
    files: int


class Measured:
    """A measured process.

    Args:
        name: name for people.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.pid = 0
        self.samples: list[Footprint] = []
        self._file = tempfile.NamedTemporaryFile()  # noqa: SIM115
        self._file.write(bytes(_FORMAT.size))
        self._file.flush()

    @property
    def path(self) -> str:
        """Name of the file to which the process writes its number of objects."""
        return self._file.name

    def sample(self) -> None:
        """Measure now; source: proc(5)."""
        process = Path(f"/proc/{self.pid}")
        status = (process / "status").read_text()
        resident = int(status.partition("VmRSS:")[2].split()[0])
        (objects,) = _FORMAT.unpack(Path(self.path).read_bytes())
        files = sum(1 for _ in (process / "fd").iterdir())
        self.samples.append(Footprint(resident / 1024, objects, files))

    def growths(self) -> list[str]:
        """Return a line for each quantity that is not level."""
        return [f"{self.name}: {growth}" for growth in growths(self.samples)]


def growths(samples: Sequence[Footprint]) -> list[str]:
    """Compare the medians of the second and of the last quarter; return what grew.

    The first quarter fills caches, pools and the free lists of the allocator.
    """
    quarter = len(samples) // 4
    if not quarter:
        return []
    found = []
    for name in Footprint._fields:
        early = median(getattr(sample, name) for sample in samples[quarter : 2 * quarter])
        late = median(getattr(sample, name) for sample in samples[-quarter:])
        if late > max(early * TOLERANCE, early + SLACK[name]):
            found.append(f"{name} grew from {early:,.0f} to {late:,.0f}")
    return found


def report(path: str) -> None:
    """Have this process write its number of objects to a file, every second.

    Frozen objects count as well: the gateway's collector freezes survivors.
    """
    from twisted.internet.task import LoopingCall  # noqa: PLC0415 (an import installs the reactor)

    with Path(path).open("r+b") as file:
        shared = mmap.mmap(file.fileno(), _FORMAT.size)

    def count() -> None:
        shared[:] = _FORMAT.pack(len(gc.get_objects()) + gc.get_freeze_count())

    LoopingCall(count).start(_EVERY)
