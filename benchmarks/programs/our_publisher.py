"""Publishes with `Bus.publish`, some in flight at a time."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from time import perf_counter

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from benchmarks.programs.options import parse_options
from benchmarks.programs.timing import summary
from opentera_twisted import Bus


async def publish(
    bus: Bus, topic: str, payload: bytes, numbers: Iterator[int], seconds: list[float]
) -> None:
    """Publish one after another until the numbers, which others share, are used up."""
    for _ in numbers:
        start = perf_counter()
        await bus.publish(topic, payload)
        seconds.append(perf_counter() - start)


async def publish_all(bus: Bus, options: Namespace, count: int) -> dict[str, float]:
    """Publish so often; what it took."""
    seconds: list[float] = []
    numbers = iter(range(count))
    payload = bytes(options.size)
    start = perf_counter()
    await gatherResults(
        [
            Deferred.fromCoroutine(publish(bus, options.topic, payload, numbers, seconds))
            for _ in range(options.in_flight)
        ]
    )
    return summary(seconds, perf_counter() - start)


async def measure(options: Namespace, reactor: object) -> None:
    """Warm up, measure and report."""
    bus = Bus(options.url, reactor=reactor, name="bench-publisher")
    bus.startService()
    await bus.connected()
    await publish_all(bus, options, options.warm_up)
    print(json.dumps(await publish_all(bus, options, options.count)), flush=True)
    await bus.stopService()


if __name__ == "__main__":
    arguments = parse_options(url=str, topic=str, size=int, count=int, warm_up=int, in_flight=int)
    react(lambda reactor: Deferred.fromCoroutine(measure(arguments, reactor)))
