"""Publishing: ours against redis-py's asyncio client, and a bare socket."""

from __future__ import annotations

from functools import partial
from typing import Final

from benchmarks.children import measured
from benchmarks.figures import Figure, Rival, Series
from benchmarks.scenario import Setting, rotated

NAME: Final = "publish"
ROUNDS: Final = 3
COUNT: Final = 10_000
COUNT_IN_FLIGHT: Final = 100_000
REDIS_COUNT_IN_FLIGHT: Final = 15_000
"""Each enough for one to two seconds."""

IN_FLIGHT: Final = 64
SIZE: Final = 300
"""Bytes of a payload: an event in protobuf."""

_OURS: Final = "ours: Bus"
_REDIS: Final = "redis-py, asyncio"
_FLOOR: Final = "floor: a bare blocking socket"


def run(setting: Setting) -> list[Figure]:
    """Measure to a topic that nobody follows: what Redis does with it is not counted."""
    one = {who: Series(who) for who in (_OURS, _REDIS, _FLOOR)}
    many = {who: Series(who) for who in (_OURS, _REDIS)}
    common = {"topic": "service.Bench.events", "size": SIZE}
    single = _amount(setting.amount(COUNT))
    several = _amount(setting.amount(COUNT_IN_FLIGHT))
    fewer = _amount(setting.amount(REDIS_COUNT_IN_FLIGHT))
    ours = partial(measured, "our_publisher", url=setting.url, **common)
    other = partial(measured, "redis_publisher", port=setting.port, **common)
    floor = partial(measured, "floor_publisher", port=setting.port, **common)
    sides = [
        (one[_OURS], "p50", partial(ours, **single, in_flight=1)),
        (one[_REDIS], "p50", partial(other, **single, in_flight=1)),
        (one[_FLOOR], "p50", partial(floor, **single)),
        (many[_OURS], "per_second", partial(ours, **several, in_flight=IN_FLIGHT)),
        (many[_REDIS], "per_second", partial(other, **fewer, in_flight=IN_FLIGHT)),
    ]
    for number in setting.each_round(NAME):
        for series, what, measure in rotated(sides, number):
            series.samples.append(measure()[what])
    return [
        Figure(
            NAME,
            "one after another, p50",
            "µs",
            one[_OURS],
            [Rival(one[_REDIS]), Rival(one[_FLOOR])],
        ),
        Figure(NAME, f"{IN_FLIGHT} in flight", "/s", many[_OURS], [Rival(many[_REDIS])]),
    ]


def _amount(count: int) -> dict[str, int]:
    return {"count": count, "warm_up": count // 10}
