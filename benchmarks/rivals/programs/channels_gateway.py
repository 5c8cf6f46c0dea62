"""Django Channels on daphne: a consumer that joins a group. Run by the rivals' Python."""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from urllib.parse import parse_qs

import django  # type: ignore[import-not-found]  # in the rivals' environment
from django.conf import settings  # type: ignore[import-not-found]

from benchmarks.programs.options import parse_options

options = parse_options(redis_port=int, port=int)
layer = {
    "hosts": [("127.0.0.1", options.redis_port)],
    # Groups of processes that were killed are kept for a day.
    "prefix": f"bench-{os.getpid()}",
    # Beyond it, messages are dropped.
    "capacity": 1_000_000,
}
settings.configure(
    ALLOWED_HOSTS=["*"],
    CHANNEL_LAYERS={
        "default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": layer}
    },
)
django.setup()

# Only with settings can these be imported.
from channels.generic.websocket import (  # type: ignore[import-untyped]  # noqa: E402
    AsyncWebsocketConsumer,
)
from daphne.server import Server  # type: ignore[import-not-found]  # noqa: E402


class Consumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # not annotated here
    """One websocket."""

    async def connect(self) -> None:
        """Join the groups and let the client in."""
        topics = parse_qs(self.scope["query_string"].decode())["topics"][0]
        for topic in topics.split(","):
            await self.channel_layer.group_add(topic, self.channel_name)
        await self.accept()

    async def event(self, message: dict[str, str]) -> None:
        """Send what came to the group."""
        await self.send(text_data=message["text"])


def tell() -> None:
    """Report that it listens."""
    versions = {name: version(name) for name in ("channels", "daphne", "channels_redis")}
    print(json.dumps({"layer": layer, "versions": versions}), flush=True)


Server(
    Consumer.as_asgi(),
    endpoints=[f"tcp:{options.port}:interface=127.0.0.1:backlog=1024"],
    ready_callable=tell,
    verbosity=0,
).run()
