"""Publishes to groups of Django Channels, as `publisher` does elsewhere. Run by the rivals' Python.

The first line on standard input is ``{"layer": {…}, "events": [[topic, text], …]}``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from itertools import cycle, islice
from time import perf_counter
from typing import Any

from channels_redis.core import RedisChannelLayer  # type: ignore[import-not-found]


async def publish(layer: Any, events: list[list[str]], pace: float) -> dict[str, float]:
    """Send all events; when the first was sent and the last, and how late one was at most."""
    start = perf_counter()
    latest = 0.0
    for number, (topic, text) in enumerate(events):
        if pace:
            due = start + number * pace
            await asyncio.sleep(max(0.0, due - perf_counter()))
            latest = max(latest, perf_counter() - due)
        await layer.group_send(topic, {"type": "event", "text": text})
    return {"started": start, "ended": perf_counter(), "late": latest}


async def serve() -> None:
    """Do what each line asks for."""
    loop = asyncio.get_running_loop()
    prepared = json.loads(sys.stdin.readline())
    layer = RedisChannelLayer(**prepared["layer"])
    endless = cycle(prepared["events"])
    print(json.dumps({"ready": True}), flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        report = await publish(layer, list(islice(endless, command["count"])), command["pace"])
        print(json.dumps(report), flush=True)


asyncio.run(serve())
