"""Answers each message on a channel with one of fixed bytes: bare sockets, nothing decoded."""

from __future__ import annotations

import json

from benchmarks.programs.bare import SIZES, Connection, array
from benchmarks.programs.options import parse_options

if __name__ == "__main__":
    options = parse_options(**SIZES)
    requests, replies = (Connection(options.port, timeout=None) for _ in range(2))
    requests.subscribe(options.topic)
    request = array(b"message", options.topic, bytes(options.request_size))
    reply = array(b"PUBLISH", options.reply_to, bytes(options.reply_size))
    print(json.dumps({"ready": True}), flush=True)
    while True:
        requests.expect(request)
        replies.send(reply)
        replies.expect(b":1\r\n")
