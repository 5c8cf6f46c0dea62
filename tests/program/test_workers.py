"""``--workers``: processes that share the websockets and one admin endpoint."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any
from uuid import uuid4

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from opentera_twisted import SessionKeys
from opentera_twisted.holders import GATEWAYS
from opentera_twisted.messages import TeraModuleMessage, UserEvent
from opentera_twisted.messages.envelopes import tera_event, unpack
from tests.gateway.test_tls import TLSTestCase
from tests.helpers.admin import ask
from tests.helpers.processes import FORKED_WORKERS, UNMEASURED, Process, twistd, twistd_with_sockets
from tests.helpers.support import UUID, folder_of, free_port, message, server_pid, until
from tests.helpers.websockets import WebSocket, connect, handshake, leave
from tests.program.test_program import ENDED, REPORTS, ProgramTestCase, wait_for_end
from tests.program.test_systemd import Manager

COUNT = 2
CLIENTS = 24
"""Clients enough for the kernel to use both workers, almost surely."""

READY = f"all {COUNT} workers are ready"


class WorkersTestCase(ProgramTestCase):
    async def start_workers(
        self, *options: str, redis_port: int = 6379, environment: dict[str, str] = FORKED_WORKERS
    ) -> tuple[Process, int]:
        """Start the program with workers; return it with the port of the websockets."""
        self.admin = free_port()
        endpoint = ("--admin", f"tcp:{self.admin}:interface=127.0.0.1")
        program, port = self.start(
            "--workers", str(COUNT), *endpoint, *options,
            redis_port=redis_port, environment=environment,
        )  # fmt: skip
        self.addCleanup(self.kill_with_workers, program)
        await program.says(READY)
        return program, port

    @staticmethod
    def kill_with_workers(program: Process) -> None:
        """Kill a program and its workers, which would wait for their clients to return."""
        if program.has_ended:
            return
        found = subprocess.run(
            ["pgrep", "-P", str(program.pid)],
            check=False,
            capture_output=True,
            text=True,
        )
        program.kill()
        for worker in found.stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(worker), signal.SIGKILL)
            wait_for_end(int(worker))

    async def page(self, path: str) -> Any:
        """Return a JSON page of the admin endpoint."""
        answer = await deferToThread(ask, f"http://127.0.0.1:{self.admin}{path}")
        return answer.body.decode() if path == "/metrics" else answer.json()

    async def pids(self) -> list[int]:
        """Return the process ids of all workers, once they have answered."""
        health = await until(
            lambda: self.page("/health"), lambda page: len(page["workers"]["each"]) == COUNT
        )
        return [worker["process"] for worker in health["workers"]["each"]]

    async def metric(self, name: str, **labels: str) -> dict[str, float]:
        """Return a metric by worker; the parent's is under the empty string."""
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(await self.page("/metrics")):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    found[sample.labels.get("worker", "")] = sample.value
        return found

    async def clients(self) -> dict[str, float]:
        """Return the number of clients of each worker, once all have answered and have some."""
        return await until(
            lambda: self.metric("opentera_bus_clients", kind="user"),
            lambda found: len(found) == COUNT and all(found.values()),
        )

    async def log_in(self, port: int, uuids: list[str]) -> dict[str, WebSocket]:
        """Open a websocket for each of some users."""
        keys = SessionKeys(await self.bus())
        issued = await gatherResults([keys.issue("user", uuid) for uuid in uuids])
        clients = await gatherResults([connect(port, f"/wss/user?id={key}") for key in issued])
        for client in clients:
            self.addCleanup(lambda one: Deferred.fromCoroutine(leave(one)), client)
        return dict(zip(uuids, clients, strict=True))

    async def reported(self, reports: Any, count: int) -> list[tuple[int, str]]:
        """Return the next presence reports."""
        events: list[tuple[int, str]] = []
        for _ in range(count):
            (event,) = map(unpack, TeraModuleMessage.FromString(await message(reports)).data)
            assert isinstance(event, UserEvent)
            events.append((event.type, event.user_uuid))
        return events

    async def receives(self, uuid: str, client: WebSocket) -> None:
        """Assert that a client receives a published event."""
        topic = f"websocket.user.{uuid}.events"
        count = len(client.messages.items)
        event = tera_event(topic, [UserEvent(user_uuid=uuid)])
        assert self.redis.publish(topic, event.SerializeToString()) == 1
        await client.event(count)


