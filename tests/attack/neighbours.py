"""A fuzzer of other programs on Redis: messages, session keys, stored keys."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable
from random import Random
from typing import Any

import redis

from opentera_twisted import holders, topics
from opentera_twisted.messages import RPCMessage, Value
from tests.helpers.support import DATA, UUID
from tests.helpers.websockets import handshake

from .arena import Arena
from .bytes import a_uuid, damaged, junk, shown
from .identities import SERVICE

GOLDEN: list[tuple[str, bytes]] = [
    (vector["topic"], bytes.fromhex(vector["hex"]) if "hex" in vector else vector["text"].encode())
    for vector in json.loads((DATA / "golden.json").read_text())["vectors"]
]
"""Topics and payloads recorded between existing programs."""

COMMAND = topics.disconnect_command(UUID)
"""Topic of the recorded disconnect command, which would close the witness."""

SECRET = "UserTokenAPIKey"

LARGEST = 12_000_000
"""Bytes of a message; of 32 MB, Redis itself cuts the gateway's subscriber off."""

_PROCEDURES = [
    "online_users", "busy_devices", "status_users", "status_devices", "update_device_status",
    "__describe__", "__class__", "", "\0", "x" * 70_000,
]  # fmt: skip

_STORED: list[tuple[str, Callable[[redis.Redis, str], Any]]] = [
    ("string", lambda client, key: client.set(key, b"\xff\x00junk")),
    ("list", lambda client, key: client.rpush(key, "junk")),
    ("set", lambda client, key: client.sadd(key, "junk")),
    ("hash", lambda client, key: client.hset(key, "junk", "\0")),
    ("sorted set", lambda client, key: client.zadd(key, {"junk": 0})),
    ("stream", lambda client, key: client.xadd(key, {"junk": "junk"})),
]


