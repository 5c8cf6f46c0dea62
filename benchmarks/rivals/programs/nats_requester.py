"""Requests ``add`` over NATS, some requests in flight at a time. Run by the rivals' Python."""

from __future__ import annotations

import asyncio
import json
from argparse import Namespace
from collections.abc import Iterator
from time import perf_counter, time

import nats  # type: ignore[import-not-found]  # in the rivals' environment
from nats.aio.client import Client  # type: ignore[import-not-found]

from benchmarks.programs.options import parse_options
from benchmarks.programs.timing import summary


async def request(
    connection: Client, subject: str, numbers: Iterator[int], seconds: list[float]
) -> None:
    """Request one after another until the numbers, which others share, are used up."""
    for number in numbers:
        start = perf_counter()
        payload = {"method": "add", "id": number, "timestamp": time(), "args": [number, 1]}
        reply = await connection.request(subject, json.dumps(payload).encode(), timeout=10)
        assert json.loads(reply.data)["return_value"] == number + 1
        seconds.append(perf_counter() - start)


async def request_all(
    connection: Client, subject: str, calls: int, in_flight: int
) -> dict[str, float]:
    """Make all requests; what they took."""
    seconds: list[float] = []
    numbers = iter(range(calls))
    start = perf_counter()
    tasks = (request(connection, subject, numbers, seconds) for _ in range(in_flight))
    await asyncio.gather(*tasks)
    return summary(seconds, perf_counter() - start)


async def measure(options: Namespace) -> None:
    """Warm up, measure and report."""
    connection = await nats.connect(f"nats://127.0.0.1:{options.port}")
    await request_all(connection, options.subject, options.warm_up, options.in_flight)
    report = await request_all(connection, options.subject, options.calls, options.in_flight)
    print(json.dumps(report), flush=True)
    await connection.close()


if __name__ == "__main__":
    asyncio.run(
        measure(parse_options(port=int, subject=str, calls=int, warm_up=int, in_flight=int))
    )
