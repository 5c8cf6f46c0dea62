"""The identity service: honest about the witness, otherwise hostile."""

from __future__ import annotations

import json
from random import Random
from threading import Event, Thread
from typing import Any

import redis

from opentera_twisted.messages import RPCMessage
from tests.helpers.support import GUARD

from .bytes import damaged, junk

SERVICE = "service.Identities"


class Identities:
    """Answers ``identify`` and ``may_see`` in a thread.

    Attributes:
        random: Source of hostile replies; None makes all replies honest.
    """

    def __init__(self, client: redis.Redis, witness: str) -> None:
        self.random: Random | None = None
        self._witness = witness
        self._redis = client
        self._pubsub = client.pubsub()
        self._pubsub.subscribe(f"{SERVICE}.rpc")
        self._pubsub.get_message(timeout=GUARD)
        self._stopped = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._thread.join(GUARD)
        self._pubsub.close()

    def _run(self) -> None:
        while not self._stopped.is_set():
            received = self._pubsub.get_message(timeout=0.2, ignore_subscribe_messages=True)
            if received:
                self._answer(received["data"])

    def _answer(self, data: bytes) -> None:
        try:
            request = RPCMessage.FromString(data)
            _, uuid = (argument.string_value for argument in request.args)
        except Exception:  # noqa: BLE001  # a fuzzer publishes here too
            return
        honest = {
            "method": request.method,
            "id": request.id,
            "pattern": f"{SERVICE}.rpc",
            "status": "OK",
            "return_value": {},
        }
        random = self.random
        if random is None or uuid == self._witness:
            replies = [json.dumps(honest).encode()]
        else:
            replies = hostile(random, honest)
        for reply in replies:
            if request.reply_to:
                self._redis.publish(request.reply_to, reply)


def hostile(random: Random, honest: dict[str, Any]) -> list[bytes]:
    """Return malformed replies, or none."""
    text = json.dumps(honest).encode()
    value: Any = random.choice(
        [
            None, [], 0, "x", {"name": 7}, {"topics": "x"},
            {"topics": ["", "*", 7, "\0", "a" * 9999]},
            {"topics": [f"t.{number}" for number in range(2000)]}, {"name": "\x1b]0;x\x07" * 500},
            {"name": "\ud800", "site": []}, {"user": "x", "device": [3]}, {"user": ["x"] * 20_000},
            {"topics": ["module.TeraServer.LoginModule.messages", "log.info", "__keyspace@0__:x"]},
        ]
    )  # fmt: skip

    def with_other(field: str, *values: Any) -> list[bytes]:
        return [json.dumps({**honest, field: random.choice(values)}).encode()]

    nested = b"[" * 90_000 + b"]" * 90_000
    return random.choice(
        [
            list,
            lambda: [damaged(random, text)],
            lambda: [junk(random)],
            lambda: [text, text, text],
            lambda: with_other("return_value", value),
            lambda: with_other("id", -1, 0, 2**70, "x", None),
            lambda: with_other("pattern", "", "*", "x", 7),
            lambda: with_other("status", 0, "", "Error", {}),
            lambda: [text.replace(b"{}", nested)],
            lambda: [text.replace(b"{}", b'"%b"' % (b"x" * random.randrange(9_000_000)))],
            lambda: [text.replace(b"{}", random.choice([b"NaN", b"1e999", b"9" * 5000, b"1,"]))],
        ]
    )()  # fmt: skip
