"""Publishes events of users and calls services, some messages in flight at a time.

The senders visit one part of the hash slots after another, so that each node of a cluster has all
messages for a while. The order is the same whatever the number of nodes.

A line of JSON on standard input says what to send; it is reported when all is answered:

    {"event": 10}       so many events to each topic
    {"call": 1500}      so many calls of each service
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from time import perf_counter
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react
from twisted.internet.threads import deferToThread

from benchmarks.programs.options import parse_options
from benchmarks.programs.our_receiver import personal
from opentera_twisted import Bus
from opentera_twisted.link.slots import SLOTS, slot_of_topic

PARTS = 6
"""Parts of the hash slots that are visited one after another."""

SIZE = 300
"""Bytes of a payload: an event in protobuf."""

Send = Callable[[str], Deferred[Any]]


def part_of(topic: str) -> int:
    """Return the part of the slots in which a topic lies."""
    return slot_of_topic(topic) * PARTS // SLOTS


async def send_all(send: Send, names: Iterator[str]) -> None:
    """Send one message after another until the names, which others share, are used up."""
    for name in names:
        await send(name)


def in_turn(topics: list[str], times: int) -> Iterator[str]:
    """Return the topics of each part so many times, one part after another."""
    parts = [[topic for topic in topics if part_of(topic) == part] for part in range(PARTS)]
    return chain.from_iterable(chain.from_iterable(repeat(part, times)) for part in parts)


async def serve(options: Namespace, reactor: object) -> None:
    """Send what each line of the input says, until the process is ended."""
    bus = Bus(options.url, reactor=reactor, name="bench-sender")
    bus.startService()
    await bus.connected()
    names = [personal(number) for number in range(options.topics)]
    services = options.services.split(",")
    event = bytes(SIZE)
    sends: dict[str, Send] = {
        "event": lambda name: bus.publish(name, event),
        "call": lambda name: bus.call_service(name, "add", 1, 1),
    }
    print(json.dumps({"ready": True}), flush=True)
    while line := await deferToThread(sys.stdin.readline):
        ((message, times),) = json.loads(line).items()
        if message == "event":
            messages = in_turn(names, times)
        else:
            messages = chain.from_iterable(repeat(service, times) for service in services)
        send, began = sends[message], perf_counter()
        await gatherResults(
            [Deferred.fromCoroutine(send_all(send, messages)) for _ in range(options.in_flight)]
        )
        print(json.dumps({"began": began, "ended": perf_counter()}), flush=True)
    await Deferred()  # its parent ends it


if __name__ == "__main__":
    arguments = parse_options(url=str, topics=int, services=str, in_flight=int)
    react(lambda reactor: Deferred.fromCoroutine(serve(arguments, reactor)))
