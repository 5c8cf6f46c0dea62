"""Processor time and memory of processes.

Source: proc(5), clock_getcpuclockid(3).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

IDLE: Final = 1.0
"""Seconds in which the processor time of idle processes is measured, to leave it out."""


def processor_time(pids: Iterable[int]) -> float:
    """Seconds of processor time that these processes have taken."""
    # The number of a process's clock is made of its id.
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


@contextmanager
def spent(pids: Sequence[int]) -> Iterator[list[float]]:
    """Measure the processor time of each process for the work of a block, in seconds.

    Args:
        pids: the processes, which are idle before the block.

    Yields:
        A list that is filled at the end, less what the processes take when they are idle.
    """
    used: list[float] = []
    idle = [processor_time([pid]) for pid in pids]
    time.sleep(IDLE)
    before, began = [processor_time([pid]) for pid in pids], time.perf_counter()
    yield used
    seconds = time.perf_counter() - began
    for pid, earlier, start in zip(pids, idle, before, strict=True):
        used.append(processor_time([pid]) - start - (start - earlier) * seconds / IDLE)


def resident(pids: Iterable[int]) -> int:
    """Resident memory of these processes in KiB, their kernel's buffers left out."""
    return sum(map(_resident, pids))


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1])
    raise RuntimeError(f"the kernel does not say how much memory process {pid} has")
