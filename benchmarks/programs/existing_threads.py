"""Calls ``add`` as existing callers do, from several threads: a caller of its own in each."""

from __future__ import annotations

import json

from benchmarks.programs.existing_caller import ExistingCaller
from benchmarks.programs.in_threads import Call, measure
from benchmarks.programs.options import parse_options


def caller(port: int, topic: str) -> Call:
    """One thread's."""
    existing = ExistingCaller(port, topic, keep=False)
    return lambda number: existing.call("add", number, 1)


if __name__ == "__main__":
    options = parse_options(port=int, topic=str, calls=int, warm_up=int, threads=int)
    calls = [caller(options.port, options.topic) for _ in range(options.threads)]
    print(json.dumps(measure(calls, options.calls, options.warm_up)), flush=True)
