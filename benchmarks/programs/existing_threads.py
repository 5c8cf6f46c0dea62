"""Calls ``add`` as existing callers do, from several threads: a caller of its own in each."""

from __future__ import annotations

import argparse
import json

from benchmarks.programs.existing_caller import ExistingCaller
from benchmarks.programs.in_threads import Call, measure


def caller(port: int, topic: str) -> Call:
    """One thread's."""
    existing = ExistingCaller(port, topic, keep=False)
    return lambda number: existing.call("add", number, 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--warm-up", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    calls = [caller(options.port, options.topic) for _ in range(options.threads)]
    print(json.dumps(measure(calls, options.calls, options.warm_up)), flush=True)
