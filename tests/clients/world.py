"""The gateways that all clients visit, and Redis behind them."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import redis

from opentera_twisted import topics
from opentera_twisted.messages import ServerCommand, TeraModuleMessage, UserEvent
from opentera_twisted.messages.envelopes import pack, tera_event, unpack
from tests.helpers import patient
from tests.helpers.authority import Authority
from tests.helpers.processes import Process
from tests.helpers.support import GUARD, free_port, shared_server

from .visit import Client, Seen, Visit

REPORTS = "module.TeraServer.UserManagerModule.messages"


class World:
    """Two gateways: one compresses, on plain endpoints and with ``ssl:``; one has a certificate.

    Attributes:
        ways: URL of each endpoint by its name.
    """

    def __init__(self, folder: Path) -> None:
        authority = Authority(folder)
        self._authority = str(authority.file)
        pem = str(authority.issue("127.0.0.1"))
        self._redis: redis.Redis = shared_server().client()
        self._reports = self._redis.pubsub()
        self._reports.subscribe(REPORTS)
        self._threads = ThreadPoolExecutor(1)
        plain, six, ssl, workers = (free_port() for _ in range(4))
        self.ways = {
            "plain": f"ws://127.0.0.1:{plain}",
            "IPv6": f"ws://[::1]:{six}",
            "ssl:": f"wss://127.0.0.1:{ssl}",
            "--certificate --workers": f"wss://127.0.0.1:{workers}",
        }
        self._first = _gateway(
            "--compression", "12",
            "--websocket", f"tcp:{plain}:interface=127.0.0.1",
            "--websocket", rf"tcp6:{six}:interface=\:\:1",
            "--websocket", f"ssl:{ssl}:interface=127.0.0.1:certKey={pem}:privateKey={pem}",
        )  # fmt: skip
        self._second = _gateway(
            "--certificate", pem, "--private-key", pem, "--workers", "2",
            "--websocket", f"tcp:{workers}:interface=127.0.0.1",
        )  # fmt: skip
        self._first.wait_for("is ready")
        self._second.wait_for_count("is ready", 3)  # both workers, and their parent

    def close(self) -> None:
        """Stop the gateways."""
        self._threads.shutdown()
        self._first.terminate()
        self._second.terminate()
        self._reports.close()
        self._redis.close()

    def logs(self) -> tuple[str, str]:
        """Return the output of both gateways."""
        return self._first.output, self._second.output

    def key(self, uuid: str) -> str:
        """Return a new session key."""
        key = f"user.{secrets.token_urlsafe(32)}"
        self._redis.set(key, uuid, ex=600)
        return key

    def visit(self, client: Client, way: str = "plain", **asked: Any) -> Visiting:
        """Start a visit."""
        return self.visit_with(self.key(str(uuid := uuid4())), str(uuid), client, way, **asked)

    def visit_with(self, key: str, uuid: str, client: Client, way: str, **asked: Any) -> Visiting:
        """Start a visit with that session key."""
        visit = Visit(url=f"{self.ways[way]}/wss/user?id={key}", authority=self._authority, **asked)
        return Visiting(self, uuid, self._threads.submit(client.make, visit))

    def wait_for_report(self, visiting: Visiting, name: str) -> None:
        """Wait for a report of a connected or disconnected client."""
        for _ in range(int(GUARD)):
            message: Mapping[str, Any] | None = self._reports.get_message(
                ignore_subscribe_messages=True, timeout=1
            )
            if message is None:
                visiting.check()
                continue
            event: Any = unpack(TeraModuleMessage.FromString(message["data"]).data[0])
            if not isinstance(event, UserEvent):
                continue
            if (event.user_uuid, event.EventType.Name(event.type)) == (visiting.uuid, name):
                return
        raise AssertionError(f"{name} was not reported")

    def wait_for_pong(self, uuid: str) -> None:
        """Wait until a client of the first gateway answers a ping."""
        self._first.wait_for(f"pong of {uuid}")

    def publish(self, topic: str, message: Any) -> None:
        """Publish as other programs do."""
        self._redis.publish(topic, message.SerializeToString())


class Visiting:
    """A running visit."""

    def __init__(self, world: World, uuid: str, future: Future[Seen]) -> None:
        self._world = world
        self.uuid = uuid
        self._future = future

    def is_open(self) -> None:
        """Wait until the gateway has reported the client."""
        self._world.wait_for_report(self, "USER_CONNECTED")

    def gets_event(self, name: str = "Zoé") -> Seen:
        """Wait for the opening, publish an event, and wait for the client to leave."""
        self.is_open()
        topic = topics.websocket_events("user", self.uuid)
        self._world.publish(topic, tera_event(topic, [UserEvent(user_fullname=name)]))
        seen = self.seen()
        self._world.wait_for_report(self, "USER_DISCONNECTED")
        return seen

    def is_sent_away(self) -> Seen:
        """Wait for the opening, have the gateway close it, and wait for the client to leave."""
        self.is_open()
        message = TeraModuleMessage()
        message.data.append(pack(ServerCommand(type=ServerCommand.CMD_CLIENT_DISCONNECT)))
        self._world.publish(topics.disconnect_command(self.uuid), message)
        return self.seen()

    def check(self) -> None:
        """Fail if the visit ended before the opening."""
        if self._future.done():
            seen = self._future.result(GUARD)
            assert seen.opened, seen

    def seen(self) -> Seen:
        """Wait for the end of the visit."""
        return self._future.result(GUARD)


def _gateway(*options: str) -> Process:
    return Process(
        sys.executable, "-m", "tests.clients.gateway", "--nodaemon", "--pidfile=",
        "opentera-bus", "--redis", shared_server().url, "--admin", "none", *patient.OPTIONS,
        *options,
        fork=True,
    )  # fmt: skip
