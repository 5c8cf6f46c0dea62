"""Timers under a stepped system clock, in other programs' reactors and in our programs."""

from __future__ import annotations

import contextlib
import re
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.python import runtime

from opentera_twisted._internal import clock as module
from opentera_twisted._internal.clock import TURNS, SteadyClock, clock_of, make_steady
from opentera_twisted.rpc.wire import decode_request, encode_reply
from tests.helpers.processes import Process, twistd
from tests.helpers.support import GUARD, ROOT, UUID, RedisTestCase, folder_of, free_port, message
from tests.helpers.websockets import connect, leave

HOUR = 3600.0

# Runs before the program: shifts its wall clock by the seconds in a file.
STEPPED = """
import os, time
from pathlib import Path
_real, _file = time.time, Path(os.environ["STEP_FILE"])
time.time = lambda: _real() + float(_file.read_text() or 0)
"""

ASYNC = """
import os, sys
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.task import react
from twisted.internet.defer import Deferred, ensureDeferred
from opentera_twisted import Bus, CallTimeout, Procedures

async def main():
    bus = Bus(sys.argv[1])
    bus.startService()
    await bus.connected()
    procedures = Procedures()

    @procedures.expose
    async def wait() -> str:
        Path(os.environ["STEP_FILE"]).write_text(sys.argv[2])
        if float(sys.argv[2]) < 0:
            await Deferred()  # it never fires
        # Another turn of the reactor, in which what is due by its clock would run.
        for _ in range(3):
            await bus.variables.get("x")
        return "answered"

    server = await bus.serve_service("Slow", procedures)
    try:
        print(await bus.call_service("Slow", "wait", timeout=float(sys.argv[3])), flush=True)
    except CallTimeout as error:
        print("CallTimeout", flush=True)
    os._exit(0)

react(lambda _: ensureDeferred(main()))
"""

BLOCKING = """
import os, sys
from pathlib import Path
from opentera_twisted import CallTimeout, Procedures
from opentera_twisted.blocking import BlockingBus

procedures = Procedures()
bus = BlockingBus(sys.argv[1])

@procedures.expose
def wait() -> str:
    Path(os.environ["STEP_FILE"]).write_text(sys.argv[2])
    while float(sys.argv[2]) < 0:
        bus.variables.get("x")
    for _ in range(3):
        bus.variables.get("x")
    return "answered"

bus.serve_service("Slow", procedures)
try:
    print(bus.call_service("Slow", "wait", timeout=float(sys.argv[3])), flush=True)
except CallTimeout as error:
    print("CallTimeout", flush=True)
os._exit(0)
"""


class StepTests(RedisTestCase):
    def stepped(self) -> dict[str, str]:
        """Return the environment of a Python program whose wall clock a file steps."""
        folder = folder_of(self)
        (folder / "sitecustomize.py").write_text(STEPPED)
        self.step = folder / "step"
        self.step.write_text("0")
        return {"PYTHONPATH": f"{folder}:{ROOT}", "STEP_FILE": str(self.step)}

    async def program(self, text: str, *arguments: str) -> str:
        """Return the output of a program."""
        process = Process(
            sys.executable, "-c", text, self.server.url, *arguments, environment=self.stepped()
        )
        self.addCleanup(process.kill)
        await process.ended()
        return process.output.strip()

    async def test_a_call_times_out_after_the_clock_went_back(self) -> None:
        assert await self.program(ASYNC, str(-HOUR), "2") == "CallTimeout"

    async def test_a_call_waits_on_after_the_clock_went_forward(self) -> None:
        assert await self.program(ASYNC, str(HOUR), "600") == "answered"

    async def test_a_blocking_call_times_out_after_a_step_back(self) -> None:
        assert await self.program(BLOCKING, str(-HOUR), "2") == "CallTimeout"

    async def test_a_blocking_call_waits_on_after_a_step_forward(self) -> None:
        assert await self.program(BLOCKING, str(HOUR), "600") == "answered"

    async def test_a_gateway_keeps_its_timers_after_a_step_back(self) -> None:
        port = free_port()
        gateway = twistd(
            *("--redis", self.gateway_url, "--admin", "none"),
            *("--websocket", f"tcp:{port}:interface=127.0.0.1", "--handshake-timeout", "2"),
            environment=self.stepped(),
        )
        self.addCleanup(gateway.kill)
        await gateway.says("is ready")
        silent = socket.create_connection(("127.0.0.1", port), GUARD)
        self.addCleanup(silent.close)
        silent.settimeout(GUARD)
        # It connected later: once it is open, the gateway has accepted the silent client.
        self.redis.set("0" * 128, UUID, ex=60)
        client = await connect(port, f"/wss/user?id={'0' * 128}")
        self.step.write_text(str(-HOUR))
        with contextlib.suppress(ConnectionResetError):
            assert await deferToThread(silent.recv, 1) == b""
        await leave(client)


