"""Calls ``add`` with `Bus.call_service`, some calls in flight at a time."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from time import perf_counter, process_time

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from benchmarks.programs.options import parse_options
from benchmarks.programs.timing import summary
from opentera_twisted import Bus


async def call(bus: Bus, service: str, numbers: Iterator[int], seconds: list[float]) -> None:
    """Call one after another until the numbers, which others share, are used up."""
    for number in numbers:
        start = perf_counter()
        result = await bus.call_service(service, "add", number, 1)
        seconds.append(perf_counter() - start)
        assert result == number + 1


async def call_all(bus: Bus, service: str, calls: int, in_flight: int) -> dict[str, float]:
    """Make all calls; what they took, and the processor time for each in microseconds."""
    seconds: list[float] = []
    numbers = iter(range(calls))
    start, cost = perf_counter(), -process_time()
    await gatherResults(
        [Deferred.fromCoroutine(call(bus, service, numbers, seconds)) for _ in range(in_flight)]
    )
    cost += process_time()
    return {**summary(seconds, perf_counter() - start), "cost": 1e6 * cost / calls}


async def measure(options: Namespace, reactor: object) -> None:
    """Warm up, measure and report."""
    bus = Bus(options.url, reactor=reactor, name="bench-caller")
    bus.startService()
    await bus.connected()
    await call_all(bus, options.service, options.warm_up, options.in_flight)
    report = await call_all(bus, options.service, options.calls, options.in_flight)
    print(json.dumps(report), flush=True)
    await bus.stopService()


if __name__ == "__main__":
    arguments = parse_options(url=str, service=str, calls=int, warm_up=int, in_flight=int)
    react(lambda reactor: Deferred.fromCoroutine(measure(arguments, reactor)))
