"""Notifications for systemd over a real Unix socket, and inherited sockets."""

from __future__ import annotations

import os
import select
import signal
import socket
import tempfile
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from opentera_twisted import SessionKeys
from opentera_twisted.link import RedisAddress, ServerLink
from opentera_twisted.program.systemd import LONGEST_STATUS, Supervisor
from tests.helpers.processes import twistd, twistd_with_sockets
from tests.helpers.support import (
    GUARD,
    UUID,
    RedisTestCase,
    folder_of,
    free_port,
    log_of,
    start_server,
)
from tests.helpers.websockets import connect
from tests.program.test_program import ENDED


class Manager:
    """The systemd side of the socket."""

    def __init__(self, test: TestCase, *, abstract: bool = False) -> None:
        self.path = folder_of(test) / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{self.path}" if abstract else str(self.path))
        self.socket.settimeout(GUARD)
        test.addCleanup(self.socket.close)
        self.address = f"@{self.path}" if abstract else str(self.path)
        self.told: list[str] = []

    def next(self) -> list[str]:
        """Return the assignments of the next datagram."""
        lines = self.socket.recv(4096).decode().split("\n")
        self.told += lines
        return lines

    def until(self, assignment: str) -> Deferred[list[str]]:
        """Fire with the first datagram with that assignment."""

        def read() -> list[str]:
            while True:
                lines = self.next()
                if any(line.startswith(assignment) for line in lines):
                    return lines

        return deferToThread(read)

    def empty(self) -> None:
        """Drop received datagrams."""
        while select.select([self.socket], [], [], 0)[0]:
            self.socket.recv(4096)


