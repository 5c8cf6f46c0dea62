"""The log of the program: one object per line, and counts of repeated warnings."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from importlib.metadata import version
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any
from unittest import skipUnless

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.error import ConnectError
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.logger import FileLogObserver, LogEvent, Logger, LogLevel, formatEvent
from twisted.python import log as legacy

from opentera_twisted import SessionKeys
from opentera_twisted.gateway.audit import NAMESPACE
from opentera_twisted.link import RedisAddress
from opentera_twisted.program.log.bounded import BURST, INTERVAL, KINDS, REPEATS, Bounded
from opentera_twisted.program.log.destination import Selected
from opentera_twisted.program.log.line_format import json_line
from opentera_twisted.program.log.log_file import RotatedFile
from opentera_twisted.program.log.unblocked import MOST, Unblocked, UnblockedFile, unblocked
from tests.helpers.admin import ask
from tests.helpers.processes import ENVIRONMENT, Process, twistd, twistd_daemon
from tests.helpers.strategies import any_text
from tests.helpers.support import (
    GUARD,
    UUID,
    RedisTestCase,
    folder_of,
    free_port,
    start_server,
    until,
)
from tests.helpers.websockets import HandshakeFailed, WebSocket, connect, connect_bytes, handshake
from tests.program.test_program import ENDED, wait_for_end


def test_a_line_written_during_a_rotation_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = RotatedFile.fromFullPath(str(tmp_path / "log"), rotateLength=5)
    rename = os.rename

    def interrupted(*names: str) -> None:
        file.write("before\n")  # as a signal handler does
        rename(*names)
        file.write("after\n")

    monkeypatch.setattr(os, "rename", interrupted)
    file.write("first\n")
    file.write("second\n")
    file.close()
    assert (tmp_path / "log.1").read_text() == "first\nbefore\nafter\n"
    assert (tmp_path / "log").read_text() == "second\n"


def test_a_failed_rotation_keeps_writing_to_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = RotatedFile.fromFullPath(str(tmp_path / "log"))
    monkeypatch.setattr(os, "access", lambda *_: False)
    file.rotate()
    file.write("line\n")
    file.close()
    assert (tmp_path / "log").read_text() == "line\n"


class Lines:
    """An observer that parses the JSON that it wrote."""

    def __init__(self) -> None:
        self._file = io.StringIO()
        self.observer = FileLogObserver(self._file, json_line)
        self.source = Logger("a.module", observer=self.observer)

    def read(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._file.getvalue().splitlines()]


class TestLines:
    def test_an_event(self) -> None:
        lines = Lines()
        address = RedisAddress.parse("redis://:hush@h")
        lines.source.warn(
            "no {role} connection to {address}, {seconds:.1f} s, {kind!r}, {list[0]}, {call()}",
            role="client",
            address=address,
            seconds=1.25,
            kind="x",
            list=[float("inf")],
            call=lambda: None,
            secret="hush",
        )
        (line,) = lines.read()
        assert datetime.fromisoformat(line.pop("time")).utcoffset() is not None
        assert line == {
            "level": "warn",
            "module": "a.module",
            "event": "no client connection to redis://h:6379/0, 1.2 s, 'x', inf, None",
            "fields": {
                "role": "client",
                "address": "redis://h:6379/0",
                "seconds": 1.25,
                "kind": "x",
                "list[0]": "inf",
                "call()": None,
            },
        }

    def test_a_failure_has_its_traceback(self) -> None:
        lines = Lines()
        try:
            raise ValueError("a\nb")
        except ValueError:
            lines.source.failure("{what} failed", what="it")
        (line,) = lines.read()
        assert (line["level"], line["event"], line["fields"]) == (
            "critical",
            "it failed",
            {"what": "it"},
        )
        assert "ValueError: a\nb" in line["traceback"]

    def test_legacy_log_events_are_written(self) -> None:
        lines = Lines()
        publisher = legacy.LogPublisher(publishPublisher=lines.observer)
        publisher.msg("plain", "text")
        (line,) = lines.read()
        assert (line["level"], line["event"], line["fields"]) == ("info", "plain text", {})

    def test_an_empty_event_is_skipped(self) -> None:
        assert json_line({}) is None

    @given(
        any_text(max_size=30),
        st.dictionaries(
            st.text("ab.[]()!:", max_size=3),
            st.none() | st.floats() | any_text(max_size=3) | st.binary(max_size=3),
        ),
    )
    def test_every_event_is_one_line_of_json(self, text: str, fields: dict[str, Any]) -> None:
        line = json_line({"log_format": text, "log_level": LogLevel.info, **fields})
        if line is not None:
            assert line.endswith("\n")
            assert line.count("\n") == 1
            json.loads(line, parse_constant=pytest.fail)


class TestBounded:
    def setup_method(self) -> None:
        self.clock = Clock()
        self.events: list[LogEvent] = []
        self.bounded = Bounded(self.events.append, self.clock.callLater)
        self.source = Logger("a.module", observer=self.bounded)

    def texts(self) -> list[str]:
        found = [formatEvent(event) for event in self.events]
        self.events.clear()
        return found

    def test_repeated_warnings_are_counted(self) -> None:
        for _ in range(REPEATS + 7):
            self.source.warn("no {what}", what="a")
        assert self.texts() == ["no a"] * REPEATS
        self.source.warn("no {what}", what="b")
        self.source.error("no {what}", what="a")
        self.source.warn("other")
        assert self.texts() == ["no b", "no a", "other"]
        self.clock.advance(INTERVAL)
        (event,) = self.events
        assert event["log_level"] is LogLevel.warn
        assert event["log_namespace"] == "a.module"
        assert self.texts() == [f"7 more like this in {INTERVAL:g} s, the last: no a"]
        self.source.warn("no {what}", what="a")
        assert self.texts() == ["no a"]
        self.clock.advance(INTERVAL)
        assert self.texts() == []
        assert not self.clock.getDelayedCalls()

    def test_similar_warnings_are_counted_together(self) -> None:
        for number in range(BURST + 5):
            self.source.error("no {number}", number=number)
        assert len(self.texts()) == BURST
        self.bounded.flush()
        assert self.texts() == [f"5 more like this in {INTERVAL:g} s, the last: no {BURST + 4}"]
        self.bounded.flush()
        assert self.texts() == []

    def test_other_levels_are_never_held_back(self) -> None:
        for _ in range(100):
            self.source.info("a")
            self.source.debug("b")
        assert len(self.events) == 200

    def test_failures_are_distinguished_by_their_exception(self) -> None:
        for number in range(3):
            for _ in range(REPEATS + 1):
                try:
                    raise ValueError(number)
                except ValueError:
                    self.source.failure("failed")
        assert len(self.events) == 3 * REPEATS

    def test_excess_kinds_are_counted_together(self) -> None:
        for number in range(KINDS + 200):
            self.source.warn("kind " + str(number))
        assert KINDS < len(self.events) <= KINDS + BURST
        assert len(self.clock.getDelayedCalls()) == KINDS + 1

    def test_threads_lose_nothing(self) -> None:
        def work() -> None:
            for _ in range(500):
                self.source.warn("a")

        threads = [Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(GUARD)
        self.bounded.flush()
        assert [event.get("count", 1) for event in self.events] == [1] * REPEATS + [2000 - REPEATS]

    def test_a_finalizer_may_log_while_an_event_is_counted(self) -> None:
        kinds: list[int] = []

        def call_later(*_: Any) -> None:
            kinds.append(1)
            if len(kinds) == 1:
                source.warn("finalizer")

        source = Logger("a.module", observer=Bounded(self.events.append, call_later))
        thread = Thread(target=source.warn, args=("first",), daemon=True)
        thread.start()
        thread.join(GUARD)
        assert not thread.is_alive(), "deadlock"
        assert [event["log_format"] for event in self.events] == ["finalizer", "first"]


class TestUnblocked:
    def test_an_unread_log_blocks_no_writer(self) -> None:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writing, b"." * 512)
        os.set_blocking(writing, True)
        stream = Unblocked(writing, "utf-8", lambda count: f"lost {count}\n")
        line = "x" * 9_999 + "\n"
        for _ in range(1000):
            stream.write(line)
        kept = MOST // len(line)
        received = b""
        while received.count(b"\n") < kept:
            received += os.read(reading, 1_000_000)
        stream.drain()
        stream.write("again\n")
        while b"again\n" not in received:
            received += os.read(reading, 1_000_000)
        lines = received.decode().lstrip(".").splitlines(keepends=True)
        assert lines == [line] * kept + [f"lost {1000 - kept}\n", "again\n"]
        assert stream.lost_lines == 1000 - kept
        os.close(reading)
        stream.write("to nobody\n")
        while stream._size:
            stream.drain()
        assert stream.lost_lines == 1000 - kept + 1
        os.close(writing)

    def test_a_stalled_process_writes_all_lines_at_its_end(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reading, writing = os.pipe()
        stream = Unblocked(writing, "utf-8", str)
        stream.write("x" * 500_000)  # more than a pipe's buffer
        received = []

        def read() -> None:
            while data := os.read(reading, 1_000_000):
                received.append(data)

        reader = Thread(target=read, daemon=True)
        reader.start()
        wait = stream._changed.wait
        stalls = iter([True])

        def stalled(timeout: float | None = None) -> bool:
            if timeout is not None and next(stalls, False):
                return False  # an hour later, without a run of another thread
            return wait(timeout)

        monkeypatch.setattr(stream._changed, "wait", stalled)
        monkeypatch.setattr(threading, "_time", count(step=3600).__next__)
        stream.drain()
        monkeypatch.undo()
        os.close(writing)
        reader.join(GUARD)
        assert not stream._is_stuck
        assert sum(map(len, received)) == 500_000
        os.close(reading)

    def test_each_line_is_written_at_once_after_the_end(self) -> None:
        reading, writing = os.pipe()
        stream = Unblocked(writing, "utf-8", str)
        stream.finish()
        for number in range(100):
            stream.write(f"{number}\n")
            assert os.read(reading, 1_000) == f"{number}\n".encode()
            assert stream._size == 0
        os.close(writing)
        os.close(reading)

    def test_a_full_pipe_that_does_not_block_loses_nothing(self) -> None:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)  # as another program that shares the pipe may do
        stream = Unblocked(writing, "utf-8", str)
        text = "".join(f"{number}\n" for number in range(50_000))
        stream.write(text)
        received = b""
        os.set_blocking(reading, False)
        is_left = True
        while is_left:
            is_left = stream._size > 0
            with contextlib.suppress(BlockingIOError):
                received += os.read(reading, 1_000_000)
        assert received.decode() == text
        os.close(reading)
        os.close(writing)

    def test_a_finalizer_may_log_while_lines_are_put_together(self) -> None:
        class Lines(deque[bytes]):
            def __iter__(self) -> Iterator[bytes]:
                lines = super().__iter__()
                yield next(lines)
                stream.write("finalizer\n")
                yield from lines

        reading, writing = os.pipe()
        stream = Unblocked(writing, "utf-8", str)
        stream._lines = Lines()
        stream.write("first\n")
        received = b""
        while b"finalizer\n" not in received:
            stream.write("next\n")
            received += os.read(reading, 1_000_000)
        os.close(writing)
        os.close(reading)

    def test_a_file_is_written_as_it_is(self, tmp_path: Path) -> None:
        with (tmp_path / "log").open("w") as file:
            assert unblocked(file, str) is file


class TestUnblockedFile:
    def test_a_slow_disk_blocks_no_writer(self) -> None:
        may_go_on = threading.Event()
        written: list[bytes] = []

        class SlowFile:
            def write(self, data: bytes) -> None:
                assert may_go_on.wait(GUARD)
                written.append(data)

        file = UnblockedFile(SlowFile(), lambda count: f"lost {count}\n")
        line = "x" * 9_999 + "\n"
        for _ in range(1000):
            file.write(line)
        kept = MOST // len(line)
        may_go_on.set()
        while sum(map(len, written)) < kept * len(line):
            file.drain()
        file.write("again\n")
        while not written[-1].endswith(b"again\n"):
            file.drain()
        text = b"".join(written).decode()
        assert text == line * kept + f"lost {1000 - kept}\nagain\n"
        assert file.lost_lines == 1000 - kept

    def test_lines_that_a_full_disk_refuses_are_counted(self) -> None:
        is_full = True
        written: list[bytes] = []

        class FullFile:
            def write(self, data: bytes) -> None:
                if is_full:
                    raise OSError(errno.ENOSPC, "full")
                written.append(data)

        file = UnblockedFile(FullFile(), lambda count: f"lost {count}\n")
        for _ in range(3):
            file.write("line\n")
            while file._size:
                file.drain()
        is_full = False
        file.write("again\n")
        while not written:
            file.drain()
        assert b"".join(written) == b"lost 3\nagain\n"
        assert file.lost_lines == 3


class TestSelected:
    def texts(self, level: str) -> list[str]:
        events: list[LogEvent] = []
        selected = Selected(events.append, level)
        source = Logger("a.module", observer=selected)
        for name in ("debug", "info", "warn", "error", "critical"):
            source.emit(LogLevel.levelWithName(name), name)
        Logger(NAMESPACE, observer=selected).info("audit")
        legacy.LogPublisher(publishPublisher=selected).msg("Twisted's own")
        return [formatEvent(event) for event in events]

    def test_a_level_and_those_above_are_written(self) -> None:
        everything = ["debug", "info", "warn", "error", "critical", "Twisted's own"]
        assert self.texts("debug") == everything
        assert self.texts("info") == everything[1:5]
        assert self.texts("error") == everything[3:5]


class LogTestCase(RedisTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = folder_of(self)

    def start(self, *options: str, url: str | None = None) -> tuple[Process, int]:
        port = free_port()
        program = twistd(
            *("--redis", url or self.server.url, "--admin", "none"),
            *("--websocket", f"tcp:{port}:interface=127.0.0.1", *options),
        )
        self.addCleanup(program.kill)
        return program, port


class ProgramTests(LogTestCase):
    async def test_every_line_is_an_object_and_no_secret_is_in_one(self) -> None:
        server = start_server(self, "--requirepass", "hush")
        program, port = self.start(
            "--log-format", "json", url=f"redis://:hush@127.0.0.1:{server.port}"
        )
        await program.says("is ready")
        bus = await self.bus(f"redis://:hush@127.0.0.1:{server.port}")
        key = await SessionKeys(bus).issue("user", UUID)
        client = await connect(port, f"/wss/user?id={key}")
        for wrong in ("user." + "x" * 43, "nonsense"):
            with pytest.raises(Exception, match="403"):
                await connect(port, f"/wss/user?id={wrong}")
        program.send(signal.SIGTERM)
        assert (await client.closed)[0] == 1001
        assert await program.ended() in ENDED
        lines = [json.loads(line) for line in program.output.splitlines()]
        assert all({"time", "level", "module", "event", "fields"} <= line.keys() for line in lines)
        (ready,) = (line for line in lines if "is ready" in line["event"])
        assert ready["fields"] == {"address": f"redis://127.0.0.1:{server.port}/0"}
        assert ready["module"] == "opentera_twisted.link.server_link.ServerLink"
        assert ready["level"] == "info"
        assert any("starting up" in line["event"] for line in lines)
        for secret in ("hush", key, key.partition(".")[2]):
            assert secret not in program.output

    async def test_the_audit_log_has_its_own_file(self) -> None:
        audit = self.directory / "audit.log"
        program, port = self.start(
            *("--log-format", "json", "--log-level", "warn", "--audit-log", str(audit)),
            *("--workers", "2"),
        )

        async def is_refused() -> bool:
            with contextlib.suppress(ConnectError, HandshakeFailed):
                key = await keys.issue("user", UUID)
                await connect(port, f"/wss/user?id={key}")
                return True
            return False

        keys = SessionKeys(await self.bus())
        await until(is_refused, bool)
        program.send(signal.SIGTERM)
        assert await program.ended() in ENDED
        assert program.output == "", "nothing at this level"
        lines = [json.loads(line) for line in audit.read_text().splitlines()]
        assert {line["module"] for line in lines} == {NAMESPACE}
        events = [line["event"].partition(": ")[2].partition(" ")[0] for line in lines]
        assert [event for event in events if event != "refusal"] == ["login", "disconnect"]
        assert lines[-1]["fields"]["uuid"] == UUID
        assert audit.stat().st_mode & 0o777 == 0o600

    async def test_an_audit_log_that_cannot_be_opened_ends_the_program(self) -> None:
        program, _ = self.start("--audit-log", "/nowhere/audit.log")
        assert await program.ended() == 1
        assert "--audit-log: cannot write '/nowhere/audit.log': No such file" in program.output

    @skipUnless(Path("/dev/full").exists(), "needs /dev/full")
    async def test_lost_lines_of_the_audit_log_are_a_metric(self) -> None:
        for workers, ready in (("1", "is ready"), ("2", "workers are ready")):
            audit, admin = self.directory / f"audit{workers}.log", free_port()
            await deferToThread(audit.symlink_to, "/dev/full")
            program, port = self.start(
                *("--audit-log", str(audit), "--workers", workers),
                *("--admin", f"tcp:{admin}:interface=127.0.0.1"),
            )
            await program.says(ready)
            page = partial(lost_lines, f"http://127.0.0.1:{admin}/metrics")
            assert await page() == {"program": 0, "audit": 0}
            with pytest.raises(HandshakeFailed):
                await connect(port, "/wss/user?id=x")
            found = await until(page, lambda counts: counts["audit"] > 0)
            assert found == {"program": 0, "audit": 1}

    async def test_the_first_line_has_the_version(self) -> None:
        program, _ = self.start()
        await program.says("is ready")
        first = program.output.partition("\n")[0]
        assert f"opentera-twisted {version('opentera-twisted')} starts" in first
        assert "starting on" not in program.output

    async def test_a_daemon_writes_its_file_and_rotates_it(self) -> None:
        pidfile, logfile = self.directory / "pid", self.directory / "log"
        audit = self.directory / "audit"
        daemon = twistd_daemon(
            *("--redis", self.server.url, "--admin", "none", "--log-format", "json"),
            *("--websocket", f"tcp:{free_port()}:interface=127.0.0.1", "--audit-log", str(audit)),
            redis_port=free_port(),
            pidfile=str(pidfile),
            logfile=str(logfile),
        )
        self.addCleanup(daemon.kill)
        assert await daemon.ended() == 0, daemon.output
        pid = int(pidfile.read_text())
        self.addCleanup(kill, pid)

        async def lines() -> list[dict[str, Any]]:
            text = await deferToThread(logfile.read_text)
            return [json.loads(line) for line in text.splitlines(keepends=True) if line[-1] == "\n"]

        await until(lines, lambda found: any("is ready" in line["event"] for line in found))
        os.kill(pid, signal.SIGUSR1)
        rotated = logfile.with_name("log.1")

        async def is_rotated() -> bool:
            audits = audit.with_name("audit.1")
            return await deferToThread(lambda: rotated.exists() and audits.exists())

        await until(is_rotated, bool)
        assert "is ready" in rotated.read_text()
        os.kill(pid, signal.SIGTERM)
        await deferToThread(wait_for_end, pid)
        # In the new file, or at the end of the old one if logged before the rotation ended.
        assert "shutting down" in rotated.read_text() + logfile.read_text()

    def start_unread(self, log: int) -> tuple[subprocess.Popen[bytes], int]:
        """Start a program that logs to a descriptor and trusts forwarded addresses."""
        port = free_port()
        program = subprocess.Popen(
            [
                *(str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile="),
                *("opentera-bus", "--redis", self.server.url, "--admin", "none"),
                *("--websocket", f"tcp:{port}:interface=127.0.0.1"),
                *("--trusted-proxy", "127.0.0.1"),
            ],
            stdout=log,
            stderr=log,
            env=ENVIRONMENT,
            cwd="/",
        )
        return program, port

    async def test_an_unread_log_does_not_stop_the_program(self) -> None:
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        if sys.platform == "linux":
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
        program, port = self.start_unread(writing)
        os.close(writing)
        self.addCleanup(program.wait)
        self.addCleanup(program.kill)
        keys = SessionKeys(await self.bus())

        async def log_in() -> WebSocket | None:
            try:
                return await connect(port, f"/wss/user?id={await keys.issue('user', UUID)}")
            except (HandshakeFailed, ConnectError):
                return None

        await until(log_in, bool)
        for number in range(200):
            client = await connect_bytes(port)
            forwarded = f"X-Forwarded-For: 192.0.2.{number}".encode()
            client.send(handshake(b"/wss/user?id=x", forwarded))
            assert (await client.closed).split()[1] == b"403"
        last = await log_in()
        assert last is not None
        program.send_signal(signal.SIGTERM)
        assert (await last.closed)[0] == 1001
        assert await deferToThread(program.wait) in ENDED

    async def test_twistd_s_own_ways_to_log_have_their_own_format(self) -> None:
        for option in ("--syslog", "--logger=twisted.logger.eventAsJSON"):
            program = twistd("--log-format", "json", own=[option])
            self.addCleanup(program.kill)
            assert await program.ended() == 1
            assert (
                "--log-format: json cannot be combined with twistd's --logger or --syslog"
                in program.output
            )

    async def test_repeated_outages_are_counted(self) -> None:
        """Check the gateway's text log, as twistd writes it."""
        program, _ = self.start()
        await program.says("is ready")
        rounds = BURST + 1  # the cause has several wordings
        for number in range(rounds):
            self.redis.client_kill_filter(_type="pubsub")
            await deferToThread(program.wait_for_count, "is ready", number + 2)
        program.send(signal.SIGTERM)
        assert await program.ended() in ENDED
        assert REPEATS <= program.output.count("trying again: ") < rounds + 1
        assert re.search(r"[1-9][0-9]* more like this in 60 s, the last: no ", program.output)
        assert program.output.endswith("Server Shut Down.\n")


async def lost_lines(url: str) -> dict[str, float]:
    """Return the lost lines by log, as a page of metrics counts them."""
    page = (await deferToThread(ask, url)).body.decode()
    return {
        sample.labels["log"]: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "opentera_bus_log_lines_lost_total"
    }


def kill(pid: int) -> None:
    """Kill a daemon left by a failed test."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
