"""The cost of a login at Redis with 1 to 100 gateways, on one server and on a cluster.

One process does the bookkeeping of all gateways: session keys, subscriptions and presence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from attrs import frozen

from benchmarks.children import Child, allow_files, program, redis_cluster
from benchmarks.figures import Figure, Point, Series, Target
from benchmarks.scenario import Setting, rotated
from opentera_twisted.link import RedisAddress
from opentera_twisted.link.plain import execute

NAME: Final = "fleet"
ROUNDS: Final = 3
GATEWAYS: Final = (1, 10, 30, 100)
NODES: Final = 3
CLIENTS: Final = 3_000
"""Identities online, over all gateways."""

LOGINS: Final = 600
RENEWALS: Final = 4
FLAT: Final = Target("below", 1.25)

_SCRIPTS: Final = (b"evalsha", b"eval")
_OTHERS: Final = (b"subscribe", b"ssubscribe", b"unsubscribe", b"sunsubscribe")
"""Commands of a login that are in no script; its session key is another program's."""

Execute = Callable[..., Any]


@frozen
class _Redis:
    """The servers of one measurement."""

    who: str
    url: str
    nodes: tuple[Execute, ...]

    def microseconds(self) -> tuple[float, float]:
        """Microseconds since the reset: of scripts, and of all commands of logins.

        The time of a script includes that of its commands, which Redis counts once more.
        """
        scripts = others = 0.0
        for node in self.nodes:
            for line in node("INFO", "commandstats").splitlines():
                name, _, values = line.removeprefix(b"cmdstat_").partition(b":")
                if name not in (*_SCRIPTS, *_OTHERS):
                    continue
                took = float(dict(v.split(b"=") for v in values.split(b","))[b"usec"])
                if name in _SCRIPTS:
                    scripts += took
                else:
                    others += took
        return scripts, scripts + others

    def reset(self) -> None:
        for node in self.nodes:
            node("CONFIG", "RESETSTAT")


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
        single = RedisAddress.parse(setting.url)
        one = _Redis(names[0], setting.url, (lambda *words: execute(single, *words),))
        more = _Redis(names[1], cluster.url, tuple(node.execute for node in cluster.nodes))
        for number in setting.each_round(NAME):
            for redis in rotated((one, more), number):
                for count in rotated(GATEWAYS, number):
                    login, renewal = _measure(setting, redis, count)
                    series[kinds[0], redis.who, count].samples.append(login)
                    series[kinds[1], redis.who, count].samples.append(renewal)
                few, many = (
                    series[kinds[0], redis.who, count].samples[-1]
                    for count in (GATEWAYS[0], GATEWAYS[-1])
                )
                growth[redis.who].samples.append(many / few)
    figures = [
        Figure(
            NAME,
            f"{name}, {count} gateway{'s' if count > 1 else ''}: Redis's time for {kind}",
            "µs",
            samples,
            point=Point(f"{name}: Redis's time for {kind}", "gateways", count),
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


def _measure(setting: Setting, redis: _Redis, gateways: int) -> tuple[float, float]:
    """Microseconds of a login with its logout, and of the renewal of a lease."""
    for node in redis.nodes:
        node("FLUSHALL")
    with program("our_fleet", url=redis.url, gateways=gateways) as fleet:
        fleet.report()
        fleet.ask({"enter": max(1, CLIENTS // gateways)})
        fleet.ask({"renewals": 1})
        logins = setting.amount(LOGINS)
        _, login = _spent(redis, fleet, {"logins": logins})
        renewals, _ = _spent(redis, fleet, {"renewals": RENEWALS})
        return login / logins, renewals / RENEWALS / gateways


def _spent(redis: _Redis, fleet: Child, work: dict[str, int]) -> tuple[float, float]:
    redis.reset()
    fleet.ask(work)
    return redis.microseconds()