class ServingTests(WorkersTestCase):
    async def test_all_workers_accept_logins_and_share_one_page(self) -> None:
        program, port = await self.start_workers("--redis", self.gateway_url, environment={})
        reports = self.subscribed(REPORTS)
        uuids = [str(uuid4()) for _ in range(CLIENTS)]
        clients = await self.log_in(port, uuids)
        here = await self.clients()
        assert here.keys() == {"1", "2"}
        assert sum(here.values()) == CLIENTS
        for name, expected in (
            ("opentera_bus_link_ready", {"": 1, "1": 1, "2": 1}),
            ("opentera_bus_workers", {"": COUNT}),
            ("opentera_bus_workers_ready", {"": COUNT}),
            ("opentera_bus_workers_replaced_total", {"": 0}),
        ):
            assert await self.metric(name) == expected, name
        health = await until(
            lambda: self.page("/health"), lambda one: one["clients"]["user"] == CLIENTS
        )
        assert health["status"] == "ready"
        assert health["workers"]["ready"] == COUNT
        each = {
            str(worker["worker"]): worker["clients"]["user"] for worker in health["workers"]["each"]
        }
        assert each == here
        assert health["subscriptions"]["acknowledged"] >= CLIENTS
        state = await until(
            lambda: self.page("/api/state"),
            lambda one: one["samples"] and one["samples"][-1]["clients"] == CLIENTS,
        )
        assert state["logins"] == {"accepted": CLIENTS}
        names = {connection["name"] for connection in self.redis.client_list()}
        for name in ("opentera-bus", "opentera-bus.1", "opentera-bus.2"):
            assert {f"{name}.client", f"{name}.subscriber"} <= names
        pids = await self.pids()
        assert await self.reported(reports, CLIENTS)
        program.send(signal.SIGTERM)
        closed = await gatherResults([client.closed for client in clients.values()])
        assert {code for code, _ in closed} == {1001}
        assert await program.ended() in ENDED
        gone = await self.reported(reports, CLIENTS)
        assert sorted(gone) == [(UserEvent.USER_DISCONNECTED, uuid) for uuid in sorted(uuids)]
        assert not self.redis.zcard("opentera.presence.gateways")
        for pid in pids:
            await deferToThread(wait_for_end, pid)
        assert "did not answer" not in program.output
        assert "Traceback" not in program.output

    async def test_a_killed_worker_is_replaced_and_its_clients_reported(self) -> None:
        program, port = await self.start_workers("--redis", self.gateway_url)
        reports = self.subscribed(REPORTS)
        uuids = [str(uuid4()) for _ in range(CLIENTS)]
        clients = await self.log_in(port, uuids)
        await self.reported(reports, CLIENTS)
        killed, stays = await self.pids()
        here = await self.clients()
        await until(lambda: self.page("/health"), lambda one: one["clients"]["user"] == CLIENTS)
        # Only the parent noticed the death; for other gateways the lease is still valid.
        os.kill(killed, signal.SIGSTOP)
        leases: Any = self.redis.zrange(GATEWAYS, 0, -1)
        self.redis.zadd(GATEWAYS, dict.fromkeys(leases, 10**15), xx=True)
        os.kill(killed, signal.SIGKILL)
        events = await self.reported(reports, int(here["1"]))
        assert {kind for kind, _ in events} == {UserEvent.USER_DISCONNECTED}
        gone = {uuid for _, uuid in events}
        for uuid in gone:
            await clients[uuid].closed
        for uuid in clients.keys() - gone:
            await self.receives(uuid, clients[uuid])
        await deferToThread(program.wait_for_count, READY, 2)
        assert f"process {killed}, ended: signal SIGKILL; replacing it now" in program.output
        assert (await self.metric("opentera_bus_workers_replaced_total")) == {"": 1}
        replaced, other = await self.pids()
        assert other == stays
        assert replaced not in {killed, stays}
        # The counts of the dead worker remain.
        assert (await self.page("/api/state"))["logins"] == {"accepted": CLIENTS}
        again = await self.log_in(port, [str(uuid4()) for _ in range(CLIENTS)])
        await self.clients()
        for uuid, client in again.items():
            await self.receives(uuid, client)

    async def test_a_terminated_worker_closes_clients_and_is_replaced(self) -> None:
        program, port = await self.start_workers("--redis", self.gateway_url)
        clients = await self.log_in(port, [str(uuid4()) for _ in range(CLIENTS)])
        here = await self.clients()
        first, _ = await self.pids()
        os.kill(first, signal.SIGTERM)
        await deferToThread(program.wait_for_count, READY, 2)
        closed = [client for client in clients.values() if client.closed.called]
        assert len(closed) == here["1"]
        assert {(await client.closed)[0] for client in closed} == {1001}

    async def test_a_missing_worker_is_unhealthy(self) -> None:
        program, _ = await self.start_workers("--redis", self.gateway_url)
        (first, _) = await self.pids()
        os.kill(first, signal.SIGSTOP)
        self.addCleanup(_continue, first)
        asked = await self.metric("opentera_bus_link_ready")
        assert asked == {"": 1, "2": 1}  # the page does not wait for a silent worker
        os.kill(first, signal.SIGKILL)
        health = await until(lambda: self.page("/health"), lambda one: one["status"] != "ready")
        assert health["reason"] == "1 of 2 workers not ready"
        await deferToThread(program.wait_for_count, READY, 2)
        assert (await self.page("/health"))["status"] == "ready"

    async def test_log_lines_name_the_worker(self) -> None:
        program, _ = await self.start_workers("--redis", self.gateway_url, "--log-format", "json")
        program.send(signal.SIGTERM)
        await program.ended()
        lines = [json.loads(line) for line in program.output.splitlines()]
        ready = [event for event in lines if "link to Redis at" in event["event"]]
        assert {event["fields"].get("worker") for event in ready} == {None, 1, 2}
        for event in ready:
            number = event["fields"].pop("worker", None)
            prefix = "" if number is None else f"worker {number}: "
            assert event["event"].startswith(f"{prefix}link to Redis at redis://")
            assert event["fields"].keys() == {"address"}
            assert event["fields"]["address"].startswith("redis://")
            assert event["level"] == "info"
            assert event["module"] == "opentera_twisted.link.server_link.ServerLink"

    async def test_no_secret_is_in_a_command_line_or_an_environment(self) -> None:
        self.redis.config_set("requirepass", "")
        await self.start_workers("--redis", self.gateway_url, environment=UNMEASURED)
        password = self.gateway_url.split("@")[0].rpartition(":")[2]
        for pid in await self.pids():
            for name in ("cmdline", "environ"):
                assert password not in await deferToThread(Path(f"/proc/{pid}/{name}").read_text)


