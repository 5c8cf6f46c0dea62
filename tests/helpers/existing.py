"""Existing OpenTera programs: a blocking caller and a blocking server, on redis-py."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import redis

from opentera_twisted.messages import RPCMessage, Value
from tests.helpers.support import GUARD

Argument = bool | int | float | str | bytes


def to_value(argument: Argument) -> Value:
    """Encode an argument as an existing caller does."""
    if isinstance(argument, bool):
        return Value(bool_value=argument)
    if isinstance(argument, int):
        return Value(int_value=argument) if argument < 2**63 else Value(uint_value=argument)
    if isinstance(argument, float):
        return Value(double_value=argument)
    if isinstance(argument, str):
        return Value(string_value=argument)
    return Value(bytes_value=argument)


class ExistingCaller:
    """Calls one procedure after another and takes the first message as the reply."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._reply_to = f"RedisRPCClient.{uuid4()}"
        self._pubsub = client.pubsub()
        self._pubsub.subscribe(self._reply_to)
        self._pubsub.get_message(timeout=GUARD)
        self._id = 0

    def call(self, topic: str, method: str, *arguments: Argument) -> dict[str, Any] | None:
        """Call a procedure; return the reply, or None without one."""
        request = RPCMessage(
            method=method,
            reply_to=self._reply_to,
            id=self._id,
            timestamp=time.time(),
            args=[to_value(argument) for argument in arguments],
        )
        self._id += 1
        return self.send(topic, request.SerializeToString())

    def send(self, topic: str, payload: bytes) -> dict[str, Any] | None:
        """Send any bytes; return the reply."""
        self._client.publish(topic, payload)
        received = self._pubsub.get_message(timeout=GUARD)
        reply: dict[str, Any] | None = received and json.loads(received["data"])
        return reply

    def reply_to(self) -> str:
        """Subscribe to the topic of replies."""
        return self._reply_to

    def close(self) -> None:
        """Stop listening."""
        self._pubsub.close()


class ExistingServer(threading.Thread):
    """Runs one call after another; does not answer calls of unknown procedures."""

    def __init__(self, client: redis.Redis, topic: str, **procedures: Callable[..., Any]) -> None:
        super().__init__(daemon=True)
        self.requests: list[RPCMessage] = []
        self._client = client
        self._procedures = procedures
        self._pubsub = client.pubsub()
        self._pubsub.psubscribe(topic)
        self._pubsub.get_message(timeout=GUARD)
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        """Answer requests."""
        while not self._ended.is_set():
            received = self._pubsub.get_message(timeout=0.05)
            if received is not None and received["type"] == "pmessage":
                self._answer(received["pattern"].decode(), received["data"])

    def _answer(self, pattern: str, data: bytes) -> None:
        request = RPCMessage.FromString(data)
        self.requests.append(request)
        procedure = self._procedures.get(request.method)
        if procedure is None:
            return
        reply = {"method": request.method, "id": request.id, "pattern": pattern}
        arguments = [
            getattr(argument, argument.WhichOneof("arg_value")) for argument in request.args
        ]
        try:
            reply |= {"status": "OK", "return_value": procedure(*arguments)}
            text = json.dumps(reply)
        except Exception:  # noqa: BLE001 (as existing servers do)
            reply |= {"status": "Error", "return_value": None}
            text = json.dumps(reply)
        self._client.publish(request.reply_to, text)

    def close(self) -> None:
        """Stop the thread."""
        self._ended.set()
        self.join(GUARD)
        self._pubsub.close()
