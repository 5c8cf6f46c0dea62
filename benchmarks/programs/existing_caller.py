"""Calls ``add`` as existing callers do: redis-py, blocking, the first message is the reply."""

from __future__ import annotations

import json
import time
from uuid import uuid4

import redis

from benchmarks.programs.options import parse_options
from benchmarks.programs.timing import summary
from opentera_twisted.messages import RPCMessage, Value

CALL_TIMEOUT = 10.0


class ExistingCaller:
    """One connection that publishes, and one that is subscribed to the caller's reply channel.

    Args:
        port: Port of the server on this machine.
        topic: Topic of the procedures' server.
        keep: the subscription from call to call; existing callers make a new one for each.
    """

    def __init__(self, port: int, topic: str, *, keep: bool) -> None:
        self._topic = topic
        self._keep = keep
        self._reply_to = f"RedisRPCClient.{uuid4()}"
        self._client = redis.Redis(port=port, protocol=2)
        self._replies = self._subscribe()
        self._id = 0

    def call(self, method: str, *arguments: int) -> int:
        """Call a procedure and wait for its result."""
        if not self._keep:
            self._replies.close()
            self._replies = self._subscribe()
        request = RPCMessage(
            method=method,
            reply_to=self._reply_to,
            id=self._id,
            timestamp=time.time(),
            args=[Value(int_value=argument) for argument in arguments],
        )
        self._id += 1
        self._client.publish(self._topic, request.SerializeToString())
        message = self._replies.get_message(timeout=CALL_TIMEOUT)
        assert message is not None, "no reply"
        result: int = json.loads(message["data"])["return_value"]
        return result

    def _subscribe(self) -> redis.client.PubSub:
        replies: redis.client.PubSub = self._client.pubsub()  # type: ignore[no-untyped-call]
        replies.subscribe(self._reply_to)
        replies.get_message(timeout=CALL_TIMEOUT)
        return replies


if __name__ == "__main__":
    options = parse_options(port=int, topic=str, calls=int, warm_up=int, subscribe=str)
    caller = ExistingCaller(options.port, options.topic, keep=options.subscribe == "once")
    seconds = []
    for number in range(options.warm_up + options.calls):
        start = time.perf_counter()
        result = caller.call("add", number, 1)
        seconds.append(time.perf_counter() - start)
        assert result == number + 1
    measured = seconds[options.warm_up :]
    print(json.dumps(summary(measured, sum(measured))), flush=True)