class NotifyTests(RedisTestCase):
    async def test_notifications_follow_the_link_and_the_end(self) -> None:
        manager = Manager(self)
        redis = start_server(self)
        redis.stop()
        websocket = free_port()
        program = twistd(
            "--redis", redis.url, "--admin", "none",
            "--websocket", f"tcp:{websocket}:interface=127.0.0.1",
            environment={"NOTIFY_SOCKET": manager.address},
        )  # fmt: skip
        self.addCleanup(program.kill)
        await manager.until("STATUS=waiting for Redis at ")
        assert "refused" in (await manager.until("STATUS=no link to Redis at "))[0]
        assert "READY=1" not in manager.told
        await deferToThread(redis.start)
        ready = await manager.until("READY=1")
        assert ready[1].startswith("STATUS=the link to Redis at ")
        socket.create_connection(("127.0.0.1", websocket), GUARD).close()  # it listens
        await deferToThread(redis.stop)
        await manager.until("STATUS=no link to Redis at ")
        await deferToThread(redis.start)
        await manager.until("READY=1")
        program.send(signal.SIGTERM)
        assert (await manager.until("STOPPING=1"))[1] == "STATUS=closing clients"
        assert await program.ended() in ENDED
        assert "WATCHDOG=1" not in manager.told

    async def test_watchdog_pings_follow_the_reactor(self) -> None:
        manager = Manager(self, abstract=True)
        program = twistd(
            "--redis", self.gateway_url, "--admin", "none",
            "--websocket", f"tcp:{free_port()}:interface=127.0.0.1",
            environment={"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "100000"},
            fork=False,
        )  # fmt: skip
        self.addCleanup(program.kill)
        for _ in range(5):
            await manager.until("WATCHDOG=1")
        program.send(signal.SIGSTOP)  # the reactor stalls, as in an endless computation
        await deferToThread(os.waitid, os.P_PID, program.pid, os.WSTOPPED)
        manager.empty()
        program.send(signal.SIGCONT)
        await manager.until("WATCHDOG=1")


class ActivationTests(RedisTestCase):
    def listen(self) -> socket.socket:
        listening = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.addCleanup(listening.close)
        return listening

    async def test_inherited_sockets_are_found_by_name(self) -> None:
        sockets = {"admin": self.listen(), "websocket": self.listen()}
        port = sockets["websocket"].getsockname()[1]
        bus = await self.bus()
        key = await SessionKeys(bus).issue("user", UUID)
        # A client that connects before the program starts waits in the socket's queue.
        early = socket.create_connection(sockets["admin"].getsockname(), GUARD)
        self.addCleanup(early.close)
        early.sendall(b"GET /health/live HTTP/1.0\r\n\r\n")
        # The address of an inherited socket is unknown beforehand; it may be beyond loopback.
        token = tempfile.NamedTemporaryFile("w")  # noqa: SIM115 (closed at the end)
        self.addCleanup(token.close)
        token.write("t" * 32)
        token.flush()
        program = twistd_with_sockets(
            sockets,
            *("--redis", self.gateway_url),
            *("--websocket", "systemd:domain=INET:name=websocket"),
            *("--admin", "systemd:domain=INET:name=admin"),
            *("--admin-token-file", token.name),
        )
        self.addCleanup(program.kill)
        await program.says("is ready")
        client = await connect(port, f"/wss/user?id={key}")
        assert (await deferToThread(early.recv, 100)).startswith(b"HTTP/1.")
        program.send(signal.SIGTERM)
        assert (await client.closed)[0] == 1001
        assert await program.ended() in ENDED

    async def test_a_missing_socket_ends_the_program_with_one_line(self) -> None:
        program = twistd(
            "--redis", self.gateway_url, "--websocket", "systemd:domain=INET:name=websocket"
        )
        self.addCleanup(program.kill)
        assert await program.ended() == 1
        assert program.output.count("\n") == 1
        assert "--websocket: expected an endpoint" in program.output


class SupervisorTests(TestCase):
    def supervisor(self, **environment: str) -> tuple[Supervisor, dict[str, str]]:
        self.clock = MemoryReactorClock()
        self.link = ServerLink(RedisAddress.parse("redis://:hush@h"), reactor=self.clock, name="t")
        return Supervisor(self.link, environment), environment

    def test_its_variables_are_not_inherited(self) -> None:
        left = {"NOTIFY_SOCKET": "/none", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "HOME": "/"}
        _, environment = self.supervisor(**left)
        assert environment == {"HOME": "/"}

    def test_watchdog_settings_of_other_processes_are_ignored(self) -> None:
        own = str(os.getpid())
        for variables, expected in (
            ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": own}, 15.0),
            ({"WATCHDOG_USEC": "30000000"}, 15.0),
            ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
            ({"WATCHDOG_USEC": "junk"}, None),
            ({"WATCHDOG_USEC": "0"}, None),
            ({}, None),
        ):
            assert self.supervisor(**variables)[0].watchdog == expected

    def test_nothing_is_sent_without_a_notify_socket(self) -> None:
        supervisor, _ = self.supervisor(WATCHDOG_USEC="30000000")
        supervisor.start()
        supervisor.stop()
        assert self.clock.getDelayedCalls() == []
        assert self.link.on_ready == []

    def test_an_unknown_socket_family_is_logged(self) -> None:
        log = log_of(self)
        supervisor, _ = self.supervisor(NOTIFY_SOCKET="vsock:2:1234")
        supervisor.start()
        assert "is not a Unix socket" in log.items[0]

    def test_an_unreachable_manager_is_warned_about_once(self) -> None:
        log = log_of(self)
        supervisor, _ = self.supervisor(NOTIFY_SOCKET="/none/notify", WATCHDOG_USEC="2000000")
        supervisor.start()
        self.clock.pump([1] * 5)
        assert [line for line in log.items if "cannot notify systemd" in line] == log.items[:1]

    def test_a_long_cause_becomes_one_short_line(self) -> None:
        manager = Manager(self)
        supervisor, _ = self.supervisor(NOTIFY_SOCKET=manager.address)
        supervisor.start()
        (waiting,) = manager.next()
        assert "hush" not in waiting
        cause: Any = Failure(OSError("a\nREADY=1\n" + "x" * 9999))
        for observer in self.link.on_refused:
            observer(cause)
        (line,) = manager.next()
        assert len(line) == len("STATUS=") + LONGEST_STATUS
        assert "a READY=1 x" in line


@pytest.mark.parametrize("address", ["@", "", "relative"])
def test_an_invalid_socket_address_is_ignored(address: str) -> None:
    link = ServerLink(RedisAddress.parse("redis://h"), reactor=MemoryReactorClock(), name="t")
    supervisor = Supervisor(link, {"NOTIFY_SOCKET": address})
    supervisor.start()
    assert link.on_ready == []
