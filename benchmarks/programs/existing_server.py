"""Serves ``add`` as existing servers do: a thread with redis-py that runs one call at a time."""

from __future__ import annotations

import json
from threading import Thread
from typing import Any

import redis

from benchmarks.programs.options import parse_options
from opentera_twisted.messages import RPCMessage


def answer(client: redis.Redis, message: dict[str, Any]) -> None:
    """Run the procedure of a request and publish its reply."""
    request = RPCMessage.FromString(message["data"])
    a, b = (argument.int_value for argument in request.args)
    reply = {
        "method": request.method,
        "id": request.id,
        "pattern": message["channel"].decode(),
        "status": "OK",
        "return_value": a + b,
    }
    client.publish(request.reply_to, json.dumps(reply))


def serve(port: int, topic: str) -> None:
    """Serve until the process is ended."""
    client = redis.Redis(port=port, protocol=2)
    pubsub = client.pubsub()  # type: ignore[no-untyped-call]
    pubsub.psubscribe(topic)
    for message in pubsub.listen():
        if message["type"] == "pmessage":
            answer(client, message)
        else:
            print(json.dumps({"ready": True}), flush=True)


if __name__ == "__main__":
    options = parse_options(port=int, topic=str)
    Thread(target=serve, args=(options.port, options.topic)).start()
