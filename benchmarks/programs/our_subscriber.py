"""Subscribes topics with `Bus.subscribe`, and tells when they are back after a break."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from time import perf_counter

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from benchmarks.processes import resident
from benchmarks.programs.options import parse_options
from opentera_twisted import Bus

AT_ONCE = 100
"""Topics that are being subscribed at a time."""


class Breaks:
    """Reports each break of a bus's subscriptions."""

    def __init__(self, bus: Bus) -> None:
        self._began = 0.0
        bus.link.on_interrupted.append(self._interrupted)
        bus.link.on_resumed.append(self._resumed)

    def _interrupted(self, _topics: object) -> None:
        self._began = self._began or perf_counter()

    def _resumed(self, _topics: object) -> None:
        seconds, self._began = perf_counter() - self._began, 0.0
        print(json.dumps({"seconds": seconds}), flush=True)


async def serve(options: Namespace, reactor: object) -> None:
    """Be subscribed until the process is ended."""
    bus = Bus(options.url, reactor=reactor, name="bench-subscriber")
    bus.startService()
    await bus.connected()
    memory, start = resident([os.getpid()]), perf_counter()
    for first in range(0, options.topics, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, options.topics))
        names = (f"service.Bench.events.{number:06}" for number in numbers)
        await gatherResults([bus.subscribe(name, lambda _: None) for name in names])
    seconds = perf_counter() - start
    Breaks(bus)
    kib = (resident([os.getpid()]) - memory) / options.topics
    print(json.dumps({"seconds": seconds, "kib": kib}), flush=True)
    await Deferred()


if __name__ == "__main__":
    arguments = parse_options(url=str, topics=int)
    react(lambda reactor: Deferred.fromCoroutine(serve(arguments, reactor)))
