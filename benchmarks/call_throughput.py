"""Calls per second, 1 to 1,024 in flight: ours, nats.py, and existing callers one by one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

from benchmarks.children import measured, program
from benchmarks.figures import Figure, Point, Rival, Series, Target
from benchmarks.rivals.environments import NotMeasuredError
from benchmarks.rivals.nats_requests import nats_requests
from benchmarks.scenario import SERVICE, TOPIC, Setting, rotated

NAME: Final = "call-throughput"
TARGET: Final = Target("at least", 20.0)
NATS_TARGETS: Final = {64: Target("at least", 1.2), 256: Target("at least", 1.2)}
IN_FLIGHT: Final = (1, 16, 64, 256, 1_024)
QUICK_IN_FLIGHT: Final = (1, 64, 256)
COMPARED: Final = 64
"""Calls in flight of ours beside existing callers, who have one."""

CALLS: Final = {1: 2_000, 16: 8_000}
CALLS_IN_FLIGHT: Final = 12_000
"""Each enough for a second or two."""

EXISTING_CALLS: Final = 1_000

_EXISTING_TOPIC: Final = TOPIC.replace(SERVICE, "existing")
_EXISTING: Final = {
    "redis-py, call by call, our server process": (TOPIC, "each"),
    "redis-py, call by call, existing server": (_EXISTING_TOPIC, "each"),
    "redis-py, call by call, subscribed once, our server process": (TOPIC, "once"),
}


def run(setting: Setting) -> list[Figure]:
    """Measure all sides in each round, each round in another order."""
    in_flight = QUICK_IN_FLIGHT if setting.quick else IN_FLIGHT
    ours = {count: Series(f"ours: Bus, {count:,} in flight") for count in in_flight}
    nats = {count: Series("nats.py") for count in in_flight}
    existing = {who: Series(f"existing: {who}") for who in _EXISTING}
    our_options = {"url": setting.url, "service": SERVICE}
    sides: list[tuple[Series, Callable[[], Any]]] = []
    missing = ""
    with ExitStack() as stack:
        stack.enter_context(program("our_server", **our_options)).report()
        server = program("existing_server", port=setting.port, topic=_EXISTING_TOPIC)
        stack.enter_context(server).report()
        try:
            requests = stack.enter_context(nats_requests())
        except NotMeasuredError as error:
            missing = str(error)
        for count in in_flight:
            amount = _amount(setting.amount(CALLS.get(count, CALLS_IN_FLIGHT)), count)
            sides.append((ours[count], partial(measured, "our_caller", **our_options, **amount)))
            if not missing:
                nats[count].who = f"{requests.who}, {count:,} in flight"
                sides.append((nats[count], partial(requests.measure, **amount)))
        calls = setting.amount(EXISTING_CALLS)
        for who, (topic, subscribe) in _EXISTING.items():
            options = {"topic": topic, "subscribe": subscribe, "port": setting.port}
            options.update(calls=calls, warm_up=calls // 10)
            sides.append((existing[who], partial(measured, "existing_caller", **options)))
        for number in setting.each_round(NAME):
            for series, measure in rotated(sides, number):
                series.samples.append(measure()["per_second"])
    figures = [
        Figure(
            NAME,
            f"{count:,} in flight",
            "calls/s",
            ours[count],
            [Rival(nats[count], NATS_TARGETS.get(count), missing)],
            point=Point("calls per second", "calls in flight", count),
        )
        for count in in_flight
    ]
    rivals = [
        Rival(series, TARGET if index == 0 else None)
        for index, series in enumerate(existing.values())
    ]
    return [*figures, Figure(NAME, "existing callers", "calls/s", ours[COMPARED], rivals)]


def _amount(calls: int, in_flight: int) -> dict[str, int]:
    return {"calls": calls, "warm_up": max(calls // 10, in_flight), "in_flight": in_flight}
