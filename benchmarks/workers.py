"""The gain of a second worker: logins and deliveries with one and with two."""

from __future__ import annotations

from typing import Final

from benchmarks.children import allow_files
from benchmarks.comparison import Comparison, Measured
from benchmarks.crowds import crowd
from benchmarks.figures import Figure
from benchmarks.gateways import Start, ours, with_workers
from benchmarks.scenario import Setting

NAME: Final = "workers"
ROUNDS: Final = 3
WEBSOCKETS: Final = 1_000
TWO: Final = "2 workers"

BURST: Final = 200
"""Events of one topic, for each websocket, in one burst."""

BURSTS: Final = 5

PERSONAL: Final = 50
"""Events on each websocket's own topic, in one burst."""

_LOGINS: Final = f"{WEBSOCKETS:,} logins until subscribed and reported"
_LOGIN_COST: Final = "processor time of all its processes"
_TOPIC: Final = f"one topic, burst, {WEBSOCKETS:,} websockets"
_PERSONAL: Final = f"personal topics, burst, {WEBSOCKETS:,} websockets"


def run(setting: Setting) -> list[Figure]:
    """Measure both in each round, each with new processes."""
    allow_files()
    starts: dict[str, Start] = {"ours": ours, TWO: with_workers(2)}
    comparison = Comparison(starts, own=starts)
    comparison.run(setting, NAME, lambda _, start: _measure(setting, start))
    return [
        comparison.figure(NAME, _LOGINS, "logins/s"),
        comparison.figure(NAME, _LOGIN_COST, "µs/login"),
        comparison.figure(NAME, _TOPIC, "events/s"),
        comparison.figure(NAME, _PERSONAL, "events/s"),
    ]


def _measure(setting: Setting, start: Start) -> Measured:
    values: dict[str, float] = {}
    with crowd(setting, start, WEBSOCKETS, WEBSOCKETS) as gateway:
        logins = gateway.log_in(setting)
        values[_LOGINS], values[_LOGIN_COST] = logins.per_second, logins.cost
        bursts, shared = max(1, setting.amount(BURSTS)), [gateway.audience.common]
        values[_TOPIC], has_shared = gateway.burst(shared, BURST, bursts)
        personal = gateway.audience.topics
        values[_PERSONAL], has_own = gateway.burst(personal, setting.amount(PERSONAL))
        who = gateway.side.who
    return Measured(who, values, "" if has_shared and has_own else "not all was delivered")
