"""Parts of ``--workers``: the channel, forwarded logs, and a pool with failing workers."""

from __future__ import annotations

import errno
import json
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.logger import Logger, LogLevel, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase

from opentera_twisted import Bus, SessionKeys
from opentera_twisted._internal import garbage
from opentera_twisted.holders import GATEWAYS, REPORTS
from opentera_twisted.messages import UserEvent
from opentera_twisted.messages.envelopes import module_message
from opentera_twisted.messages.templates import template
from opentera_twisted.presence_lease import Lease, Transition
from opentera_twisted.program.gateway_options import gateway_settings
from opentera_twisted.program.log.bounded import BURST, Bounded
from opentera_twisted.program.log.line_format import json_line
from opentera_twisted.program.options import Options
from opentera_twisted.program.workers import Pool, WorkerSettings, process
from opentera_twisted.program.workers import pool as pools
from opentera_twisted.program.workers.channel import DESCRIPTOR, Channel
from opentera_twisted.program.workers.log import from_text, to_text
from opentera_twisted.program.workers.overview import AllWorkers
from opentera_twisted.program.workers.process import Worker
from tests.helpers.processes import UNMEASURED
from tests.helpers.support import (
    UUID,
    Collector,
    RedisTestCase,
    free_port,
    log_of,
    message,
    turn,
    until,
)
from tests.helpers.websockets import connect


class Pair:
    """Two ends of a channel in memory."""

    def __init__(self, **answers: Any) -> None:
        self.lost = Collector()
        self.asking = Channel({})
        self.answering = Channel(answers, self.lost)
        for end in (self.asking, self.answering):
            end.makeConnection(StringTransport())

    def carry(self) -> None:
        """Transfer pending data both ways, byte by byte."""
        for here, there in ((self.asking, self.answering), (self.answering, self.asking)):
            said: Any = here.transport
            for byte in said.value():
                there.dataReceived(bytes([byte]))
            said.clear()


class ChannelTests(TestCase):
    def test_commands_run_and_requests_are_answered(self) -> None:
        told = Collector()
        pair = Pair(tell=told, double=lambda number: 2 * number)
        pair.asking.tell("tell", {"é": [1.5, None]})
        answers = [pair.asking.ask("double", number) for number in (2, 3)]
        pair.carry()
        assert told.items == [{"é": [1.5, None]}]
        assert [self.successResultOf(answer) for answer in answers] == [4, 6]

    def test_an_answer_to_a_cancelled_request_is_dropped(self) -> None:
        pair = Pair(name=str)
        answer = pair.asking.ask("name")
        answer.cancel()
        self.failureResultOf(answer)
        pair.carry()
        assert self.successResultOf(self.asked(pair, "name")) == ""

    @staticmethod
    def asked(pair: Pair, name: str) -> Deferred[Any]:
        answer = pair.asking.ask(name)
        pair.carry()
        return answer

    def test_a_failing_command_is_logged_and_the_channel_continues(self) -> None:
        pair = Pair(fail=lambda: 1 / 0, name=lambda: "n")
        self.assertNoResult(self.asked(pair, "fail"))
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1
        assert self.successResultOf(self.asked(pair, "name")) == "n"

    def test_the_peers_end_is_reported_and_fails_requests(self) -> None:
        pair = Pair()
        waiting = pair.asking.ask("name")
        for end in (pair.asking, pair.answering):
            end.connectionLost(Failure(ConnectionDone()))
        self.failureResultOf(waiting, ConnectionDone)
        self.failureResultOf(pair.asking.ask("name"), ConnectionDone)
        pair.asking.tell("name")
        assert len(pair.lost.items) == 1


class Address:
    """A value that JSON cannot hold."""

    port = 6379

    def __str__(self) -> str:
        return "redis://h"


