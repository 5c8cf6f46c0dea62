"""The null gateway: sends prepared bytes, and so shows what the load generator can take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from benchmarks.children import program
from benchmarks.events import event, text
from benchmarks.gateways.side import Audience, Side, publishing
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
            publisher=partial(publishing, report["publisher_port"], [b"x"]),
        )
