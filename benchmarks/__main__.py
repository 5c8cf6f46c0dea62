"""The command: runs the scenarios that are named, or all of them, and prints one table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from benchmarks import (
    blocking_calls,
    call_latency,
    call_throughput,
    exclusive_calls,
    facts,
    fan_out,
    growth,
    idle_websockets,
    plots,
    publish,
    report,
    restore,
    start_up,
)
from benchmarks.children import redis_server
from benchmarks.gateways import QUICK_RIVALS, RIVALS
from benchmarks.scenario import Setting

SCENARIOS: Final = {
    scenario.NAME: scenario
    for scenario in (
        call_latency,
        call_throughput,
        exclusive_calls,
        blocking_calls,
        publish,
        restore,
        start_up,
        fan_out,
        idle_websockets,
        growth,
    )
}
QUICK_SCENARIOS: Final = (call_latency, call_throughput, publish, fan_out, idle_websockets)
"""What is measured in a minute, unless others are named."""

INTERRUPTED: Final = 130


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--rounds", type=int, help="how often each side is measured (5)")
    parser.add_argument(
        "--quick", action="store_true", help="a minute: two rounds, a tenth of the work, few rivals"
    )
    parser.add_argument(
        "--against",
        nargs="*",
        choices=RIVALS,
        metavar="GATEWAY",
        help=f"measure these beside our websockets: {', '.join(RIVALS)}",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write results there too")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw them there as SVG")
    options = parser.parse_args()
    unknown = [name for name in options.scenarios if name not in SCENARIOS]
    if unknown:
        parser.error(f"no scenario {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    rounds = (2 if options.quick else 5) if options.rounds is None else options.rounds
    if rounds < 1:
        parser.error("at least one round is needed")
    against = options.against
    if against is None:
        against = QUICK_RIVALS if options.quick else RIVALS
    all_of_them = [one.NAME for one in QUICK_SCENARIOS] if options.quick else list(SCENARIOS)
    with redis_server() as port:
        setting = Setting(port, rounds, options.quick, frozenset(against))
        machine = facts.gather(port)
        figures = []
        for name in options.scenarios or all_of_them:
            figures += SCENARIOS[name].run(setting)
    report.show(figures, machine)
    if options.json is not None:
        report.write(options.json, figures, machine)
    if options.plots is not None:
        plots.draw(options.plots, figures, machine)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
