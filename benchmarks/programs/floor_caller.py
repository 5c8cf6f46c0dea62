"""Publishes and waits for the answer, one after another: bare sockets, nothing decoded."""

from __future__ import annotations

import json
from time import perf_counter

from benchmarks.programs.bare import SIZES, Connection, array
from benchmarks.programs.options import parse_options
from benchmarks.programs.timing import summary

if __name__ == "__main__":
    options = parse_options(**SIZES, calls=int, warm_up=int)
    requests, replies = (Connection(options.port, timeout=10.0) for _ in range(2))
    replies.subscribe(options.reply_to)
    request = array(b"PUBLISH", options.topic, bytes(options.request_size))
    reply = array(b"message", options.reply_to, bytes(options.reply_size))
    seconds = []
    for _ in range(options.warm_up + options.calls):
        start = perf_counter()
        requests.send(request)
        replies.expect(reply)
        seconds.append(perf_counter() - start)
        requests.expect(b":1\r\n")
    measured = seconds[options.warm_up :]
    print(json.dumps(summary(measured, sum(measured))), flush=True)
