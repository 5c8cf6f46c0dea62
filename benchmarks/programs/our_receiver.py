"""Follows personal topics of users and serves procedures, as gateways and services do.

A line of JSON on standard input says how many events to wait for; then it reports their end.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from time import perf_counter

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react
from twisted.internet.threads import deferToThread

from benchmarks.programs.options import parse_options
from benchmarks.programs.our_server import procedures
from opentera_twisted import Bus, Delivery, topics

AT_ONCE = 100
"""Topics that are being subscribed at a time."""


def personal(number: int) -> str:
    """Return the topic of a user."""
    return topics.websocket_events("user", f"{number:08x}-0000-4000-8000-000000000000")


class Count:
    """Counts events, and fires at a number of them."""

    def __init__(self) -> None:
        self._missing = 0
        self._all: Deferred[float] = Deferred()

    def __call__(self, _: Delivery) -> None:
        """Count an event."""
        self._missing -= 1
        if self._missing == 0:
            self._all.callback(perf_counter())

    def expect(self, events: int) -> Deferred[float]:
        """Count so many more; the Deferred fires with the time of the last one."""
        self._missing, self._all = events, Deferred()
        return self._all


async def receive(options: Namespace, reactor: object) -> None:
    """Serve, and follow each topic from the first one in steps, until the process is ended."""
    bus = Bus(options.url, reactor=reactor, name="bench-receiver")
    bus.startService()
    await bus.connected()
    for service in options.services.split(","):
        await bus.serve_service(service, procedures)
    count = Count()
    numbers = range(options.first, options.topics, options.step)
    for first in range(0, len(numbers), AT_ONCE):
        some = numbers[first : first + AT_ONCE]
        await gatherResults([bus.subscribe(personal(number), count) for number in some])
    print(json.dumps({"ready": True}), flush=True)
    while line := await deferToThread(sys.stdin.readline):
        all_came = count.expect(json.loads(line)["events"])
        print(json.dumps({"counting": True}), flush=True)
        print(json.dumps({"last": await all_came}), flush=True)
    await Deferred()  # its parent ends it


if __name__ == "__main__":
    arguments = parse_options(url=str, first=int, step=int, topics=int, services=str)
    react(lambda reactor: Deferred.fromCoroutine(receive(arguments, reactor)))
