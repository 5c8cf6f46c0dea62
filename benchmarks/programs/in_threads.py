"""Calls from several threads at a time, each one after another."""

from __future__ import annotations

from collections.abc import Callable
from threading import Barrier, Thread
from time import perf_counter

from benchmarks.programs.timing import summary

Call = Callable[[int], int]
"""Calls ``add`` with a number and 1, and gives back the result."""


def measure(calls: list[Call], amount: int, warm_up: int) -> dict[str, float]:
    """Make calls, each kind in its own thread; return the timing of all.

    Args:
        calls: one for each thread.
        amount: Total number of calls.
        warm_up: calls in all that come first, and are not measured.
    """
    ready = Barrier(len(calls) + 1)
    seconds: list[list[float]] = [[] for _ in calls]

    def work(call: Call, own: list[float]) -> None:
        for number in range(warm_up // len(calls)):
            assert call(number) == number + 1
        ready.wait()
        for number in range(amount // len(calls)):
            start = perf_counter()
            result = call(number)
            own.append(perf_counter() - start)
            assert result == number + 1

    threads = [Thread(target=work, args=share) for share in zip(calls, seconds, strict=True)]
    for thread in threads:
        thread.start()
    ready.wait()
    start = perf_counter()
    for thread in threads:
        thread.join()
    total = perf_counter() - start
    return summary([value for own in seconds for value in own], total)
