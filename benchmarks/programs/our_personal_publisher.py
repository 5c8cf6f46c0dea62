"""Publishes events of users with `Bus.publish`, each to its own topic, some in flight at a time."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from time import perf_counter

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from benchmarks.programs.options import parse_options
from benchmarks.programs.our_followers import personal
from opentera_twisted import Bus

SIZE = 300
"""Bytes of a payload: an event in protobuf."""


async def publish(bus: Bus, options: Namespace, numbers: Iterator[int]) -> None:
    """Publish one after another until the numbers, which others share, are used up."""
    for number in numbers:
        await bus.publish(personal(number % options.topics), bytes(SIZE))


async def measure(options: Namespace, reactor: object) -> None:
    """Publish to all topics in turn, and report the begin."""
    bus = Bus(options.url, reactor=reactor, name="bench-publisher")
    bus.startService()
    await bus.connected()
    numbers = iter(range(options.count))
    began = perf_counter()
    await gatherResults(
        [Deferred.fromCoroutine(publish(bus, options, numbers)) for _ in range(options.in_flight)]
    )
    print(json.dumps({"began": began}), flush=True)
    await bus.stopService()


if __name__ == "__main__":
    arguments = parse_options(url=str, topics=int, count=int, in_flight=int)
    react(lambda reactor: Deferred.fromCoroutine(measure(arguments, reactor)))
