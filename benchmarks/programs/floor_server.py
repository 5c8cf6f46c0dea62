"""Answers each message on a channel with one of fixed bytes: bare sockets, nothing decoded."""

from __future__ import annotations

import argparse
import json

from benchmarks.programs.bare import Connection, array

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--topic", type=str.encode, required=True)
    parser.add_argument("--reply-to", type=str.encode, required=True)
    parser.add_argument("--request-size", type=int, required=True)
    parser.add_argument("--reply-size", type=int, required=True)
    options = parser.parse_args()
    requests, replies = (Connection(options.port, timeout=None) for _ in range(2))
    requests.subscribe(options.topic)
    request = array(b"message", options.topic, bytes(options.request_size))
    reply = array(b"PUBLISH", options.reply_to, bytes(options.reply_size))
    print(json.dumps({"ready": True}), flush=True)
    while True:
        requests.expect(request)
        replies.send(reply)
        replies.expect(b":1\r\n")
