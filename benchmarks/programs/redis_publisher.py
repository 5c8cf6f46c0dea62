"""Publishes with redis-py's asyncio client, some in flight at a time over a pool of connections."""

from __future__ import annotations

import asyncio
import json
from argparse import Namespace
from collections.abc import Iterator
from time import perf_counter

from redis.asyncio import Redis

from benchmarks.programs.options import parse_options
from benchmarks.programs.timing import summary


async def publish(
    client: Redis, topic: str, payload: bytes, numbers: Iterator[int], seconds: list[float]
) -> None:
    """Publish one after another until the numbers, which others share, are used up."""
    for _ in numbers:
        start = perf_counter()
        await client.publish(topic, payload)
        seconds.append(perf_counter() - start)


async def publish_all(client: Redis, options: Namespace, count: int) -> dict[str, float]:
    """Publish so often; what it took."""
    seconds: list[float] = []
    numbers = iter(range(count))
    payload = bytes(options.size)
    start = perf_counter()
    await asyncio.gather(
        *(
            publish(client, options.topic, payload, numbers, seconds)
            for _ in range(options.in_flight)
        )
    )
    return summary(seconds, perf_counter() - start)


async def measure(options: Namespace) -> None:
    """Warm up, measure and report."""
    async with Redis(port=options.port, protocol=2) as client:
        await publish_all(client, options, options.warm_up)
        print(json.dumps(await publish_all(client, options, options.count)), flush=True)


if __name__ == "__main__":
    asyncio.run(
        measure(parse_options(port=int, topic=str, size=int, count=int, warm_up=int, in_flight=int))
    )
