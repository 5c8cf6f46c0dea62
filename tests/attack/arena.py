"""A gateway as a process, its Redis, its honest client, and the checks after an attack."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Callable
from time import monotonic, perf_counter
from typing import Any, Self
from uuid import uuid4

from opentera_twisted import topics
from opentera_twisted.messages import RPCMessage, TeraModuleMessage, UserEvent
from opentera_twisted.messages.envelopes import tera_event, unpack_all
from tests.helpers.processes import twistd
from tests.helpers.support import GUARD, Server, free_port
from tests.program.test_program import REPORTS, health

from .identities import SERVICE, Identities
from .turns import BEFORE, Turns
from .witness import Witness, named

MEMORY_RATIO = 4
"""Limit of a gateway's memory after an attack, as a multiple of that at its start."""


class Arena:
    """Surroundings of an attack; a context manager.

    Attributes:
        uuid: UUID of the witness.
        published: Time of each event for the witness, in seconds of `time.perf_counter`.
        turns: Longest turns of the gateway's reactor.
    """

    def __init__(self, *options: str) -> None:
        self.uuid = str(uuid4())
        self.published: list[float] = []
        self.turns = Turns()
        self.server = Server()
        self.redis = self.server.client()
        self.identities = Identities(self.server.client(), self.uuid)
        self.port, self._admin = free_port(), free_port()
        self.program = twistd(
            "--redis", self.server.url, "--user-manager",
            "--websocket", f"tcp:{self.port}:interface=127.0.0.1",
            "--admin", f"tcp:{self._admin}:interface=127.0.0.1",
            "--identity-rpc", SERVICE, "--access-rpc", SERVICE, *options,
            fork=False, before=(BEFORE, self.turns.path),
        )  # fmt: skip
        self.program.wait_for("is ready")
        self._reports = self.redis.pubsub()
        self._reports.subscribe(REPORTS)
        self.witness = Witness(self.port, self.key(self.uuid))
        self._topic = topics.websocket_events("user", self.uuid)
        self._read = 0  # characters of the log
        self.witnessed()
        self._memory = self.memory

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.witness.close()
        self.program.kill()
        self.identities.stop()
        self.server.stop()
        self.turns.close()

    def key(self, uuid: str) -> str:
        """A session key of a user."""
        key = f"user.{secrets.token_urlsafe(32)}"
        self.redis.set(key, json.dumps({"uuid": uuid, "name": "a user"}), ex=60)
        return key

    def publish(self) -> None:
        """Publish the next event for the witness."""
        event = UserEvent(user_uuid=self.uuid, user_fullname=named(len(self.published)))
        payload = tera_event(self._topic, [event]).SerializeToString()
        self.published.append(perf_counter())
        self.redis.publish(self._topic, payload)

    def witnessed(self) -> None:
        """Publish an event; return when the witness has received it and all earlier ones.

        Raises:
            AssertionError: An event is missing, the witness was reported gone, or the log has a
                traceback.
        """
        self.publish()
        self.witness.wait(len(self.published))
        self._check_reports()
        self._check_log()

    @property
    def memory(self) -> int:
        """Return the gateway's memory in kilobytes."""
        command = ["ps", "-o", "rss=", "-p", str(self.program.pid)]
        return int(subprocess.check_output(command))

    def check(self) -> str:
        """Check that the attack did no harm.

        Returns:
            Growth of the gateway's memory, as a multiple of that at its start.

        Raises:
            AssertionError: A check failed.
        """
        assert not self.program.has_ended, f"the gateway has ended: {self.program.output}"
        self.witnessed()
        _await(lambda: health(self._admin), lambda answer: answer[0] == 200, "/health is not ready")
        _await(
            self._online, lambda users: self.uuid in users, "the user manager misses the witness"
        )
        self._check_reports()
        self._check_log()
        ratio = self.memory / self._memory
        assert ratio < MEMORY_RATIO, f"the gateway holds {ratio:.1f} times the memory of its start"
        return f"{ratio:.2f} times the memory of the start"

    def _check_log(self) -> None:
        output = self.program.output
        start, self._read = max(0, self._read - 20), len(output)
        for word in ("Traceback", "Unhandled"):
            found = output.find(word, start)
            assert found < 0, f"the log has: {output[max(0, found - 500) : found + 3000]}"

    def _check_reports(self) -> None:
        while (report := self._reports.get_message()) is not None:
            if report["type"] != "message":
                continue
            try:
                events = unpack_all(TeraModuleMessage.FromString(report["data"]).data)
            except Exception:  # noqa: BLE001  # what a fuzzer has published
                continue
            for event in events:
                if isinstance(event, UserEvent) and event.user_uuid == self.uuid:
                    is_gone = event.type == UserEvent.USER_DISCONNECTED
                    assert not is_gone, "the witness was reported gone"

    def _online(self) -> list[str]:
        with self.redis.pubsub() as replies:
            request = RPCMessage(method="online_users", reply_to=f"RedisRPCClient.{uuid4()}")
            replies.subscribe(request.reply_to)
            replies.get_message(timeout=GUARD)
            topic = topics.module_rpc(topics.USER_MANAGER_MODULE)
            self.redis.publish(topic, request.SerializeToString())
            reply = replies.get_message(ignore_subscribe_messages=True, timeout=GUARD)
            assert reply is not None, "the user manager does not answer"
            users: list[str] = json.loads(reply["data"])["return_value"]
            return users


def _await(ask: Callable[[], Any], fits: Callable[[Any], bool], otherwise: str) -> None:
    started = monotonic()
    while not fits(answer := ask()):
        assert monotonic() < started + GUARD, f"{otherwise}: {answer}"
