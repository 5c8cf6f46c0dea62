"""Runs the whole attack: ``python -m tests.attack [--seed N] [--steps N] [--only PART]``."""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
from collections.abc import Callable

from .arena import Arena
from .clients import Clients
from .fuzzing import fuzz
from .latency import measure_latency
from .neighbours import Neighbours
from .slow import measure_memory

PARTS = ("clients", "neighbours", "latency", "slow")


def say(text: str) -> None:
    """Print a line, at once."""
    print(text, flush=True)  # noqa: T201


def main() -> None:
    """Run each part on its own gateway; return status 1 when a check failed."""
    parser = argparse.ArgumentParser(prog="make attack", description=__doc__)
    parser.add_argument(
        "--seed", type=int, default=None, help="of the fuzzers; a new one by default"
    )
    parser.add_argument("--steps", type=int, default=3000, help="of each fuzzer")
    parser.add_argument("--only", choices=PARTS, default=None, help="run one part alone")
    chosen = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):  # end the gateway too
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    seed = secrets.randbits(32) if chosen.seed is None else chosen.seed
    say(f"seed {seed}: repeat with make attack SEED={seed}")

    def fuzz_with(fuzzer: type[Clients | Neighbours]) -> str:
        with Arena() as arena:
            return fuzz(arena, fuzzer(arena), seed, range(chosen.steps), say)

    parts: dict[str, Callable[[], str]] = {
        "clients": lambda: fuzz_with(Clients),
        "neighbours": lambda: fuzz_with(Neighbours),
        "latency": lambda: measure_latency(say),
        "slow": lambda: measure_memory(say),
    }
    for name in PARTS if chosen.only is None else [chosen.only]:
        try:
            say(parts[name]())
        except AssertionError as error:
            sys.exit(f"{name}, seed {seed}: {error}")


if __name__ == "__main__":
    main()
