"""The gain of a second worker: logins and deliveries with one and with two."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

from benchmarks.children import allow_files, program
from benchmarks.comparison import Comparison, Measured
from benchmarks.deliveries import connected
from benchmarks.figures import Figure
from benchmarks.gateways import Audience, Start, ours, with_workers
from benchmarks.presence_reports import awaiting_reports, forget_everyone
from benchmarks.processes import processor_time
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
    comparison = Comparison(starts)
    comparison.run(setting, NAME, lambda _, start: _measure(setting, start))
    return [
        comparison.figure(NAME, _LOGINS, "logins/s"),
        comparison.figure(NAME, _LOGIN_COST, "µs/login"),
        comparison.figure(NAME, _TOPIC, "events/s"),
        comparison.figure(NAME, _PERSONAL, "events/s"),
    ]


def _measure(setting: Setting, start: Start) -> Measured:
    values: dict[str, float] = {}
    lost = 0.0
    who = _log_in(setting, start, values)
    for what, audience, each, times in (
        (_TOPIC, Audience.shared(WEBSOCKETS), BURST, max(1, setting.amount(BURSTS))),
        (_PERSONAL, Audience.personal(WEBSOCKETS), setting.amount(PERSONAL), 1),
    ):
        forget_everyone(setting)
        with connected(start, setting, audience) as gateway:
            delivered = gateway.measure(each, times=times)
            values[what] = delivered.per_second
            lost = max(lost, delivered.lost)
    return Measured(who, values, "not all was delivered" if lost else "")


def _log_in(setting: Setting, start: Start, values: dict[str, float]) -> str:
    """Log in; wait until all are reported."""
    audience = Audience.personal(WEBSOCKETS)
    forget_everyone(setting)
    with ExitStack() as stack:
        side = stack.enter_context(start(setting, audience))
        reported = stack.enter_context(awaiting_reports(setting, WEBSOCKETS))
        load = stack.enter_context(program("websocket_load", port=side.port, dialect=side.dialect))
        cost = processor_time(side.pids)
        opened = load.ask({"open": {"paths": side.paths, "topics": audience.topics}})
        values[_LOGINS] = WEBSOCKETS / (reported() - opened["started"])
        values[_LOGIN_COST] = 1e6 * (processor_time(side.pids) - cost) / WEBSOCKETS
        return side.who
