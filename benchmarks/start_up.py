"""Time from a gateway's start until it reports readiness: ours beside others."""

from __future__ import annotations

from functools import partial
from time import perf_counter
from typing import Final

from benchmarks.children import program
from benchmarks.comparison import Comparison, Measured
from benchmarks.figures import Figure
from benchmarks.gateways import Audience, Start
from benchmarks.scenario import Setting

NAME: Final = "start-up"
ROUNDS: Final = 3

_WHAT: Final = "from its start until it is ready"


def run(setting: Setting) -> list[Figure]:
    """Measure each gateway's own word, and see that it is true."""
    comparison = Comparison.of(setting, site=True)
    comparison.run(setting, NAME, partial(_measure, setting))
    return [comparison.figure(NAME, _WHAT, "s")]


def _measure(setting: Setting, _: str, start: Start) -> Measured:
    audience = Audience.personal(1)
    began = perf_counter()
    with start(setting, audience) as side:
        seconds = perf_counter() - began
        options = {"port": side.port, "dialect": side.dialect}
        with program("websocket_load", **options) as load:
            load.ask({"open": {"paths": side.paths, "topics": audience.topics}})
        return Measured(side.who, {_WHAT: seconds})
