"""Django Channels on daphne with channels_redis; events are sent to groups by another process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.children import Child, program
from benchmarks.events import event, text
from benchmarks.gateways.side import Audience, Side
from benchmarks.rivals.environments import python
from benchmarks.scenario import Setting
from tools.ports import free_port


@contextmanager
def channels(setting: Setting, audience: Audience) -> Iterator[Side]:
    """One daphne process."""
    interpreter = python("channels", "channels[daphne]", "channels_redis")
    port = free_port()
    options = {"port": port, "redis_port": setting.port}
    with program("rivals.programs.channels_gateway", interpreter, **options) as server:
        report = server.report()
        versions = report["versions"]

        def publisher(topics: Sequence[str]) -> AbstractContextManager[Child]:
            events = [[topic, text(event(topic, audience.size))] for topic in topics]
            return _publisher(interpreter, {"layer": report["layer"], "events": events})

        yield Side(
            who=(
                f"Django Channels {versions['channels']}, daphne {versions['daphne']}, "
                f"channels_redis {versions['channels_redis']}"
            ),
            dialect="plain",
            port=port,
            pids=(server.pid,),
            paths=[f"/?topics={topics}" for topics in audience.followed],
            publisher=publisher,
        )


@contextmanager
def _publisher(interpreter: Path, prepared: dict[str, Any]) -> Iterator[Child]:
    with program("rivals.programs.channels_publisher", interpreter) as child:
        child.ask(prepared)
        yield child
