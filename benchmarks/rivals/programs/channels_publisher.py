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


async def publish(layer: Any, events: list[list[str]], pace: float) -> dict[str, Any]:
    """Send all events; when it began, and when each was sent that was paced."""
    start = perf_counter()
    sent = []
    for number, (topic, text) in enumerate(events):
        if pace:
            await asyncio.sleep(max(0.0, start + number * pace - perf_counter()))
            sent.append(perf_counter())
        await layer.group_send(topic, {"type": "event", "text": text})
    return {"started": start, "sent": sent}


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
