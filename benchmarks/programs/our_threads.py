"""Calls ``add`` with `BlockingBus.call_service`, from several threads."""

from __future__ import annotations

import json
from functools import partial

from benchmarks.programs.in_threads import measure
from benchmarks.programs.options import parse_options
from opentera_twisted.blocking import BlockingBus


def add(bus: BlockingBus, service: str, number: int) -> int:
    """Call once."""
    result = bus.call_service(service, "add", number, 1)
    assert isinstance(result, int)
    return result


if __name__ == "__main__":
    options = parse_options(url=str, service=str, calls=int, warm_up=int, threads=int)
    with BlockingBus(options.url, name="bench-threads") as shared:
        call = partial(add, shared, options.service)
        report = measure([call] * options.threads, options.calls, options.warm_up)
    print(json.dumps(report), flush=True)
