"""Subscribes topics with `Bus.subscribe`, and tells when they are back after a break."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from collections.abc import Container, Sized
from time import perf_counter, process_time

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from benchmarks.processes import resident
from benchmarks.programs.options import parse_options
from opentera_twisted import Bus

AT_ONCE = 100
"""Topics that are being subscribed at a time."""


class Breaks:
    """Reports each break of a bus's subscriptions, with the processor time until its end."""

    def __init__(self, bus: Bus) -> None:
        self._began = self._cost = 0.0
        self._missing = 0
        bus.link.on_interrupted.append(self._interrupted)
        bus.link.on_resumed.append(self._resumed)

    def _interrupted(self, topics: Container[bytes]) -> None:
        if not self._began:
            self._began, self._cost = perf_counter(), process_time()
        self._missing += _size(topics)

    def _resumed(self, topics: Container[bytes]) -> None:
        self._missing -= _size(topics)
        if not self._missing:
            report = {
                "seconds": perf_counter() - self._began,
                "cost": process_time() - self._cost,
            }
            self._began = 0.0
            print(json.dumps(report), flush=True)


def _size(topics: Container[bytes]) -> int:
    """Number of topics; 1 for all topics of a single server."""
    return len(topics) if isinstance(topics, Sized) else 1


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
