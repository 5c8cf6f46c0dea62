"""Our gateway: a twistd process; events are published as protobuf, as by existing programs."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from uuid import uuid4

import redis
from attrs import evolve

from benchmarks.children import Child, program, running
from benchmarks.events import event
from benchmarks.gateways.side import Audience, Side, Start, published_in_redis, publishing
from benchmarks.scenario import Setting
from opentera_twisted import topics
from tools.ports import free_port


@contextmanager
def ours(setting: Setting, audience: Audience) -> Iterator[Side]:
    """Our gateway; a shared topic is a further one of each session key."""
    with twistd(setting) as (gateway, port):
        yield _side("ours: twistd process", setting, audience, gateway, port)


@contextmanager
def with_recovery(setting: Setting, audience: Audience) -> Iterator[Side]:
    """Our gateway, whose clients ask for recovery of missed events."""
    with ours(setting, audience) as side:
        yield evolve(side, who="ours: with recovery", dialect="recovery")


@contextmanager
def with_recovery_and_grace(setting: Setting, audience: Audience) -> Iterator[Side]:
    """Our gateway with recovery, which reports no break of less than a minute."""
    with twistd(setting, "--presence-grace", "60") as (gateway, port):
        side = _side("ours: with --presence-grace 60", setting, audience, gateway, port)
        yield evolve(side, dialect="recovery")


def with_workers(count: int) -> Start:
    """Our gateway with so many workers, beside the process that watches them."""

    @contextmanager
    def start(setting: Setting, audience: Audience) -> Iterator[Side]:
        with twistd(setting, "--workers", str(count)) as (gateway, port):
            yield _side(f"ours: {count} workers", setting, audience, gateway, port)

    return start


@contextmanager
def ours_in_a_site(setting: Setting, audience: Audience) -> Iterator[Side]:
    """Our gateway as a resource of a site of twisted.web."""
    with program("our_site", url=setting.url) as gateway:
        port = gateway.report()["port"]
        yield _side("ours: in a site of twisted.web", setting, audience, gateway, port)


@contextmanager
def twistd(setting: Setting, *options: str) -> Iterator[tuple[Child, int]]:
    """A gateway that is ready, and the port of its websockets."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("twistd")), "--nodaemon", "--pidfile="]
    command += ["opentera-bus", "--redis", setting.url, "--admin", "none"]
    command += ["--max-clients", "0", "--max-connections-per-address", "0"]
    # A busy machine needs longer for a handshake and a hand-over than the defaults allow.
    command += ["--handshake-timeout", "60", "--shutdown-timeout", "60"]
    command += ["--websocket", f"tcp:{port}:interface=127.0.0.1", *options]
    with running(*command) as gateway:
        if "--workers" in options:
            gateway.wait_for_line("workers are ready")
        else:
            gateway.wait_for_line("link to Redis", "is ready")
        gateway.discard_output()
        yield gateway, port


def _side(who: str, setting: Setting, audience: Audience, gateway: Child, port: int) -> Side:
    def publisher(topics: Sequence[str]) -> AbstractContextManager[Child]:
        return publishing(
            setting.port,
            [
                published_in_redis(topic, event(topic, audience.size).SerializeToString())
                for topic in topics
            ],
        )

    return Side(
        who=who,
        dialect="plain",
        port=port,
        pids=gateway.family(),
        paths=issue_paths(setting, audience),
        publisher=publisher,
    )


def issue_paths(setting: Setting, audience: Audience) -> list[str]:
    """Request paths with session keys of a user for each websocket, valid for ten minutes."""
    keys = [f"user.{secrets.token_urlsafe(32)}" for _ in audience.topics]
    with (
        redis.Redis(port=setting.port, protocol=2) as client,
        client.pipeline(transaction=False) as pipeline,
    ):
        for key, topic in zip(keys, audience.topics, strict=True):
            pipeline.set(key, _value(topic, audience.common), ex=600)
        pipeline.execute()
    return [f"/wss/user?id={key}" for key in keys]


def _value(topic: str, common: str) -> str:
    """Return the user and further topics of a key for these topics."""
    prefix, _, rest = topic.partition("user.")
    if prefix == "websocket.":
        uuid = rest.removesuffix(".events")
        assert topics.websocket_events("user", uuid) == topic
        return json.dumps({"uuid": uuid, "name": "", "topics": [common]}) if common else uuid
    return json.dumps({"uuid": str(uuid4()), "name": "", "topics": [topic]})