def _continue(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


class EndingTests(WorkersTestCase):
    async def test_workers_close_clients_when_the_parent_is_killed(self) -> None:
        program, port = await self.start_workers("--redis", self.gateway_url)
        pids = await self.pids()
        clients = await self.log_in(port, [str(uuid4()) for _ in range(CLIENTS)])
        program.send(signal.SIGKILL)
        closed = await gatherResults([client.closed for client in clients.values()])
        assert {code for code, _ in closed} == {1001}
        for pid in pids:
            await deferToThread(wait_for_end, pid)
        assert not self.redis.zcard("opentera.presence.gateways")  # all clients were reported

    async def test_the_embedded_server_ends_with_the_workers(self) -> None:
        for end in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
            redis_port = free_port()
            program, port = await self.start_workers(
                "--shutdown-timeout", "3", redis_port=redis_port
            )
            pids = [*await self.pids(), await server_pid(redis_port)]
            bus = await self.bus(f"redis://127.0.0.1:{redis_port}")
            key = await SessionKeys(bus).issue("user", UUID)
            client = await connect(port, f"/wss/user?id={key}")
            await bus.stopService()
            if end == signal.SIGINT:
                program.interrupt()
            else:
                program.send(end)
            assert (await client.closed)[0] == 1001
            status = await program.ended()
            assert end == signal.SIGKILL or status in ENDED
            for pid in pids:
                await deferToThread(wait_for_end, pid)

    async def test_a_hung_worker_ends_within_the_stop_timeout(self) -> None:
        program, _ = await self.start_workers(
            "--redis", self.gateway_url, "--shutdown-timeout", "1"
        )
        pids = await self.pids()
        os.kill(pids[0], signal.SIGSTOP)
        program.send(signal.SIGTERM)
        assert await program.ended() in ENDED
        for pid in pids:
            await deferToThread(wait_for_end, pid)


class SocketTests(WorkersTestCase):
    async def test_a_unix_socket_lasts_as_long_as_the_program(self) -> None:
        path = folder_of(self) / "bus"
        self.admin = free_port()
        program = twistd(
            *("--redis", self.gateway_url, "--workers", str(COUNT)),
            *("--websocket", f"unix:{path}:mode=600"),
            *("--admin", f"tcp:{self.admin}:interface=127.0.0.1"),
            environment=FORKED_WORKERS,
        )
        self.addCleanup(program.kill)
        await program.says(READY)
        assert (await deferToThread(path.stat)).st_mode & 0o777 == 0o600

        def answer() -> bytes:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                client.sendall(handshake(b"/wss/user?id=x"))
                return client.recv(100)

        assert b" 403 " in await deferToThread(answer)
        for number, pid in enumerate(await self.pids(), start=2):
            os.kill(pid, signal.SIGTERM)
            await deferToThread(program.wait_for_count, READY, number)
            assert b" 403 " in await deferToThread(answer)
        program.send(signal.SIGTERM)
        assert await program.ended() in ENDED
        assert not await deferToThread(path.exists)

    async def test_a_shared_port_counts_as_in_use(self) -> None:
        _, port = await self.start_workers("--redis", self.gateway_url)
        program = twistd(
            *("--redis", self.gateway_url, "--workers", str(COUNT), "--admin", "none"),
            *("--websocket", f"tcp:{port}:interface=127.0.0.1"),
        )
        self.addCleanup(program.kill)
        assert await program.ended() == 1
        assert "Address already in use" in program.output
        assert "Traceback" not in program.output

    async def test_early_clients_wait_for_a_worker(self) -> None:
        manager = Manager(self)
        listening = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.addCleanup(listening.close)
        port = listening.getsockname()[1]
        key = await SessionKeys(await self.bus()).issue("user", UUID)
        early = connect(port, f"/wss/user?id={key}")
        program = twistd_with_sockets(
            {"websocket": listening},
            *("--redis", self.gateway_url, "--workers", str(COUNT), "--admin", "none"),
            *("--websocket", "systemd:domain=INET:name=websocket"),
            environment={"NOTIFY_SOCKET": manager.address},
        )
        self.addCleanup(program.kill)
        client = await early
        await manager.until("READY=1")
        await program.says(READY)
        assert "STATUS=2 of 2 workers not ready" in manager.told
        program.send(signal.SIGTERM)
        await manager.until("STOPPING=1")
        assert (await client.closed)[0] == 1001
        assert await program.ended() in ENDED

    async def test_systemd_is_notified_of_a_missing_worker(self) -> None:
        manager = Manager(self)
        self.admin = free_port()
        program = twistd(
            *("--redis", self.gateway_url, "--workers", str(COUNT)),
            *("--websocket", f"tcp:{free_port()}:interface=127.0.0.1"),
            *("--admin", f"tcp:{self.admin}:interface=127.0.0.1"),
            environment={"NOTIFY_SOCKET": manager.address, **FORKED_WORKERS},
        )
        self.addCleanup(program.kill)
        await manager.until("READY=1")
        os.kill((await self.pids())[0], signal.SIGKILL)
        await manager.until("STATUS=1 of 2 workers not ready")
        await manager.until("STATUS=the link to Redis")


class CertificateTests(TLSTestCase):
    async def test_every_worker_reloads_its_certificate(self) -> None:
        port = free_port()
        pem = str(self.authority.issue("localhost"))
        program = twistd(
            *("--redis", self.gateway_url, "--workers", str(COUNT), "--admin", "none"),
            *("--websocket", f"tcp:{port}:interface=127.0.0.1"),
            *("--certificate", pem, "--private-key", pem),
        )
        self.addCleanup(program.kill)
        await program.says(READY)
        uuids = [str(uuid4()) for _ in range(CLIENTS)]
        before = [await self.log_in(port, uuid) for uuid in uuids]
        assert len({self.serial(client) for client in before}) == 1
        self.authority.issue("localhost")
        program.send(signal.SIGHUP)
        for number in range(1, COUNT + 1):
            await program.says(f"worker {number}: the certificate was read again")
        after = [await self.log_in(port, uuid) for uuid in uuids]
        assert len({self.serial(client) for client in after}) == 1
        assert self.serial(after[0]) != self.serial(before[0])
        for client, uuid in zip(before, uuids, strict=True):
            await self.receives(client, uuid)
        program.send(signal.SIGTERM)
        closed = await gatherResults([client.closed for client in (*before, *after)])
        assert {code for code, _ in closed} == {1001}


class MistakeTests(ProgramTestCase):
    async def test_mistakes_end_the_program_at_once(self) -> None:
        for options, expected in (
            (["0"], "--workers: expected an integer ≥ 1, not '0'"),
            (["x"], "--workers: expected an integer ≥ 1, not 'x'"),
            (["2", "--websocket", "haproxy:tcp:1"], "--workers cannot share 'haproxy:tcp:1'"),
        ):
            program = twistd("--redis", self.gateway_url, "--workers", *options)
            self.addCleanup(program.kill)
            assert await program.ended() == 1
            assert expected in program.output
            assert program.output.count("\n") == 1
