"""Null gateways, which send prepared bytes.

One takes its events directly, and so shows what the load generator can take. The other one takes
them from Redis: the floor of a gateway behind Redis.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.children import program
from benchmarks.events import event, text
from benchmarks.gateways.side import Audience, Side, published_in_redis, publishing
from benchmarks.programs.dialects import TEXT, frame
from benchmarks.scenario import Setting


@contextmanager
def null(setting: Setting, audience: Audience) -> Iterator[Side]:
    """The null gateway; it knows no topics, so its audience has to share one."""
    payload = text(event(audience.published[0], audience.size)).encode()
    prepared = frame(TEXT, payload, masked=False)
    with program("null_gateway", frame=prepared.hex()) as gateway:
        report = gateway.report()
        yield Side(
            who="ceiling: null gateway, prepared bytes",
            dialect="plain",
            port=report["port"],
            pids=(gateway.pid,),
            paths=["/"] * len(audience.topics),
            publisher=lambda _: publishing(report["publisher_port"], [b"x"]),
        )


@contextmanager
def null_behind_redis(setting: Setting, audience: Audience) -> Iterator[Side]:
    """The null gateway that subscribes to the one topic of its audience."""
    (topic,) = audience.published
    published = event(topic, audience.size)
    prepared = frame(TEXT, text(published).encode(), masked=False)
    message = published.SerializeToString()
    options = {"redis_port": setting.port, "topic": topic, "message": message.hex()}
    with program("null_subscriber", **options, frame=prepared.hex()) as gateway:
        yield Side(
            who="floor: null gateway behind Redis, prepared bytes",
            dialect="plain",
            port=gateway.report()["port"],
            pids=(gateway.pid,),
            paths=["/"] * len(audience.topics),
            publisher=lambda _: publishing(setting.port, [published_in_redis(topic, message)]),
        )
