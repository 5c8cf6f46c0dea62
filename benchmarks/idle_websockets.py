"""Rate of logins, and costs of idle websockets: ours beside other gateways."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Final

from benchmarks.children import allow_files, program
from benchmarks.comparison import OURS, Comparison, Measured
from benchmarks.figures import Figure, Target
from benchmarks.gateways import Audience, Start
from benchmarks.presence_reports import awaiting_reports, forget_everyone
from benchmarks.processes import processor_time, resident
from benchmarks.scenario import Setting

NAME: Final = "idle-websockets"
ROUNDS: Final = 3
WEBSOCKETS: Final = 1_000
MEMORY_TARGET: Final = Target("below", 12.0)
SITE_TARGET: Final = Target("below", 16.0)
REPORTED_TARGET: Final = Target("at least", 3_000.0)

_MEMORY: Final = f"memory each of {WEBSOCKETS:,}"
_BASE: Final = "memory before the first"
_LOGINS: Final = f"{WEBSOCKETS:,} logins until subscribed"
_COST: Final = "gateway's processor time"
_REPORTED: Final = f"{WEBSOCKETS:,} logins until subscribed and reported"


def run(setting: Setting) -> list[Figure]:
    """Measure new gateways each round, each websocket with a topic of its own."""
    allow_files()
    comparison = Comparison.of(setting, site=True)
    comparison.run(setting, NAME, partial(_measure, setting))
    in_a_site = comparison.series(_MEMORY, "ours in a site")
    reported = {name: comparison.series(_REPORTED, name) for name in OURS}
    return [
        comparison.figure(NAME, _MEMORY, "KiB", target=MEMORY_TARGET),
        Figure(NAME, f"{_MEMORY}, in a site", "KiB", in_a_site, target=SITE_TARGET),
        comparison.figure(NAME, _BASE, "MiB"),
        comparison.figure(NAME, _LOGINS, "logins/s"),
        comparison.figure(NAME, _COST, "µs/login"),
        Figure(NAME, _REPORTED, "logins/s", reported["ours"], target=REPORTED_TARGET),
        Figure(
            NAME,
            f"{_REPORTED}, in a site",
            "logins/s",
            reported["ours in a site"],
            target=REPORTED_TARGET,
        ),
    ]


def _measure(setting: Setting, name: str, start: Start) -> Measured:
    """Log in; time until all are open and, with ours, until all are reported."""
    audience = Audience.personal(WEBSOCKETS)
    forget_everyone(setting)
    with ExitStack() as stack:
        side = stack.enter_context(start(setting, audience))
        reported = None
        if name in OURS:
            reported = stack.enter_context(awaiting_reports(setting, WEBSOCKETS))
        load = stack.enter_context(program("websocket_load", port=side.port, dialect=side.dialect))
        memory, cost = resident(side.pids), processor_time(side.pids)
        opened = load.ask({"open": {"paths": side.paths, "topics": audience.topics}})
        values = {_LOGINS: WEBSOCKETS / opened["seconds"]}
        if reported is not None:
            values[_REPORTED] = WEBSOCKETS / (reported() - opened["started"])
        values[_BASE] = memory / 1024
        values[_MEMORY] = (resident(side.pids) - memory) / WEBSOCKETS
        values[_COST] = 1e6 * (processor_time(side.pids) - cost) / WEBSOCKETS
        return Measured(side.who, values)
