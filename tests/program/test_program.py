"""``twistd opentera-bus`` as a process: starting, serving, ending, and refusing mistakes."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import tempfile
import urllib.error
import urllib.request
from typing import Any
from uuid import uuid4

import redis
from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.threads import deferToThread

from opentera_twisted import Bus, SessionKeys
from opentera_twisted.messages import TeraEvent, TeraModuleMessage, UserEvent
from opentera_twisted.messages.envelopes import unpack, unpack_all
from opentera_twisted.topics import USER_MANAGER_MODULE
from tests.helpers import patient
from tests.helpers.admin import ask
from tests.helpers.existing import ExistingServer
from tests.helpers.processes import Process, twistd, twistd_daemon
from tests.helpers.support import (
    GUARD,
    UUID,
    Collector,
    RedisTestCase,
    folder_of,
    free_port,
    message,
    server_pid,
    start_server,
    until,
)
from tests.helpers.websockets import WebSocket, connect, leave

REPORTS = "module.TeraServer.UserManagerModule.messages"


ENDED = (0, -signal.SIGTERM, -signal.SIGINT)
"""Exit status after SIGTERM: twistd ends by the signal where possible."""


def health(port: int) -> tuple[int, dict[str, Any]]:
    """Return status and body of the health page."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=GUARD) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def wait_for_end(pid: int) -> None:
    """Wait for the end of a process that is not our child."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([process], [], [], GUARD)[0], "the process still runs"
    finally:
        os.close(process)


class ProgramTestCase(RedisTestCase):
    def start(
        self, *options: str, redis_port: int = 6379, environment: dict[str, str] | None = None
    ) -> tuple[Process, int]:
        """Start the program with websockets on a free port; return it with the port."""
        port = free_port()
        endpoint = f"tcp:{port}:interface=127.0.0.1"
        if "--admin" not in options:
            options = ("--admin", "none", *options)
        program = twistd(
            "--websocket", endpoint, *options, redis_port=redis_port, environment=environment
        )
        self.addCleanup(program.kill)
        return program, port


class ServingTests(ProgramTestCase):
    async def test_sigterm_closes_and_reports_all_clients(self) -> None:
        program, port = self.start("--redis", self.gateway_url)
        await program.says("is ready")
        reports = self.subscribed(REPORTS)
        keys = SessionKeys(await self.bus())
        key = await keys.issue("user", UUID)
        client = await connect(port, f"/wss/user?id={key}")
        names = sorted(connection["name"] for connection in self.redis.client_list())
        assert [name for name in names if name.startswith("opentera-bus.")] == [
            "opentera-bus.client",
            "opentera-bus.subscriber",
        ]
        program.send(signal.SIGTERM)
        assert (await client.closed)[0] == 1001
        assert await program.ended() in ENDED
        for expected in (UserEvent.USER_CONNECTED, UserEvent.USER_DISCONNECTED):
            (event,) = map(unpack, TeraModuleMessage.FromString(await message(reports)).data)
            assert isinstance(event, UserEvent)
            assert event.type == expected
        assert key not in program.output

    async def test_one_of_200_logins_at_two_processes_succeeds(self) -> None:
        programs = [self.start("--redis", self.gateway_url, *patient.OPTIONS) for _ in range(2)]
        for program, _ in programs:
            await program.says("is ready")
        keys = SessionKeys(await self.bus())
        key = await keys.issue("user", UUID)
        attempts = [
            connect(port, f"/wss/user?id={key}") for _ in range(100) for _, port in programs
        ]
        results = await DeferredList(attempts, consumeErrors=True)
        winners = [result for success, result in results if success]
        assert len(winners) == 1
        assert isinstance(winners[0], WebSocket)
        losers = {str(result.value) for success, result in results if not success}
        assert len(losers) == 1, losers
        assert "403" in losers.pop()

    async def test_health_reports_the_state_of_redis(self) -> None:
        server = start_server(self)
        admin = free_port()
        program, _ = self.start(
            "--redis", server.url, "--admin", f"tcp:{admin}:interface=127.0.0.1"
        )
        await program.says("is ready")
        status, page = await deferToThread(health, admin)
        assert (status, page["status"]) == (200, "ready")
        assert page["redis"]["client"] == page["redis"]["subscriber"] == "ready"
        await deferToThread(server.stop)
        await program.says("trying again")
        status, page = await deferToThread(health, admin)
        assert (status, page["status"]) == (503, "unavailable")

    async def test_a_missing_subscriber_connection_is_unhealthy(self) -> None:
        server = start_server(self)
        admin = free_port()
        program, _ = self.start(
            "--redis", server.url, "--admin", f"tcp:{admin}:interface=127.0.0.1"
        )
        await program.says("is ready")
        with server.client() as client:
            client.config_set("maxclients", 1)  # it cannot come back
            client.client_kill_filter(_type="pubsub")
            await program.says("no subscriber connection")
            status, page = await deferToThread(health, admin)
            assert (status, page["status"]) == (503, "unavailable")
            assert page["redis"]["client"] == "ready"
            assert page["redis"]["subscriber"] != "ready"
            client.config_set("maxclients", 100)
        status, _ = await until(lambda: deferToThread(health, admin), lambda one: one[0] == 200)
        assert status == 200

    async def test_beyond_loopback_the_admin_endpoint_needs_a_token(self) -> None:
        admin = free_port()
        token = "hush" * 8
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(token)
            file.flush()
            program, _ = self.start(
                *("--redis", self.gateway_url, "--admin", f"tcp:{admin}"),
                *("--admin-token-file", file.name, "--console", "off"),
            )
            await program.says("is ready")
        url = f"http://127.0.0.1:{admin}"
        assert (await deferToThread(ask, f"{url}/health")).json().keys() == {"status"}
        assert (await deferToThread(ask, f"{url}/metrics")).status == 401
        bearer = {"Authorization": f"Bearer {token}"}
        assert (await deferToThread(ask, f"{url}/metrics", **bearer)).status == 200
        assert (await deferToThread(ask, url, **bearer)).status == 404  # no console
        assert token not in program.output

    async def test_accepting_any_origin_is_warned_about(self) -> None:
        warning = "pages of any origin may log in"
        for origins in ((), ("--origin", "*"), ("--origin", "https://rehab.example.org")):
            program, _ = self.start(
                *("--redis", self.gateway_url, "--websocket", f"tcp:{free_port()}"), *origins
            )
            await program.says("is ready")
            named = any("https" in origin for origin in origins)
            assert (warning in program.output) is not named, origins

    async def test_origin_null_is_warned_about_but_not_an_apps_origin(self) -> None:
        for origin, is_warned in (("null", True), ("capacitor://localhost", False)):
            program, _ = self.start("--redis", self.gateway_url, "--origin", origin)
            await program.says("is ready")
            assert ("--origin null accepts" in program.output) is is_warned, origin

    async def test_an_evicting_redis_is_warned_about(self) -> None:
        server = start_server(self, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
        program, _ = self.start("--redis", server.url)
        await program.says("Redis: allkeys-lru may delete any variable")
        assert "CONFIG SET maxmemory-policy noeviction" in program.output

    async def test_a_password_is_in_no_output(self) -> None:
        server = start_server(self, "--requirepass", "hush-right")
        for password in ("hush-right", "hush-wrong"):
            url = f"redis://:{password}@127.0.0.1:{server.port}"
            program, _ = self.start("--redis", url)
            await program.says("is ready" if "right" in password else "WRONGPASS")
            program.send(signal.SIGTERM)
            assert await program.ended() in ENDED
            assert "hush" not in program.output


class UserManagerTests(ProgramTestCase):
    async def online(self, bus: Bus) -> Any:
        return await bus.call(USER_MANAGER_MODULE, "online_users")

    async def start_serving(self, url: str, count: int) -> list[tuple[Process, int]]:
        programs = [self.start("--redis", url, "--user-manager") for _ in range(count)]
        for program, _ in programs:
            await program.says("serving the user manager module")
        return programs

    async def test_clients_of_a_killed_gateway_are_reported_gone(self) -> None:
        server = start_server(self)
        bus = await self.bus(server.url)
        (first, port), (_, other_port) = await self.start_serving(server.url, 2)
        events = Collector()
        await bus.subscribe(f"module.{USER_MANAGER_MODULE}.events", events)
        stays, goes, everywhere = sorted(str(uuid4()) for _ in range(3))
        for uuid, where in (
            (stays, other_port),
            (goes, port),
            (everywhere, port),
            (everywhere, other_port),
        ):
            key = await SessionKeys(bus).issue("user", uuid)
            client = await connect(where, f"/wss/user?id={key}")
            self.addCleanup(lambda one: Deferred.fromCoroutine(leave(one)), client)
        await events.wait(3)
        assert await self.online(bus) == sorted((stays, goes, everywhere))
        first.send(signal.SIGKILL)
        # Only this test waits for a real lease to expire.
        (event,) = unpack_all(TeraEvent.FromString((await events.wait(4))[-1].payload).events)
        assert isinstance(event, UserEvent)
        assert (event.type, event.user_uuid) == (UserEvent.USER_DISCONNECTED, goes)
        assert await self.online(bus) == sorted((stays, everywhere))
        assert await bus.presence.online("user") == sorted((stays, everywhere))

    async def test_a_stopped_program_leaves_no_client_online(self) -> None:
        server = start_server(self)
        bus = await self.bus(server.url)
        ((program, port),) = await self.start_serving(server.url, 1)
        key = await SessionKeys(bus).issue("user", UUID)
        client = await connect(port, f"/wss/user?id={key}")
        await until(lambda: self.online(bus), lambda online: online == [UUID])
        program.send(signal.SIGTERM)
        assert (await client.closed)[0] == 1001
        assert await program.ended() in ENDED
        with server.client() as other:
            names: Any = other.keys("opentera.*")
            left = {name.decode().rpartition("opentera.")[2] for name in names}
        claims = {name for name in left if name.startswith("claim.")}
        # The module may or may not receive the last report: the shutdown has that race.
        assert left - claims - {"presence.listening"} == {
            "user_manager.log",
            "user_manager.log.start",
        }

    async def test_a_second_user_manager_ends_with_one_line(self) -> None:
        topic = f"module.{USER_MANAGER_MODULE}.rpc"
        existing = ExistingServer(self.redis, topic, online_users=list)
        self.addCleanup(existing.close)
        program, _ = self.start("--redis", self.gateway_url, "--user-manager")
        assert await program.ended() == 1
        (line,) = (line for line in program.output.splitlines() if topic in line)
        assert "another program already serves" in line
        assert "Traceback" not in program.output


class EmbeddedTests(ProgramTestCase):
    async def test_auto_starts_a_server_that_ends_with_the_program(self) -> None:
        for end in ("SIGTERM", "SIGINT", "SIGKILL"):
            redis_port = free_port()
            program, _ = self.start(redis_port=redis_port)
            await program.says("is ready")
            pid = await server_pid(redis_port)
            if end == "SIGINT":
                program.interrupt()
            else:
                program.send(signal.Signals[end])
            await program.ended()
            await deferToThread(wait_for_end, pid)

    async def test_ctrl_c_closes_clients_before_the_server_ends(self) -> None:
        redis_port = free_port()
        program, port = self.start(redis_port=redis_port)
        await program.says("is ready")
        bus = await self.bus(f"redis://127.0.0.1:{redis_port}")
        key = await SessionKeys(bus).issue("user", UUID)
        client = await connect(port, f"/wss/user?id={key}")
        await bus.stopService()
        program.interrupt()
        assert (await client.closed)[0] == 1001
        assert await program.ended() in ENDED
        assert "did not confirm" not in program.output

    async def test_auto_uses_a_running_redis(self) -> None:
        program, _ = self.start(redis_port=self.server.port)
        await program.says("is ready")
        assert "using the Redis" in program.output
        program.send(signal.SIGTERM)
        await program.ended()
        assert self.redis.ping()

    async def test_a_directory_keeps_the_data(self) -> None:
        directory = folder_of(self)
        redis_port = free_port()
        for expected in (None, b"kept"):
            program, _ = self.start("--redis", f"embedded:{directory}", redis_port=redis_port)
            await program.says("is ready")
            with redis.Redis(port=redis_port, protocol=2) as client:
                assert client.get("a") == expected
                client.set("a", "kept")
            program.send(signal.SIGTERM)
            assert await program.ended() in ENDED

    async def test_another_program_on_the_port_is_named(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            redis_port = listener.getsockname()[1]
            program, _ = self.start(redis_port=redis_port)
            status = await program.ended()
        assert status != 0
        assert "a program other than Redis already listens on 127.0.0.1" in program.output
        assert "Traceback" not in program.output

    async def test_a_server_with_a_directory_does_not_use_another(self) -> None:
        program, _ = self.start("--redis", "embedded:/nonexistent", redis_port=self.server.port)
        assert await program.ended() != 0
        assert "a Redis server already listens on" in program.output

    async def test_a_server_that_cannot_start_ends_the_program(self) -> None:
        program, _ = self.start("--redis", "embedded:/proc/none", redis_port=free_port())
        assert await program.ended() != 0
        assert "/proc/none" in program.output
        assert "Traceback" not in program.output


class FailedStartTests(ProgramTestCase):
    """Tests of a start that fails after twistd daemonized, or in the foreground."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = folder_of(self)
        self.pidfile = self.directory / "twistd.pid"
        self.logfile = self.directory / "twistd.log"
        self.addCleanup(self.kill_daemon)

    def kill_daemon(self) -> None:
        if self.pidfile.exists():
            os.kill(int(self.pidfile.read_text()), signal.SIGKILL)

    def daemon(self, *options: str, redis_port: int | None = None) -> Process:
        program = twistd_daemon(
            *("--admin", "none", *options),
            redis_port=redis_port or free_port(),
            pidfile=str(self.pidfile),
            logfile=str(self.logfile),
        )
        self.addCleanup(program.kill)
        return program

    async def logged(self) -> str:
        return await deferToThread(self.logfile.read_text)

    async def has_pidfile(self) -> bool:
        return await deferToThread(self.pidfile.exists)

    async def fails(self, line: str, *options: str, redis_port: int | None = None) -> None:
        """Assert that both ways end with a nonzero status, the line, and no pidfile."""
        redis_port = redis_port or free_port()
        daemon = self.daemon(*options, redis_port=redis_port)
        assert await daemon.ended() == 1, daemon.output
        assert line[:60] in daemon.output, daemon.output  # twistd itself shows 98 bytes
        assert "Traceback" not in daemon.output
        if self.logfile.exists():  # the daemon notified its parent first
            await until(self.logged, lambda log: f"twistd opentera-bus: {line}" in log)
        await until(self.has_pidfile, lambda has: not has)
        pidfile = str(self.pidfile)
        program = twistd("--admin", "none", *options, redis_port=redis_port, pidfile=pidfile)
        self.addCleanup(program.kill)
        assert await program.ended() == 1, program.output
        last = program.output.splitlines()[-1]
        assert last.endswith(f"twistd opentera-bus: {line}"), program.output
        assert "Traceback" not in program.output
        assert not self.pidfile.exists()

    async def test_a_port_in_use(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            await self.fails(
                f"Couldn't listen on 127.0.0.1:{port}: [Errno 98] Address already in use.",
                *("--redis", self.gateway_url, "--websocket", f"tcp:{port}:interface=127.0.0.1"),
            )

    async def test_a_file_as_data_directory(self) -> None:
        file = self.directory / "file"
        file.touch()
        await self.fails(
            f"the embedded server cannot be started: [Errno 17] File exists: '{file}'",
            *(
                "--redis",
                f"embedded:{file}",
                "--websocket",
                f"tcp:{free_port()}:interface=127.0.0.1",
            ),
        )

    async def test_another_program_at_the_address_of_redis(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            redis_port = listener.getsockname()[1]
            await self.fails(
                f"a program other than Redis already listens on 127.0.0.1:{redis_port}; "
                "stop it, or pass the Redis to use with --redis",
                redis_port=redis_port,
            )

    async def test_unreadable_data_of_the_server(self) -> None:
        damaged = self.directory / "appendonlydir" / "appendonly.aof.manifest"
        damaged.parent.mkdir()
        damaged.write_text("no manifest\n")
        program = twistd(
            *("--admin", "none", "--websocket", f"tcp:{free_port()}:interface=127.0.0.1"),
            *("--redis", f"embedded:{self.directory}"),
            redis_port=free_port(),
            pidfile=str(self.pidfile),
        )
        self.addCleanup(program.kill)
        assert await program.ended() == 1
        assert "ended (exit status 1)" in program.output
        assert not self.pidfile.exists()

    async def test_a_daemon_reports_its_start_and_ends_on_sigterm(self) -> None:
        redis_port = free_port()
        daemon = self.daemon(
            "--websocket", f"tcp:{free_port()}:interface=127.0.0.1", redis_port=redis_port
        )
        assert await daemon.ended() == 0, daemon.output
        pid = int(self.pidfile.read_text())
        server = await server_pid(redis_port)
        os.kill(pid, signal.SIGTERM)
        await deferToThread(wait_for_end, pid)
        await deferToThread(wait_for_end, server)
        assert not self.pidfile.exists()


class MistakeTests(ProgramTestCase):
    async def test_a_wrong_option_ends_at_once_with_one_line(self) -> None:
        cases = {
            ("--redis", "http://x"): "--redis: ",
            ("--redis", "redis://:hush@h/x"): "--redis: ",
            ("--redis", "embedded:"): "--redis: ",
            ("--websocket", "nonsense"): "--websocket: expected an endpoint such as ",
            ("--websocket", "tcp:abc"): "--websocket: expected an endpoint such as ",
            ("--max-clients", "-1"): "--max-clients: expected an integer ≥ 0, not '-1'",
            ("--handshake-timeout", "nan"): "--handshake-timeout: expected seconds from 0 ",
            ("--on-gap", "x"): "--on-gap: expected one of keep, close, not 'x'",
            ("--console", "x"): "--console: expected one of read, write, off, not 'x'",
            ("--admin", "tcp:0"): "--admin: other machines can reach 'tcp:0'",
            ("--admin-token-file", "/none"): "--admin-token-file: cannot read /none",
            ("--no-such-option",): "no-such-option",
            ("argument",): "argument",
        }
        programs = {options: twistd(*options) for options in cases}
        for program in programs.values():
            self.addCleanup(program.kill)
        await gatherResults([program.ended() for program in programs.values()])
        for options, program in programs.items():
            assert await program.ended() != 0, options
            assert program.output.count("\n") == 1, program.output
            assert program.output.startswith("twistd opentera-bus: "), program.output
            assert cases[options] in program.output
            assert "hush" not in program.output

    async def test_a_port_in_use_is_named(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            program = twistd("--redis", self.gateway_url, "--websocket", f"tcp:{port}")
            self.addCleanup(program.kill)
            assert await program.ended() != 0
        assert f"Couldn't listen on any:{port}" in program.output
        assert "Traceback" not in program.output

    async def test_twistd_lists_the_command_and_its_help(self) -> None:
        listing = Process(
            sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "--help"
        )
        self.addCleanup(listing.kill)
        assert await listing.ended() == 0
        assert "opentera-bus" in listing.output
        program = twistd("--help")
        self.addCleanup(program.kill)
        assert await program.ended() == 0
        for option in (
            "--redis",
            "--websocket",
            "--admin",
            "--name",
            "--require-bound-keys",
            "--user-manager",
        ):
            assert option in program.output


def test_auto_uses_the_default_url() -> None:
    from opentera_twisted.link import DEFAULT_URL  # noqa: PLC0415
    from opentera_twisted.program import options  # noqa: PLC0415 (it needs a reactor)

    assert options.parse_redis("auto").url == DEFAULT_URL
