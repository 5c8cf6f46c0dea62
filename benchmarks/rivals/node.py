"""Gateways in JavaScript: `ws` with a Redis subscriber, and Socket.IO with its Redis adapter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import starmap

from benchmarks.children import ROOT, Child, running
from benchmarks.events import compact, event, text
from benchmarks.gateways.side import Audience, Side, published_in_redis, publishing
from benchmarks.rivals.environments import node
from benchmarks.scenario import Setting


@contextmanager
def ws(setting: Setting, audience: Audience) -> Iterator[Side]:
    """Texts are forwarded as they come; each client's frame is made by `ws`."""

    def publisher(topics: Sequence[str]) -> AbstractContextManager[Child]:
        events = {topic: text(event(topic, audience.size)).encode() for topic in topics}
        return publishing(setting.port, list(starmap(published_in_redis, events.items())))

    with _script("ws_gateway", setting.port) as gateway:
        report = gateway.report()
        yield Side(
            who=f"node ws {report['version']}, one Redis subscriber",
            dialect="told",
            port=report["port"],
            pids=(gateway.pid,),
            paths=[f"/?topics={topics}" for topics in audience.followed],
            publisher=publisher,
        )


@contextmanager
def socket_io(setting: Setting, audience: Audience) -> Iterator[Side]:
    """Rooms are topics; messages are those that its adapter publishes."""
    kinds = [audience.topics[0], *filter(None, [audience.common])]
    prepared: list[str] = []
    for topic in kinds:
        prepared += topic, text(event(topic, audience.size, compact))
    with _script("socketio_gateway", setting.port, *prepared) as gateway:
        report = gateway.report()
        recorded = {
            len(topic): (topic, message["channel"], bytes.fromhex(message["payload"]))
            for topic, message in zip(kinds, report["messages"], strict=True)
        }

        def published(topic: str) -> bytes:
            # Topics of one kind have one length, so that another one can replace it.
            first, channel, payload = recorded[len(topic)]
            return published_in_redis(
                channel.replace(first, topic),
                payload.replace(first.encode(), topic.encode()),
            )

        yield Side(
            who=f"Socket.IO {report['version']}, Redis adapter",
            dialect="socket.io",
            port=report["port"],
            pids=(gateway.pid,),
            paths=[
                f"/socket.io/?EIO=4&transport=websocket&topics={topics}"
                for topics in audience.followed
            ],
            publisher=lambda topics: publishing(
                setting.port, [published(topic) for topic in topics]
            ),
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
