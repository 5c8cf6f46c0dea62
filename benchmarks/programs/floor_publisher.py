"""Publishes and waits for Redis's count, one after another: a bare socket, nothing decoded."""

from __future__ import annotations

import json
from time import perf_counter

from benchmarks.programs.bare import Connection, array
from benchmarks.programs.options import parse_options
from benchmarks.programs.timing import summary

if __name__ == "__main__":
    options = parse_options(port=int, topic=str.encode, size=int, count=int, warm_up=int)
    connection = Connection(options.port, timeout=10.0)
    command = array(b"PUBLISH", options.topic, bytes(options.size))
    seconds = []
    for _ in range(options.warm_up + options.count):
        start = perf_counter()
        connection.send(command)
        connection.expect(b":0\r\n")
        seconds.append(perf_counter() - start)
    measured = seconds[options.warm_up :]
    print(json.dumps(summary(measured, sum(measured))), flush=True)
