"""Time until all subscriptions are restored after a break, in total and each."""

from __future__ import annotations

from statistics import median
from typing import Final

import redis

from benchmarks.children import program, redis_cluster
from benchmarks.figures import Figure, Point, Series, Target
from benchmarks.scenario import Setting, rotated

NAME: Final = "restore"
ROUNDS: Final = 3
TOPICS: Final = (100, 1_000, 10_000)
TARGETS: Final = {10_000: Target("below", 2.0)}
BREAKS: Final = 3
"""In one round, of the same bus: the median counts."""

NODES: Final = 3
CLUSTER_TARGET: Final = Target("below", 1.0)

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
    figures += _over_nodes(setting, largest)
    return [*figures, Figure(NAME, f"memory each of {largest:,} topics", "KiB", memory[largest])]


def _over_nodes(setting: Setting, topics: int) -> list[Figure]:
    """Measure a bus on a cluster, with its connections to all nodes ended at once."""
    seconds, costs = Series(_OURS), Series(_OURS)
    with redis_cluster(NODES) as cluster:
        for _ in setting.each_round(f"{NAME}, {NODES} nodes"):
            with program("our_subscriber", url=cluster.url, topics=topics) as subscriber:
                subscriber.report()
                reports = []
                for _ in range(BREAKS):
                    for node in cluster.nodes:
                        for kind in ("pubsub", "normal"):
                            node.execute("CLIENT", "KILL", "TYPE", kind)
                    reports.append(subscriber.report())
                for series, what in ((seconds, "seconds"), (costs, "cost")):
                    series.samples.append(median(report[what] for report in reports))
    what = f"{topics:,} topics over {NODES} nodes"
    return [
        Figure(NAME, f"{what}, from the break until back", "s", seconds, target=CLUSTER_TARGET),
        Figure(NAME, f"{what}, processor time of the program", "s", costs, target=CLUSTER_TARGET),
    ]


def _break(setting: Setting) -> None:
    """Have Redis close the connections of all subscribers and clients but this one."""
    with redis.Redis(port=setting.port, protocol=2) as client:
        for kind in ("pubsub", "normal"):
            client.execute_command("CLIENT", "KILL", "TYPE", kind)
