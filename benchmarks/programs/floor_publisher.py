"""Publishes and waits for Redis's count, one after another: a bare socket, nothing decoded."""

from __future__ import annotations

import argparse
import json
from time import perf_counter

from benchmarks.programs.bare import Connection, array
from benchmarks.programs.timing import summary

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--topic", type=str.encode, required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--warm-up", type=int, required=True)
    options = parser.parse_args()
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
