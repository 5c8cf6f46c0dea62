"""The command: runs the scenarios that are named, or all of them, and prints one table."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Final

from attrs import evolve

from benchmarks import (
    blocking_calls,
    call_latency,
    call_throughput,
    commands,
    crowd,
    event_latency,
    exclusive_calls,
    facts,
    fan_out,
    fleet,
    growth,
    idle_websockets,
    nodes,
    plots,
    publish,
    recovery,
    report,
    restore,
    start_up,
    workers,
)
from benchmarks.children import redis_server
from benchmarks.figures import Results
from benchmarks.rivals.gateways import QUICK_RIVALS, RIVALS
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
        commands,
        event_latency,
        fan_out,
        idle_websockets,
        growth,
        crowd,
        workers,
        recovery,
        nodes,
        fleet,
    )
}
QUICK_SCENARIOS: Final = (
    call_latency,
    call_throughput,
    publish,
    event_latency,
    fan_out,
    idle_websockets,
    recovery,
)
"""Scenarios of a quick run, unless others are named."""

ROUNDS: Final = 5
"""Default number of rounds; scenarios that take long set their own."""

QUICK_ROUNDS: Final = 2

FAILED: Final = 1
INTERRUPTED: Final = 130
"""Exit statuses."""


def main() -> None:
    """Run the scenarios of the arguments."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--rounds", type=int, help="how often each side is measured (2 to 5)")
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
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write results there, as they come"
    )
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw them there as SVG")
    options = parser.parse_args()
    unknown = [name for name in options.scenarios if name not in SCENARIOS]
    if unknown:
        parser.error(f"no scenario {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    if options.rounds is not None and options.rounds < 1:
        parser.error("at least one round is needed")
    against = options.against
    if against is None:
        against = QUICK_RIVALS if options.quick else RIVALS
    all_of_them = (
        [scenario.NAME for scenario in QUICK_SCENARIOS] if options.quick else list(SCENARIOS)
    )
    names = options.scenarios or all_of_them
    with redis_server() as port:
        setting = Setting(port, options.rounds or 0, options.quick, frozenset(against))
        results = Results(facts.gather(port))
        try:
            run_each(names, setting, results, options.json)
        finally:
            report.show(results)
    if options.plots is not None:
        plots.draw(options.plots, results.figures, results.machine)
    if results.failed:
        sys.exit(FAILED)


def run_each(names: Sequence[str], setting: Setting, results: Results, path: Path | None) -> None:
    """Run scenarios; report one that fails, and continue with the others."""
    start = perf_counter()
    for number, name in enumerate(names, start=1):
        elapsed = timedelta(seconds=round(perf_counter() - start))
        print(f"{name}: scenario {number} of {len(names)}, after {elapsed}", file=sys.stderr)
        scenario = SCENARIOS[name]
        rounds = QUICK_ROUNDS if setting.quick else getattr(scenario, "ROUNDS", ROUNDS)
        began = perf_counter()
        try:
            results.figures += scenario.run(evolve(setting, rounds=setting.rounds or rounds))
        except Exception as error:  # noqa: BLE001 (of one scenario: the others have theirs)
            traceback.print_exc()
            results.failed[name] = str(error) or type(error).__name__
        results.seconds[name] = perf_counter() - began
        print(f"{name}: {results.seconds[name]:.0f} s", file=sys.stderr)
        if path is not None:
            report.write(path, results)
    lengths = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in results.seconds.items())
    print(f"{lengths}; in all {sum(results.seconds.values()):.0f} s", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