class LogTests(TestCase):
    def event(self, text: str, level: LogLevel = LogLevel.info, **values: Any) -> Any:
        """Return an event as the parent receives it, and the original."""
        events: list[Any] = []
        observer: Any = events.append
        Logger("a.module", observer=observer).emit(level, text, **values)
        return from_text(to_text(events[0]), 2), events[0]

    def test_the_text_is_the_same_and_says_which_worker(self) -> None:
        for text in (
            "link to {address} is ready",
            "port {address.port} after {seconds:.1f} s: {what!r}",
            "{{nothing}}",
        ):
            carried, was = self.event(text, address=Address(), seconds=1.25, what="é\n", key="hush")
            assert formatEvent(carried) == f"worker 2: {formatEvent(was)}"

    def test_the_line_of_json_has_the_same_fields_and_the_worker(self) -> None:
        carried, was = self.event(
            "{address} {seconds}", LogLevel.warn, address=Address(), seconds=2
        )
        line, there = json.loads(json_line(carried) or ""), json.loads(json_line(was) or "")
        assert line["fields"] == {**there["fields"], "worker": 2}
        assert there["fields"] == {"address": "redis://h", "seconds": 2}
        for name in ("time", "level", "module"):
            assert line[name] == there[name]

    def test_a_failure_keeps_its_traceback(self) -> None:
        try:
            raise ValueError("no such thing")
        except ValueError:
            carried, _ = self.event("it failed", LogLevel.critical, log_failure=Failure())
        line = json.loads(json_line(carried) or "")
        assert "ValueError: no such thing" in line["traceback"]
        assert "test_a_failure_keeps_its_traceback" in line["traceback"]

    def test_a_flood_of_one_kind_holds_back_no_other_of_its_module(self) -> None:
        written: list[Any] = []
        bounded = Bounded(written.append, lambda *_: None)
        for number in range(2 * BURST):
            bounded(self.event("it is {number}", LogLevel.warn, number=number)[0])
        bounded(self.event("it is another", LogLevel.warn)[0])
        assert len(written) == BURST + 1
        assert formatEvent(written[-1]) == "worker 2: it is another"


class Fake:
    """A worker without a process: the first one listens at once, others cannot start."""

    def __init__(
        self,
        number: int,
        settings: WorkerSettings,
        changed: Callable[[], None],
        has_ended: Callable[[Any, str], None],
    ) -> None:
        self.number = number
        self.pid = 0
        self.state = "starting"
        self.is_ready = False
        self.lease: str | None = None
        self.silent = self.idle = 0
        self._used = 0.0
        self.killed = Collector()
        self.kill = self.killed
        self._changed = changed

    owes_a_report: Any = Worker.owes_a_report

    def spawn(self, reactor: Any, descriptors: Any) -> None:
        """Start, or fail."""
        if self.number > 1:
            raise OSError(errno.EAGAIN, "no more processes")
        self.state = "listening"
        self.lease = "one"
        self._changed()


class TimeTests(TestCase):
    """Timing of a pool, without processes."""

    def pool(self, count: int, patience: int) -> Pool:
        self.patch(pools, "Worker", Fake)
        self.clock = Clock()
        nothing = WorkerSettings(redis="", name="", gateway={})
        started = Pool(self.clock, count, (), nothing, pytest.fail, patience)
        started.startService()
        return started

    def test_a_failing_worker_is_retried_while_another_serves(self) -> None:
        started = self.pool(2, 10**6)
        tries = 3_000  # a delay doubled that often would overflow
        for _ in range(tries):
            calls: Any = self.clock.getDelayedCalls()
            (call,) = [pending for pending in calls if pending.func == started._start]
            wait = call.getTime() - self.clock.seconds()
            self.clock.advance(wait)
        assert wait == pools.WAIT_AT_MOST
        assert started.replaced == tries + 1

    def test_each_caller_of_a_stop_waits_for_the_workers(self) -> None:
        started = self.pool(1, 10**6)
        worker: Any = started.workers[1]
        worker.stop = Collector()
        stopped = [started.stopService() for _ in range(2)]
        for waiting in stopped:
            self.assertNoResult(waiting)
        started._ended(worker, "exit status 0")
        for waiting in stopped:
            self.successResultOf(waiting)

    def test_the_start_timeout_grows_with_the_number_of_workers(self) -> None:
        started = self.pool(1, patience=5)
        (one,) = started.workers.values()
        fake: Any = one
        for _ in range(5 + pools.SLOW_START - 1):
            self.clock.advance(1)
        assert not fake.killed.items
        self.clock.advance(1)
        assert fake.killed.items
        many: Any = self.pool(9, patience=5).workers[1]
        for _ in range(5 + 9 * pools.SLOW_START - 1):
            self.clock.advance(1)
        assert not many.killed.items

    def test_a_late_worker_that_uses_the_cpu_is_not_hung(self) -> None:
        started = self.pool(1, patience=5)
        self.patch(process, "cpu_time", lambda _: self.clock.seconds())
        worker: Any = started.workers[1]
        for _ in range(pools.SLOW_START + pools.BUSY * 5 - 1):
            self.clock.advance(1)
        assert not worker.killed.items
        self.clock.advance(1)
        assert worker.killed.items, "an endless loop uses CPU time too"

    def test_a_worker_hangs_from_when_it_last_used_the_cpu(self) -> None:
        started = self.pool(1, patience=5)
        used = 1.0
        self.patch(process, "cpu_time", lambda _: used)
        worker: Any = started.workers[1]
        for _ in range(pools.SLOW_START + 4):
            self.clock.advance(1)
        used = 2.0
        for _ in range(5):
            self.clock.advance(1)
        assert not worker.killed.items
        self.clock.advance(1)
        assert worker.killed.items

    def test_cpu_time_is_that_of_the_process(self) -> None:
        if not Path("/proc/self/stat").exists():
            raise SkipTest("this system has no /proc")
        before = process.cpu_time(os.getpid())
        while process.cpu_time(os.getpid()) == before:
            pass
        assert process.cpu_time(2**30) == 0


