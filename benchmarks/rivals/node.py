"""Gateways in JavaScript: `ws` with a Redis subscriber, and Socket.IO with its Redis adapter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from benchmarks.children import ROOT, Child, running
from benchmarks.events import compact, event, text
from benchmarks.gateways.side import Audience, Side, published_in_redis, publishing
from benchmarks.rivals.environments import node
from benchmarks.scenario import Setting


@contextmanager
def ws(setting: Setting, audience: Audience) -> Iterator[Side]:
    """Texts are forwarded as they come; each client's frame is made by `ws`."""
    commands = [
        published_in_redis(topic, text(event(topic, audience.size)).encode())
        for topic in audience.published
    ]
    with _script("ws_gateway", setting.port) as gateway:
        report = gateway.report()
        yield Side(
            who=f"node ws {report['version']}, one Redis subscriber",
            dialect="told",
            port=report["port"],
            pids=(gateway.pid,),
            paths=[f"/?topic={topic}" for topic in audience.topics],
            publisher=partial(publishing, setting.port, commands),
        )


@contextmanager
def socket_io(setting: Setting, audience: Audience) -> Iterator[Side]:
    """Rooms are topics; messages are those that its adapter publishes."""
    first = audience.published[0]
    prepared = text(event(first, audience.size, compact))
    with _script("socketio_gateway", setting.port, first, prepared) as gateway:
        report = gateway.report()
        payload = bytes.fromhex(report["payload"])
        # Topics have one length, so that another one can replace it.
        commands = [
            published_in_redis(
                report["channel"].replace(first, topic),
                payload.replace(first.encode(), topic.encode()),
            )
            for topic in audience.published
        ]
        yield Side(
            who=f"Socket.IO {report['version']}, Redis adapter",
            dialect="socket.io",
            port=report["port"],
            pids=(gateway.pid,),
            paths=[
                f"/socket.io/?EIO=4&transport=websocket&topic={topic}" for topic in audience.topics
            ],
            publisher=partial(publishing, setting.port, commands),
        )


@contextmanager
def _script(name: str, *arguments: object) -> Iterator[Child]:
    """A script of the benchmarks' programs, run by node with the rivals' modules."""
    binary, folder = node()
    path = ROOT / "benchmarks" / "rivals" / "programs" / f"{name}.js"
    environment = f"NODE_PATH={folder / 'node_modules'}"
    command = ["/usr/bin/env", environment, binary, str(path)]
    with running(*command, *(str(argument) for argument in arguments)) as script:
        yield script