class Neighbours:
    """Publishes, replies and writes hostile data.

    It publishes neither a valid disconnect command nor a valid report about the witness:
    every program on Redis may do so.
    """

    name = "neighbours"

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._redis = arena.redis
        self._redis.set(SECRET, "secret")
        self._command = topics.disconnect_command(arena.uuid)
        self._spoiled: set[str] = set()
        self._clients: list[socket.socket] = []

    def attack(self, random: Random, sent: list[str]) -> None:
        """Take one random step."""
        kind = random.choice(
            [
                self._publish,
                self._publish,
                self._call,
                self._spoil,
                self._heal,
                self._log_in,
                self._forge,
            ]
        )
        kind(random, sent)

    def calm(self) -> None:
        """Remove keys of a wrong type and disconnect."""
        for key in self._spoiled:
            self._redis.delete(key)
        for client in self._clients:
            client.close()

    def _publish(self, random: Random, sent: list[str]) -> None:
        topic = self._topic(random)
        known = [data for one, data in GOLDEN if (one, topic) != (COMMAND, self._command)]
        payload = random.choice([damaged(random, random.choice(known)), junk(random)])
        sent.append(f"PUBLISH {topic!r}: {shown(payload)}")
        self._redis.publish(topic, payload)

    def _call(self, random: Random, sent: list[str]) -> None:
        values = [
            Value(string_value=a_uuid(random)), Value(int_value=-(2**63)),
            Value(uint_value=2**64 - 1), Value(bytes_value=b"\xff" * random.randrange(2_000_000)),
            Value(string_value="[" * 10_000), Value(bool_value=True), Value(),
            Value(double_value=float("nan")),
        ]  # fmt: skip
        request = RPCMessage(
            method=random.choice(_PROCEDURES),
            reply_to=random.choice(
                ["", self._topic(random), f"RedisRPCClient.{a_uuid(random)}", "x" * 100_000, "\0"]
            ),
            id=random.choice([0, 1, 2**31, 2**63 - 1]),
            args=random.choices(values, k=random.choice([0, 1, 3, 3, 500])),
        )
        payload = request.SerializeToString()[:LARGEST]
        if random.random() < 0.5:
            payload = damaged(random, payload)
        topic = topics.module_rpc(topics.USER_MANAGER_MODULE)
        sent.append(f"PUBLISH {topic}: {shown(payload)}")
        self._redis.publish(topic, payload)

    def _topic(self, random: Random) -> str:
        own = topics.websocket_events("user", self._arena.uuid)
        channels: Any = self._redis.pubsub_channels()
        listened = sorted(channel.decode() for channel in channels)
        golden = random.choice(GOLDEN)[0]
        # With its own seed: the present state of Redis does not change later steps.
        names: list[str] = [own, *listened, golden, f"{SERVICE}.rpc", "log.info", "", "x"]
        return Random(random.random()).choice(names)

    def _spoil(self, random: Random, sent: list[str]) -> None:
        """Store a value of another type under a key, or delete it."""
        key = self._key(random)
        kind, store = random.choice(_STORED)
        sent.append(f"a {kind} stored under {key}")
        self._redis.delete(key)
        store(self._redis, key)
        self._spoiled.add(key)

    def _heal(self, random: Random, sent: list[str]) -> None:
        """Delete keys, possibly damaged ones."""
        key = self._key(random)
        what = random.choice(["DEL", "DEL", "PEXPIRE", "SPOILED", "SCRIPT FLUSH", "FLUSHDB"])
        sent.append(f"{what} {key}")
        if what == "DEL":
            self._redis.delete(key)
        elif what == "PEXPIRE":
            self._redis.pexpire(key, 1)
        elif what == "SCRIPT FLUSH":
            self._redis.script_flush()
        elif what == "FLUSHDB":
            self._redis.flushdb()
            self._redis.set(SECRET, "secret")
        else:
            for spoiled in self._spoiled:
                self._redis.delete(spoiled)
            self._spoiled.clear()

    def _key(self, random: Random) -> str:
        names: set[str] = {stored.decode() for stored in self._redis.scan_iter("opentera.*")}
        names |= {holders.GATEWAYS, holders.LEASES, holders.OWED, holders.LISTENING}
        return Random(random.random()).choice(sorted(names))

    def _log_in(self, random: Random, sent: list[str]) -> None:
        """Open a websocket with a malformed key, or one with a hostile value."""
        key = self._arena.key(a_uuid(random))
        nested = '{"a":' * 900
        values = [
            None, b"\xff" * 36, "x" * 20_000, f'{{"uuid": "{a_uuid(random)}", "topics": [', nested,
            json.dumps({"uuid": a_uuid(random), "topics": ["", "*", "\0", "log.info", "x" * 9000]}),
            json.dumps({"uuid": a_uuid(random), "topics": [str(number) for number in range(2000)]}),
            json.dumps({"uuid": a_uuid(random), "name": "\ud800"}),
            json.dumps({"uuid": [], "name": {}}),
            f'{{"uuid": "{a_uuid(random)}", "uuid": "x", "name": 0x10}}',
            json.dumps({"uuid": a_uuid(random), "name": "\x1b]0;owned\x07" * 100}),
        ]  # fmt: skip
        value = random.choice(values)
        if random.random() < 0.1:
            key = random.choice([SECRET, holders.GATEWAYS, f"{holders.HELD}x"])
        elif value is not None:
            self._redis.set(key, value, ex=60)
        sent.append(f"login with {key[:12]}…, which holds {value!r}; hostile answers of {SERVICE}")
        client = socket.create_connection(("127.0.0.1", self._arena.port))
        client.sendall(handshake(f"/wss/user?id={key}".encode()))
        client.setblocking(False)
        with contextlib.suppress(OSError):
            client.recv(4096)
        self._clients.append(client)
        if len(self._clients) > 30:
            self._clients.pop(0).close()
        assert self._redis.get(SECRET) == b"secret", "a client caused the deletion of a secret"

    def _forge(self, random: Random, sent: list[str]) -> None:
        """Store dead gateways in Redis that hold other clients."""
        count = random.choice([1, 3, 500])
        sent.append(f"{count} forged gateways")
        gone = random.choice([b"", random.choice(GOLDEN)[1], junk(random)[:100_000]])
        with self._redis.pipeline() as pipeline:
            for _ in range(count):
                gateway = random.choice([a_uuid(random), "", "\0", "x" * 1000])
                ends = random.choice([0, -1, 1e300, float("inf"), 1_700_000_000_000])
                pipeline.zadd(holders.GATEWAYS, {gateway: ends})
                pipeline.hset(
                    holders.LEASES, gateway, random.choice(["", "x", "-1", "1e999", "20000"])
                )
                who = random.choice([f"user.{a_uuid(random)}", "x", "", "\0", "user.", "robot.7"])
                pipeline.hset(holders.HELD + gateway, who, gone)
                pipeline.hset(holders.OWED, who, gone)
            pipeline.execute(raise_on_error=False)  # a key may be of a wrong type
