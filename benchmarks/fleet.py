"""The cost of a login at Redis with 1 to 100 gateways, on one server and on a cluster.

One process does the bookkeeping of all gateways: session keys, subscriptions and presence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import redis
from attrs import frozen

from benchmarks.children import allow_files, program, redis_cluster
from benchmarks.figures import Figure, Point, Series, Target
from benchmarks.processes import spent
from benchmarks.scenario import Setting, rotated

NAME: Final = "fleet"
ROUNDS: Final = 2
GATEWAYS: Final = (1, 10, 100)
NODES: Final = 3
CLIENTS: Final = 3_000
"""Identities online, over all gateways."""

LOGINS: Final = 400
RENEWALS: Final = 300
"""Over all gateways."""

FLAT: Final = Target("below", 1.25)


@frozen
class _Redis:
    """The servers of one measurement."""

    who: str
    url: str
    pids: tuple[int, ...]
    flush: Callable[[], object]


def run(setting: Setting) -> list[Figure]:
    """Measure all numbers of gateways in each round, each round in another order."""
    allow_files()
    names = ("one server", f"cluster of {NODES} nodes")
    kinds = ("a login and logout", "a renewal of a lease")
    series = {
        (kind, name, count): Series(f"ours: {name}")
        for kind in kinds
        for name in names
        for count in GATEWAYS
    }
    growth = {name: Series(f"ours: {name}") for name in names}
    with redis_cluster(NODES) as cluster:
        single = redis.Redis(port=setting.port, protocol=2)
        pid = single.info("server")["process_id"]
        one = _Redis(names[0], setting.url, (pid,), single.flushall)
        pids = tuple(node.pid for node in cluster.nodes)
        more = _Redis(names[1], cluster.url, pids, cluster.flush)
        for number in setting.each_round(NAME):
            for servers in rotated((one, more), number):
                for count in rotated(GATEWAYS, number):
                    login, renewal = _measure(setting, servers, count)
                    series[kinds[0], servers.who, count].samples.append(login)
                    series[kinds[1], servers.who, count].samples.append(renewal)
                few, many = (
                    series[kinds[0], servers.who, count].samples[-1]
                    for count in (GATEWAYS[0], GATEWAYS[-1])
                )
                growth[servers.who].samples.append(many / few)
    figures = [
        Figure(
            NAME,
            f"{name}, {count} gateway{'s' if count > 1 else ''}: Redis's processor time for {kind}",
            "µs",
            samples,
            point=Point(f"{name}: Redis's processor time for {kind}", "gateways", count),
        )
        for (kind, name, count), samples in series.items()
    ]
    return [
        *figures,
        *(
            Figure(
                NAME,
                f"{name}: that of a login with {GATEWAYS[-1]} gateways to 1",
                "times",
                samples,
                target=FLAT,
            )
            for name, samples in growth.items()
        ),
    ]


def _measure(setting: Setting, servers: _Redis, gateways: int) -> tuple[float, float]:
    """Microseconds of a login with its logout, and of the renewal of a lease."""
    servers.flush()
    with program("our_fleet", url=servers.url, gateways=gateways) as fleet:
        fleet.report()
        fleet.ask({"enter": max(1, CLIENTS // gateways)})
        fleet.ask({"renewals": 1})
        fleet.ask({"logins": gateways})  # the first run of a script costs more
        logins = setting.amount(LOGINS)
        each = max(1, setting.amount(RENEWALS) // gateways)
        with spent(servers.pids) as login:
            fleet.ask({"logins": logins})
        with spent(servers.pids) as renewal:
            fleet.ask({"renewals": each})
        return 1e6 * sum(login) / logins, 1e6 * sum(renewal) / each / gateways