class LateReactorTests(RedisTestCase):
    async def test_a_reply_that_came_while_the_reactor_was_blocked_counts(self) -> None:
        bus = await self.bus()
        requests = self.subscribed("service.Slow.rpc")
        calling = bus.call_service("Slow", "wait", timeout=1)
        request = decode_request(await message(requests))
        assert request is not None
        # From here on the reactor is blocked.
        assert not calling.called
        ends = bus.link.clock.seconds() + 1.2
        reply = encode_reply(request, "service.Slow.rpc", "answered")
        self.redis.publish(request.reply_to, reply)
        while bus.link.clock.seconds() < ends:
            pass
        assert await calling == "answered"


class _Reactor(Clock):
    """A reactor with a stepped wall clock and without threads."""

    def callWhenRunning(self, *_: Any) -> None:
        """Do nothing: the test wakes the clock itself."""

    def turn(self) -> None:
        """Run the first call; leave calls that it adds for the next turn."""
        call = self.calls.pop(0)
        call.called = 1
        call.func(*call.args)


def test_delayed_calls_run_like_those_of_a_reactor() -> None:
    steps = st.lists(
        st.one_of(
            st.tuples(st.just("call"), st.integers(0, 20)),
            st.tuples(st.just("cancel"), st.integers(0, 30)),
            st.tuples(st.just("reset"), st.integers(0, 30), st.integers(0, 20)),
            st.tuples(st.just("delay"), st.integers(0, 30), st.integers(-5, 20)),
            st.tuples(st.just("advance"), st.integers(1, 10)),
        ),
        max_size=200,
    )

    def play(clock: Any, reactor: Clock, moves: Any) -> list[Any]:
        ran: list[Any] = []
        calls: list[Any] = []
        for move, *numbers in moves:
            if move == "call":
                calls.append(clock.callLater(numbers[0], ran.append, len(calls)))
            elif move == "advance":
                for _ in range(numbers[0]):
                    reactor.advance(1)
                ran.append("tick")
            elif numbers[0] < len(calls) and calls[numbers[0]].active():
                getattr(calls[numbers[0]], move)(*numbers[1:])
        assert set(clock.getDelayedCalls()) == {call for call in calls if call.active()}
        for call in calls:
            if call.active():
                call.cancel()
        assert not reactor.getDelayedCalls()
        return _sorted_within_ticks(ran)

    @given(steps)
    def same(moves: Any) -> None:
        model, reactor = Clock(), _Reactor()
        with mock.patch.object(module, "monotonic", reactor.seconds):
            steady = play(SteadyClock(reactor), reactor, moves)
        assert steady == play(model, model, moves)

    same()


def _sorted_within_ticks(ran: list[Any]) -> list[Any]:
    """Return the calls that ran, regardless of the order within an advance."""
    groups: list[Any] = [set()]
    for call in ran:
        if call == "tick":
            groups.append(set())
        else:
            groups[-1].add(call)
    return groups


