"""The longest turns of a gateway's reactor, measured inside its process.

A turn lasts from one return of the reactor's poll to the next call. Its processor
time leaves out the moments in which other processes had the processor.
"""

from __future__ import annotations

import gc
import mmap
import struct
import sys
import tempfile
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any, Final, NamedTuple

_FORMAT: Final = struct.Struct("3d")

BEFORE: Final = "import sys; from tests.attack.turns import measure; measure(sys.argv.pop(1))\n"
"""Code that a measured program runs first; the path of the file is its first argument."""


class Longest(NamedTuple):
    """Seconds of the longest turn, of its processor time, and of the longest garbage collection.

    They may belong to different turns.
    """

    turn: float
    processor: float
    collection: float


class Turns:
    """The file to which a measured program writes its longest turns."""

    def __init__(self) -> None:
        self._file = tempfile.NamedTemporaryFile()  # noqa: SIM115
        self._file.write(bytes(_FORMAT.size))
        self._file.flush()
        self._map = mmap.mmap(self._file.fileno(), _FORMAT.size)

    @property
    def path(self) -> str:
        """Name of the file."""
        return self._file.name

    def take(self) -> Longest:
        """Return the longest since the last call, and start again."""
        longest = Longest(*_FORMAT.unpack(self._map))
        self._map[:] = bytes(_FORMAT.size)
        return longest

    def close(self) -> None:
        """Remove the file."""
        self._map.close()
        self._file.close()


def measure(path: str) -> None:
    """Measure this process's reactor from now on, where it waits with epoll."""
    if sys.platform != "linux":
        return
    with Path(path).open("r+b") as file:
        shared = mmap.mmap(file.fileno(), _FORMAT.size)
    from twisted.internet import reactor  # noqa: PLC0415 (an import installs the reactor)

    measured: Any = reactor
    measured._poller = _Measured(measured._poller, shared)


class _Measured:
    """An epoll object that records the time between polls."""

    def __init__(self, poller: Any, shared: mmap.mmap) -> None:
        self._poller = poller
        self._shared = shared
        self._began = self._ran = 0.0
        self._collecting = 0.0
        gc.callbacks.append(self._collected)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poller, name)

    def poll(self, *arguments: Any) -> Any:
        """Wait, as asked."""
        if self._began:
            self._note(0, perf_counter() - self._began)
            self._note(1, thread_time() - self._ran)
        found = self._poller.poll(*arguments)
        self._began, self._ran = perf_counter(), thread_time()
        return found

    def _collected(self, phase: str, _: object) -> None:
        if phase == "start":
            self._collecting = perf_counter()
        else:
            self._note(2, perf_counter() - self._collecting)

    def _note(self, index: int, seconds: float) -> None:
        longest = list(_FORMAT.unpack(self._shared))
        if seconds > longest[index]:
            longest[index] = seconds
            self._shared[:] = _FORMAT.pack(*longest)
