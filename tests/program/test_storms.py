"""The gateway as a process under many clients, few file descriptors, and a Redis that hangs."""

from __future__ import annotations

import os
import signal
import sys
import urllib.request
from uuid import uuid4

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from opentera_twisted import Bus, SessionKeys, topics
from opentera_twisted.messages import TeraModuleMessage, UserEvent
from opentera_twisted.messages.envelopes import tera_event, unpack
from tests.helpers import patient
from tests.helpers.processes import UNMEASURED, Process, twistd
from tests.helpers.support import GUARD, UUID, Collector, free_port, start_server
from tests.helpers.websockets import (
    Bytes,
    HandshakeFailed,
    WebSocket,
    connect,
    connect_bytes,
    handshake,
)
from tests.program.test_program import ENDED, REPORTS, ProgramTestCase

LOGINS = int(os.environ.get("LOGINS") or 500)
"""Logins at once."""

TOPIC = topics.websocket_events("user", UUID)


def metrics(port: int) -> dict[str, float]:
    """Return the samples of the metrics page by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=GUARD) as page:
        lines = page.read().decode().splitlines()
    samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}


class StormTests(ProgramTestCase):
    async def program(self, *options: str) -> tuple[Process, int, int]:
        admin = free_port()
        program, port = self.start(
            "--redis", self.gateway_url, "--admin", f"tcp:{admin}:interface=127.0.0.1", *options
        )
        await program.says("is ready")
        return program, port, admin

    async def log_in(self, bus: Bus, port: int, uuid: str) -> WebSocket:
        key = await SessionKeys(bus).issue("user", uuid)
        return await connect(port, f"/wss/user?id={key}")

    async def test_a_storm_of_logins_does_not_stop_deliveries(self) -> None:
        port, admin = free_port(), free_port()
        program = twistd(
            *("--redis", self.gateway_url, "--websocket", f"tcp:{port}:interface=127.0.0.1"),
            *("--admin", f"tcp:{admin}:interface=127.0.0.1", *patient.OPTIONS),
            environment=UNMEASURED,
            before=("from tests.helpers import patient; patient.be_patient()",),
        )
        self.addCleanup(program.kill)
        await program.says("is ready")
        bus = await self.bus()
        reports = Collector()
        await bus.subscribe(REPORTS, lambda delivery: reports(delivery.payload))
        there = await self.log_in(bus, port, UUID)
        uuids = [str(uuid4()) for _ in range(LOGINS)]
        keys = await gatherResults([SessionKeys(bus).issue("user", uuid) for uuid in uuids])
        storm = gatherResults([self.enter(port, key) for key in keys])
        received = 0
        while not storm.called:
            await bus.publish(TOPIC, tera_event(TOPIC, [UserEvent(user_uuid=UUID)]))
            received += 1
            await there.messages.wait(received)
        clients = await storm
        connected = await reports.wait(LOGINS + 1)
        online = {next(iter(self.who(payload))) for payload in connected}
        assert online == {UUID, *uuids}
        samples = await deferToThread(metrics, admin)
        assert samples['opentera_bus_clients{kind="user"}'] == LOGINS + 1
        assert samples['opentera_bus_logins_total{outcome="accepted"}'] == LOGINS + 1
        for client in clients:
            client.drop()
        await reports.wait(2 * LOGINS + 1)

    @staticmethod
    def enter(port: int, key: str) -> Deferred[Bytes]:
        """Open a client with little overhead."""

        async def enter() -> Bytes:
            client = await connect_bytes(port)
            client.send(handshake(f"/wss/user?id={key}".encode()))
            await client.until(b"\r\n\r\n")
            return client

        return Deferred.fromCoroutine(enter())

    @staticmethod
    def who(payload: bytes) -> set[str]:
        (event,) = map(unpack, TeraModuleMessage.FromString(payload).data)
        assert isinstance(event, UserEvent)
        return {event.user_uuid}

    async def test_the_gateway_survives_running_out_of_descriptors(self) -> None:
        port, admin = free_port(), free_port()
        program = Process(
            "/bin/sh", "-c", 'ulimit -n 64; exec "$@"', "sh",
            sys.executable, "-c", "from twisted.scripts.twistd import run; run()",
            "--nodaemon", "--pidfile=", "opentera-bus", "--redis", self.gateway_url,
            "--websocket", f"tcp:{port}:interface=127.0.0.1",
            "--admin", f"tcp:{admin}:interface=127.0.0.1",
            environment=UNMEASURED,
        )  # fmt: skip
        self.addCleanup(program.kill)
        await program.says("is ready")
        bus = await self.bus()
        there = await self.log_in(bus, port, UUID)
        crowd = [await connect_bytes(port) for _ in range(80)]
        await program.says("EMFILE")
        await bus.publish(TOPIC, tera_event(TOPIC, [UserEvent()]))
        await there.messages.wait(1)
        for client in crowd:
            client.drop()
            await client.closed
        # Twisted refused some; it accepts again after the others have left.
        connected = 'opentera_bus_clients{kind="user"}'
        while (await deferToThread(metrics, admin))[connected] < 2:
            try:
                await self.log_in(bus, port, str(uuid4()))
            except HandshakeFailed:
                continue

    async def test_a_hung_redis_does_not_delay_the_end(self) -> None:
        server = start_server(self)
        program, port = self.start("--redis", server.url, "--shutdown-timeout", "2")
        await program.says("is ready")
        bus = await self.bus(server.url)
        client = await self.log_in(bus, port, UUID)
        silent = await connect_bytes(port)
        silent.send(handshake(b"/wss/user?id=x"))
        server.process.send_signal(signal.SIGSTOP)
        self.addCleanup(server.process.send_signal, signal.SIGCONT)
        program.send(signal.SIGTERM)
        assert (await client.closed)[0] == 1001
        assert await program.ended() in ENDED
        server.process.send_signal(signal.SIGCONT)

    async def test_every_limit_has_a_metric(self) -> None:
        _, port, admin = await self.program("--max-clients-per-identity", "1")
        bus = await self.bus()
        await self.log_in(bus, port, UUID)
        key = await SessionKeys(bus).issue("user", UUID)
        refused = await connect_bytes(port)
        refused.send(handshake(f"/wss/user?id={key}".encode()))
        assert (await refused.closed).split()[1] == b"429"
        samples = await deferToThread(metrics, admin)
        limits = {name: value for name, value in samples.items() if "_limited_total" in name}
        assert {name.split('"')[1] for name in limits} == {
            "max_clients",
            "max_clients_per_identity",
            "handshake_timeout",
            "max_message_size",
            "max_connections_per_address",
            "max_messages_per_minute",
            "max_send_buffer",
            "failed_logins_per_minute",
            "shutdown_timeout",
        }
        assert limits['opentera_bus_limited_total{limit="max_clients_per_identity"}'] == 1
        assert sum(limits.values()) == 1