def test_a_call_that_fails_is_logged_and_the_next_runs() -> None:
    reactor = _Reactor()
    ran: list[Any] = []
    with mock.patch.object(module, "monotonic", reactor.seconds):
        clock = SteadyClock(reactor)
        clock._log = mock.Mock()
        clock.callLater(1, lambda: 1 / 0)
        clock.callLater(1, ran.append, "next")
        reactor.advance(1)
    assert ran == ["next"]
    clock._log.failure.assert_called_once()


def test_a_late_call_waits_until_the_reactor_has_read() -> None:
    reactor = _Reactor()
    ran: list[str] = []
    with mock.patch.object(module, "monotonic", reactor.seconds):
        clock = SteadyClock(reactor)
        timeout = clock.callLater(10, ran.append, "timeout")
        clock.callLater(11, ran.append, "unanswered")
        reactor.rightNow += 12  # a handler blocks, and the answer waits in the socket
        clock.callLater(0, ran.append, "at once")
        for turn in range(TURNS + 1):
            assert ran == ["at once"][:turn]
            reactor.turn()  # before which a real one reads
            if not turn:
                timeout.cancel()
        assert ran == ["at once", "unanswered"]
        assert not reactor.getDelayedCalls()


def test_a_call_added_while_others_run_waits_for_the_next_turn() -> None:
    reactor = _Reactor()
    ran: list[Any] = []
    with mock.patch.object(module, "monotonic", reactor.seconds):
        clock = SteadyClock(reactor)

        def again() -> None:
            ran.append(len(reactor.getDelayedCalls()))
            if len(ran) < 3:
                clock.callLater(0, again)

        clock.callLater(0, again)
        reactor.advance(0)
    assert ran == [0, 0, 0]


def test_timers_run_in_a_loop_inside_a_call() -> None:
    reactor = _Reactor()
    ran: list[str] = []
    with mock.patch.object(module, "monotonic", reactor.seconds):
        clock = SteadyClock(reactor)

        def dialog() -> None:
            clock.callLater(1, ran.append, "inside")
            reactor.advance(1)
            ran.append("closed")

        clock.callLater(1, dialog)
        reactor.advance(1)
    assert ran == ["inside", "closed"]


def test_a_clock_of_a_test_is_used_as_it_is() -> None:
    reactor = Clock()
    assert clock_of(reactor) is reactor
    before = reactor.seconds
    make_steady(reactor)
    assert reactor.seconds == before


def test_a_steady_reactor_keeps_its_time_and_pending_calls() -> None:
    wall = [1e9]

    def seconds() -> float:
        return wall[0]

    class Reactor:
        def __init__(self) -> None:
            self.seconds: Callable[[], float] = seconds
            self.call = mock.Mock()

        def getDelayedCalls(self) -> list[Any]:
            return [self.call]

    with (
        mock.patch.object(runtime, "seconds", seconds),
        mock.patch.object(module, "monotonic", return_value=5.0),
    ):
        reactor: Any = Reactor()
        make_steady(reactor)
        assert reactor.seconds() == 1e9
        wall[0] += HOUR
        assert reactor.seconds() == reactor.call.seconds() == 1e9
        assert isinstance(clock_of(reactor), SteadyClock)


# Our programs: they have a steady reactor, or use no timer.
_OWN = {"clock.py", "tap.py", "program", "reactor_thread"}
_WALL_CLOCK = re.compile(r"reactor\.(?:callLater|seconds)\b|(?:addTimeout|deferLater)\(.*reactor")


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in sorted((ROOT / "opentera_twisted").rglob("*.py"))
        if path.relative_to(ROOT / "opentera_twisted").parts[0] not in _OWN
        and path.name != "clock.py"
    ],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_no_interval_follows_the_wall_clock(path: Path) -> None:
    assert not _WALL_CLOCK.findall(path.read_text())