SAYS_MUCH_AND_ENDS = f"""
import json, os, socket
channel = socket.socket(fileno={DESCRIPTOR})
channel.setblocking(True)
event = dict(time=0, level="info", namespace="n", system=None, format="", fields={{}}, raised=None)
for number in range(1000):
    event["text"] = f"said {{number}} {{'-' * 999}}"
    text = json.dumps([None, "log", [json.dumps(event)]])
    channel.sendall(len(text).to_bytes(4, "big") + text.encode())
os._exit(3)
"""

TELLS_OF_ITS_GARBAGE = f"""
import gc, runpy
runpy.run_path({str(process.BOOTSTRAP)!r})["main"]()
print("collects", gc.get_threshold(), gc.get_freeze_count() > 0)
"""


class Unable:
    """A reactor that cannot start a process."""

    def __init__(self) -> None:
        self.failed = Collector()

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)

    def spawnProcess(self, *_: Any, **__: Any) -> None:
        """Fail like a system without free processes."""
        self.failed()
        raise OSError(errno.EAGAIN, "no more processes")


def watched() -> list[Any]:
    """Return the readers and writers of the reactor."""
    here: Any = reactor
    return [*here.getReaders(), *here.getWriters()]


class PoolTests(RedisTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(os, "environ", {**os.environ, **UNMEASURED})

    def script(self, text: str) -> None:
        """Replace the program of the workers."""
        script = tempfile.NamedTemporaryFile("w", suffix=".py")  # noqa: SIM115 (closed at the end)
        self.addCleanup(script.close)
        script.write(text)
        script.flush()
        self.patch(process, "BOOTSTRAP", Path(script.name))

    def pool(self, reactor: Any = reactor, **options: Any) -> Pool:
        """Return a started pool of two workers on a free port."""
        self.port = free_port()
        known = Options()
        known.parseOptions(["--admin", "none"])
        self.given_up = Collector()
        pool = Pool(
            reactor,
            2,
            [f"tcp:{self.port}:interface=127.0.0.1"],
            WorkerSettings(
                redis=self.gateway_url, name="pooled", gateway=gateway_settings(known).as_json()
            ),
            self.given_up,
            **options,
        )
        self.changed = Collector()
        pool.on_changed.append(self.changed)
        pool.privilegedStartService()
        pool.startService()
        self.addCleanup(pool.stopService)
        return pool

    async def ready(self, pool: Pool) -> None:
        while pool.missing():
            await self.changed.wait(len(self.changed.items) + 1)

    async def test_a_hung_worker_is_killed_and_replaced(self) -> None:
        log = log_of(self)
        died = Collector()
        pool = self.pool(patience=5)
        pool.on_died.append(died)
        pool._watch.stop()
        await self.ready(pool)
        hangs, other = pool.workers[1], pool.workers[2]
        os.kill(hangs.pid, signal.SIGSTOP)

        async def owed() -> int:
            await turn()
            return other.silent

        while not died.items:
            pool._check()
            # A check counts for the other worker only if it had time to report.
            await until(owed, lambda reports: reports <= 0)
        assert died.items == [hangs]
        await self.ready(pool)
        assert pool.workers[1].pid != hangs.pid
        assert pool.replaced == 1
        text = f"worker 1, process {hangs.pid}, does not respond; killing it"
        assert any(text in line for line in log.items)
        key = await SessionKeys(await self.bus()).issue("user", UUID)
        client = await connect(self.port, f"/wss/user?id={key}")
        client.sendClose()
        await client.closed

    async def test_the_pool_gives_up_when_no_worker_can_start(self) -> None:
        self.script("raise SystemExit('no such library')")
        log = log_of(self)
        pool = self.pool()
        (reason,) = await self.given_up.wait(1)
        assert reason.startswith("no worker can start; the last one ended: exit status 1")
        assert "no such library" in reason
        assert sum("replacing it" in text for text in log.items) >= 3
        await pool.stopService()
        assert len(self.given_up.items) == 1
        assert not pool.workers

    async def test_a_failed_fork_leaves_no_open_channel(self) -> None:
        unable = Unable()
        pool = self.pool(unable)
        (reason,) = await self.given_up.wait(1)
        assert reason.startswith("no worker can start; the last one could not be started: ")
        assert "no more processes" in reason
        attempts = len(unable.failed.items)
        await pool.stopService()
        assert attempts == len(unable.failed.items) >= 4
        while any(isinstance(getattr(reader, "protocol", None), Channel) for reader in watched()):
            await deferLater(reactor, 0)  # its end follows in the next turn

    async def test_all_output_of_a_worker_precedes_its_end(self) -> None:
        self.script(SAYS_MUCH_AND_ENDS)
        log = log_of(self)
        self.pool()
        await self.given_up.wait(1)
        for number in (1, 2):
            said = [text for text in log.items if f"worker {number}" in text]
            ends = [index for index, text in enumerate(said) if "exit status 3" in text]
            assert len(ends) >= 2
            for end in ends:
                assert f"worker {number}: said 999 -" in said[end - 1]

    async def test_a_worker_has_the_programs_garbage_settings(self) -> None:
        self.script(TELLS_OF_ITS_GARBAGE)
        log = log_of(self)
        pool = self.pool()
        await self.ready(pool)
        await pool.stopService()
        for number in (1, 2):
            told = f"worker {number}: collects {garbage.THRESHOLDS} True"
            assert any(told in text for text in log.items), log.items

    async def test_a_dying_worker_is_restarted_with_back_off(self) -> None:
        self.patch(pools, "STEADY", float("inf"))  # a start on a busy machine exceeds it
        log = log_of(self)
        pool = self.pool()
        await self.ready(pool)
        for wait in ("now", "in 0.5 s", "in 1 s"):
            os.kill(pool.workers[2].pid, signal.SIGKILL)
            await self.changed.wait(len(self.changed.items) + 1)
            assert any(f"replacing it {wait}'" in text for text in log.items), log.items
            await self.ready(pool)
        assert not self.given_up.items

    def test_missing_workers_are_described(self) -> None:
        pool = Pool(reactor, 3, (), WorkerSettings(redis="", name="", gateway={}), pytest.fail)
        assert pool.missing() == "3 of 3 workers not ready"


class OverviewTests(TestCase):
    def test_counts_of_a_dead_worker_stay_in_the_sums(self) -> None:
        nothing = WorkerSettings(redis="", name="", gateway={})
        pool = Pool(reactor, 2, (), nothing, pytest.fail)
        overview = AllWorkers(Bus("redis://127.0.0.1:1/0", reactor=reactor), pool)
        for number in (1, 2):
            worker = Worker(number, nothing, pytest.fail, lambda *_: None)
            worker.report = {
                "health": {
                    "clients": {"user": 1},
                    "recovery": {
                        "away": 1,
                        "bytes": number,
                        "outcomes": {"recovered": 2, "gap": number},
                    },
                    "subscriptions": {"wanted": 2},
                    "redis": {"gaps": 2, "reconnects": {"client": 3, "subscriber": number}},
                },
                "logins": {"accepted": 4, "refused": number},
                "limited": {"max_clients": 5},
                "calls": {"returned": 6, "in_flight": 7},
            }
            pool.workers[number] = worker
        before = overview.state(0)
        assert before["logins"] == {"accepted": 8, "refused": 3}
        assert before["calls"] == {"returned": 12, "in_flight": 14}
        assert before["health"]["redis"]["reconnects"] == {"client": 6, "subscriber": 3}
        outcomes = {"recovered": 4, "gap": 3}
        assert before["health"]["recovery"] == {"away": 2, "bytes": 3, "outcomes": outcomes}
        dead = pool.workers.pop(1)
        for tell in pool.on_died:
            tell(dead)
        after = overview.state(0)
        for name in ("logins", "limited"):
            assert after[name] == before[name]
        assert after["calls"] == {"returned": 12, "in_flight": 7}
        for name in ("gaps", "reconnects"):
            assert after["health"]["redis"][name] == before["health"]["redis"][name]
        assert after["health"]["clients"] == {"user": 1}
        assert after["health"]["recovery"] == {"away": 1, "bytes": 2, "outcomes": outcomes}


class PresenceTests(RedisTestCase):
    async def test_clients_of_a_dead_gateway_are_reported_at_once(self) -> None:
        bus = await self.bus(self.gateway_url)
        dead, lives = (Lease(bus.link, 1000.0) for _ in range(2))
        other = UUID.replace("1", "9")
        for lease, uuid in ((dead, other), (dead, UUID), (lives, UUID)):
            who = f"user.{uuid}"
            event = UserEvent(user_uuid=uuid)
            gone = template(module_message("test", REPORTS, [event], 0.0))
            await lease.renew([Transition("enter", who, b"", gone)], join=True)
        reports = self.subscribed(REPORTS)
        await bus.presence.report_gone(dead.gateway)
        assert other.encode() in await message(reports)
        await bus.presence.report_gone(dead.gateway)  # it has ended
        assert await bus.presence.online("user") == [UUID]
        assert self.redis.zrange(GATEWAYS, 0, -1) == [lives.gateway.encode()]
