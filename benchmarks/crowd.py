"""One gateway that holds as many websockets as a process may: logins, memory, delays, bursts."""

from __future__ import annotations

import resource
from contextlib import ExitStack
from typing import Any, Final

from benchmarks.children import allow_files, program
from benchmarks.comparison import Comparison, Measured
from benchmarks.deliveries import PATIENCE, connected
from benchmarks.events import MARK, event
from benchmarks.figures import Figure
from benchmarks.gateways import Audience, ours
from benchmarks.gateways.side import published_in_redis, publishing
from benchmarks.presence_reports import awaiting_reports, forget_everyone
from benchmarks.processes import processor_time, resident
from benchmarks.scenario import Setting

NAME: Final = "crowd"
ROUNDS: Final = 1
WEBSOCKETS: Final = 20_000

SPARE: Final = 500
"""Open files of a process that are not websockets."""

WATCHED: Final = 500
"""Events of one client that is open before the others log in."""

PACE: Final = 0.01
"""Seconds between these events."""

_LOGINS: Final = "logins until subscribed and reported"
_COST: Final = "processor time of a login"
_MEMORY: Final = "memory each"
_P99: Final = "another client's event during the logins, p99"
_LONGEST: Final = "another client's event during the logins, longest"
_TOPIC: Final = "one topic, burst"
_PERSONAL: Final = "personal topics, burst"

_UNITS: Final = {
    _LOGINS: "logins/s",
    _COST: "µs/login",
    _MEMORY: "KiB",
    _P99: "ms",
    _LONGEST: "ms",
    _TOPIC: "events/s",
    _PERSONAL: "events/s",
}


def run(setting: Setting) -> list[Figure]:
    """Measure a new gateway for the logins, and one for each kind of burst."""
    allow_files()
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = setting.amount(min(WEBSOCKETS, files - SPARE))
    comparison = Comparison({"ours": ours})
    comparison.run(setting, NAME, lambda _, __: _measure(setting, count))
    return [
        comparison.figure(NAME, f"{count:,} websockets: {what}", unit)
        for what, unit in _UNITS.items()
    ]


def _measure(setting: Setting, count: int) -> Measured:
    values: dict[str, float] = {}
    who = _log_in(setting, count, values)
    lost = 0.0
    for what, audience, each, times in (
        (_TOPIC, Audience.shared(count), 20, 5),
        (_PERSONAL, Audience.personal(count), 5, 1),
    ):
        forget_everyone(setting)
        with connected(ours, setting, audience) as gateway:
            delivered = gateway.measure(each, times=times)
            values[what] = delivered.per_second
            lost = max(lost, delivered.lost)
    named = {f"{count:,} websockets: {what}": value for what, value in values.items()}
    return Measured(who, named, "not all was delivered" if lost else "")


def _log_in(setting: Setting, count: int, values: dict[str, float]) -> str:
    """Log in, while another client receives events; wait until all are reported."""
    audience = Audience.personal(count + 1)
    watched = audience.topics[-1]
    command = published_in_redis(watched, event(watched).SerializeToString())
    forget_everyone(setting)
    with ExitStack() as stack:
        side = stack.enter_context(ours(setting, audience))
        options: dict[str, Any] = {"port": side.port, "dialect": side.dialect}
        load = stack.enter_context(program("websocket_load", **options))
        witness = stack.enter_context(program("websocket_load", **options))
        publisher = stack.enter_context(publishing(setting.port, [command]))
        witness.ask({"open": {"paths": side.paths[-1:], "topics": [watched]}})
        reported = stack.enter_context(awaiting_reports(setting, count))
        witness.ask({"time": {"mark": MARK, "each": WATCHED, "within": WATCHED * PACE + PATIENCE}})
        memory, cost = resident(side.pids), processor_time(side.pids)
        publisher.tell({"count": WATCHED, "pace": PACE})
        opened = load.ask({"open": {"paths": side.paths[:-1], "topics": audience.topics[:-1]}})
        values[_LOGINS] = count / (reported() - opened["started"])
        values[_COST] = 1e6 * (processor_time(side.pids) - cost) / count
        values[_MEMORY] = (resident(side.pids) - memory) / count
        sent = publisher.report()["sent"]
        (arrivals,) = witness.report()["arrivals"]
        delays = sorted(
            1e3 * (arrived - began) for began, arrived in zip(sent, arrivals, strict=True)
        )
        values[_P99] = delays[len(delays) * 99 // 100]
        values[_LONGEST] = delays[-1]
        return side.who
