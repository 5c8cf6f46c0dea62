"""Time until all subscriptions are restored after a break, in total and each."""

from __future__ import annotations

from typing import Final

import redis

from benchmarks.children import program
from benchmarks.figures import Figure, Point, Series, Target
from benchmarks.scenario import Setting, rotated

NAME: Final = "restore"
TOPICS: Final = (100, 1_000, 10_000)
TARGETS: Final = {10_000: Target("below", 2.0)}
BREAKS: Final = 3
"""In one round, of the same bus: the median counts."""

_OURS: Final = "ours: Bus, its connections ended by Redis"


def run(setting: Setting) -> list[Figure]:
    """Measure a new bus each round."""
    restored, subscribed, memory = ({count: Series(_OURS) for count in TOPICS} for _ in range(3))
    for number in setting.each_round(NAME):
        for count in rotated(TOPICS, number):
            with program("our_subscriber", url=setting.url, topics=count) as subscriber:
                report = subscriber.report()
                subscribed[count].samples.append(report["seconds"])
                memory[count].samples.append(report["kib"])
                seconds = []
                for _ in range(BREAKS):
                    _break(setting)
                    seconds.append(subscriber.report()["seconds"])
                restored[count].samples.append(sorted(seconds)[BREAKS // 2])
    figures = []
    for count in TOPICS:
        topics = f"{count:,} topics"
        target = TARGETS.get(count)
        figures += [
            Figure(
                NAME,
                f"{topics}, from the break until back",
                "s",
                restored[count],
                target=target,
                point=Point("from the break until back", "topics", count),
            ),
            Figure(NAME, f"{topics}, subscribed first", "s", subscribed[count]),
        ]
    largest = TOPICS[-1]
    return [*figures, Figure(NAME, f"memory each of {largest:,} topics", "KiB", memory[largest])]


def _break(setting: Setting) -> None:
    """Have Redis close the connections of all subscribers and clients but this one."""
    with redis.Redis(port=setting.port, protocol=2) as client:
        for kind in ("pubsub", "normal"):
            client.execute_command("CLIENT", "KILL", "TYPE", kind)
