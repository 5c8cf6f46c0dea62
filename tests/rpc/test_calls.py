"""Calls between our callers and servers and existing ones, against a real server."""

from __future__ import annotations

import contextlib
import datetime as dt
import gc
import json
import math
import threading
import uuid
from collections.abc import Awaitable, Callable
from enum import Enum
from functools import partial
from itertools import pairwise
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults, succeed
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from opentera_twisted import (
    AlreadyServed,
    ArgumentsRejected,
    BadReply,
    Bus,
    BusUnavailable,
    CallError,
    CallNotSent,
    CallTimeout,
    Delivery,
    InvalidArgument,
    InvalidTopic,
    Limits,
    NoResponder,
    Overloaded,
    PermissionDenied,
    ProcedureError,
    ProcedureFailed,
    Procedures,
    ProcedureServer,
    UnknownProcedure,
)
from opentera_twisted import bus as bus_module
from opentera_twisted.messages import RPCMessage
from opentera_twisted.rpc import Caller
from opentera_twisted.rpc.wire import (
    Request,
    answers,
    decode_request,
    encode_error,
    encode_reply,
    encode_request,
)
from opentera_twisted.testing import MemoryBus, result_of
from opentera_twisted.topics import compile_pattern
from tests.helpers import support
from tests.helpers.existing import ExistingCaller, ExistingServer
from tests.helpers.strategies import any_text
from tests.helpers.support import DATA, GUARD, UUID, Collector, RedisTestCase, log_of, turn, until

GOLDEN = json.loads((DATA / "golden.json").read_text())["vectors"]

ARGUMENTS: list[Any] = [
    True, False, 0, 1, -1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 0.0, -1.5, 1e300,
    "", "hé 中", "\x00", b"", b"\x00\xff123",
]  # fmt: skip


class Colour(Enum):
    RED = "red"


def procedures() -> Procedures:
    made = Procedures()

    @made.expose
    def add(a, b):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return a + b

    @made.expose
    def show(*values: bool | int | float | str | bytes) -> list[str]:  # noqa: PYI041
        return [f"{type(value).__name__} {value!r}" for value in values]

    @made.expose
    def nothing() -> None:
        pass

    return made


def hanging() -> tuple[Procedures, Collector]:
    """Return `procedures` with one that waits for a Deferred, and these Deferreds."""
    declared = procedures()
    running = Collector()

    @declared.expose
    def hang() -> Deferred[Any]:
        waiting: Deferred[Any] = Deferred()
        running(waiting)
        return waiting

    return declared, running


class ExistingCallerTests(RedisTestCase):
    """Existing callers get the same replies from our server as from an existing one."""

    def caller(self) -> ExistingCaller:
        caller = ExistingCaller(self.redis)
        self.addCleanup(caller.close)
        return caller

    async def call(self, *arguments: Any) -> Any:
        return await deferToThread(self.caller().call, *arguments)

    async def test_every_type_of_argument_arrives(self) -> None:
        bus = await self.bus()
        await bus.serve_module("Ours", procedures())
        reply = await self.call("module.Ours.rpc", "show", *ARGUMENTS)
        assert reply["return_value"] == [f"{type(value).__name__} {value!r}" for value in ARGUMENTS]

    async def test_a_service_answers_under_its_key_and_its_uuid(self) -> None:
        bus = await self.bus()
        await bus.serve_service("Ours", procedures(), uuid=UUID)
        for name in ("Ours", UUID):
            reply = await self.call(f"service.{name}.rpc", "add", 1, 2)
            assert reply == {
                "method": "add",
                "id": 0,
                "pattern": f"service.{name}.rpc",
                "status": "OK",
                "return_value": 3,
            }

    async def test_errors_keep_the_existing_keys_and_name_the_cause(self) -> None:
        bus = await self.bus()
        await bus.serve_module("Ours", procedures())
        for method, arguments, code in (
            ("none", [], "unknown_procedure"),
            ("add", [1], "invalid_arguments"),
            ("add", [1, "a"], "procedure_failed"),
            ("add", [b"\x00", b"\xff"], "procedure_failed"),
        ):
            reply = await self.call("module.Ours.rpc", method, *arguments)
            error = reply.pop("error")
            assert error["code"] == code
            assert error["message"]
            assert reply == {
                "method": method,
                "id": 0,
                "pattern": "module.Ours.rpc",
                "status": "Error",
                "return_value": None,
            }
        self.flushLoggedErrors(TypeError)

    async def test_malformed_requests_are_ignored(self) -> None:
        bus = await self.bus()
        await bus.serve_module("Ours", procedures())
        for junk in (
            b"",
            b"\xff\xff",
            b"{}",
            b"x" * 1_000_000,
            RPCMessage(id=1).SerializeToString(),
        ):
            assert self.redis.publish("module.Ours.rpc", junk) == 1
        reply = await self.call("module.Ours.rpc", "add", 1, 2)
        assert reply["return_value"] == 3


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (GOLDEN[index], GOLDEN[index + 1])
        for index in range(0, 12, 2)
        if "OK" in GOLDEN[index + 1].get("text", "")
    ],
    ids=lambda vector: vector["name"],
)
def test_replies_have_the_text_of_existing_servers(
    request_: dict[str, Any], reply: dict[str, Any]
) -> None:
    request = decode_request(bytes.fromhex(request_["hex"]))
    assert request is not None
    value = json.loads(reply["text"])["return_value"]
    assert encode_reply(request, request_["topic"], value).decode() == reply["text"]


class OurCallerTests(RedisTestCase):
    """Our caller and an existing server."""

    def existing(self, topic: str, **functions: Any) -> ExistingServer:
        server = ExistingServer(self.redis, topic, **functions)
        self.addCleanup(server.close)
        return server

    async def test_every_type_of_argument_arrives(self) -> None:
        server = self.existing(
            "module.Old.rpc", show=lambda *values: [repr(value) for value in values]
        )
        bus = await self.bus()
        assert await bus.call("Old", "show", *ARGUMENTS) == [repr(value) for value in ARGUMENTS]
        assert server.requests[0].method == "show"
        assert server.requests[0].reply_to.startswith("RedisRPCClient.")

    async def test_every_json_value_comes_back(self) -> None:
        values: list[Any] = [None, True, 0, -1.5, "hé", [], {}, {"a": [1, {"b": None}]}]
        self.existing("service.Old.rpc", value=lambda index: values[index])
        bus = await self.bus()
        for index, value in enumerate(values):
            assert await bus.call_service("Old", "value", index) == value

    async def test_its_error_is_a_failed_procedure(self) -> None:
        self.existing("module.Old.rpc", fail=lambda: 1 / 0)
        bus = await self.bus()
        with pytest.raises(ProcedureFailed, match=r"fail of module\.Old\.rpc"):
            await bus.call("Old", "fail")

    async def test_its_silence_is_a_timeout(self) -> None:
        self.existing("module.Old.rpc")
        bus = await self.bus()
        with pytest.raises(CallTimeout) as caught:
            await bus.call("Old", "none", timeout=0.2)
        assert not isinstance(caught.value, BusUnavailable)
        assert (caught.value.topic, caught.value.procedure) == ("module.Old.rpc", "none")
        assert caught.value.seconds == 0.2

    async def test_its_reply_may_name_a_wider_pattern(self) -> None:
        self.existing("service.*.rpc", value=lambda: 7)
        bus = await self.bus()
        assert await bus.call_service("Old", "value") == 7


class CallTests(RedisTestCase):
    async def pair(self, declared: Procedures, **options: Any) -> Bus:
        """Return a caller; another bus serves the service Ours."""
        server, caller = await self.bus(), await self.bus()
        self.served = await server.serve_service("Ours", declared, **options)
        return caller

    async def test_five_hundred_calls_in_flight_get_their_own_answers(self) -> None:
        declared = Procedures()
        waiting: list[Deferred[None]] = []

        @declared.expose
        async def same(number: int) -> int:
            waiting.append(Deferred())
            if len(waiting) == 500:
                for waiter in reversed(waiting):
                    reactor.callLater(0, waiter.callback, None)
            await waiting[-1]
            return number

        bus = await self.pair(declared)
        calls = [bus.call_service("Ours", "same", number) for number in range(500)]
        assert await gatherResults(calls) == list(range(500))

    async def test_a_missing_server_is_known_in_one_round_trip(self) -> None:
        bus = await self.bus()
        with pytest.raises(NoResponder) as caught:
            await bus.call_service("Nobody", "add", 1)
        assert isinstance(caught.value, CallError)
        assert (caught.value.topic, caught.value.procedure) == ("service.Nobody.rpc", "add")

    async def test_each_error_of_the_server_has_its_name(self) -> None:
        declared = procedures()

        @declared.expose
        def explain() -> None:
            raise ProcedureError("for this reason")

        @declared.expose
        def secret() -> None:
            raise ValueError("hush")

        bus = await self.pair(declared)
        for method, arguments, error, message in (
            ("none", (), UnknownProcedure, "none"),
            ("add", (1,), ArgumentsRejected, "b is missing"),
            ("explain", (), ProcedureFailed, "for this reason"),
            ("secret", (), ProcedureFailed, "ValueError"),
        ):
            with pytest.raises(error, match=message) as caught:
                await bus.call_service("Ours", method, *arguments)
            assert "hush" not in str(caught.value)
        assert len(self.flushLoggedErrors(ValueError)) == 1

    async def test_functions_coroutines_deferreds_and_threads(self) -> None:
        declared = Procedures()
        main = threading.get_ident()

        @declared.expose
        def function() -> bool:
            return threading.get_ident() == main

        @declared.expose
        async def coroutine() -> bool:
            await turn()
            return threading.get_ident() == main

        @declared.expose
        def deferred() -> Deferred[int]:
            return deferToThread(lambda: 5)

        @declared.expose(thread=True)
        def thread(a: int) -> bool:
            return threading.get_ident() == main or a != 3

        bus = await self.pair(declared)
        assert await bus.call_service("Ours", "function") is True
        assert await bus.call_service("Ours", "coroutine") is True
        assert await bus.call_service("Ours", "deferred") == 5
        assert await bus.call_service("Ours", "thread", 3) is False

    async def test_results_are_json_and_objects_of_attrs_and_dataclasses(self) -> None:
        @attrs.frozen
        class Point:
            x: int
            y: tuple[int, ...]

        declared = Procedures()

        @declared.expose
        def point() -> Point:
            return Point(1, (2, 3))

        @declared.expose
        def bad(which: int) -> Any:
            return [b"x", object(), {b"k": 1}, {UUID: 1, uuid.UUID(UUID): 2}][which]

        bus = await self.pair(declared)
        assert await bus.call_service("Ours", "point") == {"x": 1, "y": [2, 3]}
        for which in range(4):
            with pytest.raises(ProcedureFailed, match="JSON"):
                await bus.call_service("Ours", "bad", which)

    async def test_keys_of_results_are_treated_like_values(self) -> None:
        moment = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)

        @attrs.frozen
        class Busy:
            sessions: dict[Any, Any]

        declared = Procedures()

        @declared.expose
        def keys() -> Any:
            inner = {uuid.UUID(UUID): moment, Colour.RED: Colour.RED, 1: {moment.date(): (1,)}}
            return [Busy({moment: inner}), {None: 1.5, "a": True}]

        bus = await self.pair(declared)
        assert await bus.call_service("Ours", "keys") == [
            {
                "sessions": {
                    "2026-01-02T03:04:05+00:00": {
                        UUID: "2026-01-02T03:04:05+00:00",
                        "red": "red",
                        "1": {"2026-01-02": [1]},
                    }
                }
            },
            {"null": 1.5, "a": True},
        ]

    async def test_non_finite_results_are_sent_as_by_existing_servers(self) -> None:
        numbers = [math.nan, math.inf, -math.inf]
        declared = Procedures()

        @declared.expose
        def odd() -> list[float]:
            return numbers

        bus = await self.pair(declared)
        server = ExistingServer(self.redis, "service.Old.rpc", odd=lambda: numbers)
        self.addCleanup(server.close)
        caller = ExistingCaller(self.redis)
        self.addCleanup(caller.close)
        for key in ("Ours", "Old"):
            ours: Any = await bus.call_service(key, "odd")
            existing = await deferToThread(caller.call, f"service.{key}.rpc", "odd")
            assert existing is not None
            for nan, *infinite in (ours, existing["return_value"]):
                assert math.isnan(nan)
                assert infinite == numbers[1:]

    async def test_errors_stay_within_the_limit_of_replies(self) -> None:
        declared = Procedures()

        @declared.expose
        def explain() -> None:
            raise ProcedureError("\U0001f600" * 20_000)

        bus = await self.pair(declared, limits=Limits(reply=3000))
        caller = ExistingCaller(self.redis)
        self.addCleanup(caller.close)
        replies = self.subscribed(caller.reply_to())
        for method in ("explain", "\x01" * 1_000_000, "\U0001f600" * 1_000_000):
            reply = await deferToThread(caller.call, "service.Ours.rpc", method)
            assert reply is not None
            assert reply["error"]["message"]
            assert method.startswith(reply["method"].removesuffix("…"))
            assert len(await support.message(replies)) <= 3000
        with pytest.raises(ProcedureFailed):
            await bus.call_service("Ours", "explain")

    async def test_a_long_message_of_another_program_is_cut(self) -> None:
        error = {"code": "procedure_failed", "message": "x" * 1_000_000}
        requests = Collector()
        other = await self.bus()
        await other.subscribe("service.Ours.rpc", requests)
        bus = await self.bus()
        for number, (sent, shown) in enumerate(((error, 11_000), ({"message": [[]]}, 100))):
            call = bus.call_service("Ours", "add")
            request = decode_request((await requests.wait(number + 1))[number].payload)
            assert request is not None
            reply = {"id": request.id, "pattern": "service.Ours.rpc", "status": "Error"}
            self.redis.publish(request.reply_to, json.dumps({**reply, "error": sent}))
            with pytest.raises(ProcedureFailed) as caught:
                await call
            assert len(str(caught.value)) < shown

    async def test_a_result_that_is_nested_too_deeply_is_a_bad_reply(self) -> None:
        good: Any = 7
        for _ in range(50):
            good = {"a": [good]}
        declared = Procedures()

        @declared.expose
        def nested(more: int) -> Any:
            return [good] * more or good

        bus = await self.pair(declared)
        assert await bus.call_service("Ours", "nested", 0) == good
        with pytest.raises(BadReply, match="nested deeper than 100 levels"):
            await bus.call_service("Ours", "nested", 1)
        (answer,) = await bus.call_all("service.Ours", "nested", 1, timeout=60)
        assert isinstance(answer.error, BadReply)

    async def test_a_reply_too_deep_to_read_is_a_bad_reply_at_once(self) -> None:
        requests = Collector()
        bus = await self.bus()
        await (await self.bus()).pubsub.subscribe("service.Ours.rpc", requests)
        deep = "[" * 100_000 + "]" * 100_000
        known = '"id": %d, "pattern": "service.Ours.rpc", "status": "OK"'
        value = f'"return_value": {deep}'
        for number, text in enumerate(
            [f"{{{known}, {value}}}", f"{{{value}, {known}}} ", f'{{"a": 1, {value}, {known}}}']
        ):
            call = bus.call_service("Ours", "nested", timeout=600)
            request = decode_request((await requests.wait(number + 1))[number].payload)
            assert request is not None
            self.redis.publish(request.reply_to, text % request.id)
            with pytest.raises(BadReply, match="nested deeper than 100 levels"):
                await call

    async def test_repeated_answers_to_a_call_of_all_count_once(self) -> None:
        requests = Collector()
        bus = await self.bus()
        await (await self.bus()).pubsub.subscribe("service.Ours.rpc", requests)
        call = bus.call_all("service.Ours", "which", timeout=600)
        request = decode_request((await requests.wait(1))[0].payload)
        assert request is not None
        reply = {"id": request.id, "pattern": "service.Ours.rpc", "status": "OK"}
        with self.redis.pipeline() as pipeline:
            for number in range(100):
                text = json.dumps({**reply, "return_value": number})
                pipeline.publish(request.reply_to, text)
            pipeline.execute()
        assert [answer.value for answer in await call] == [0]

    async def test_a_procedure_that_takes_too_long_fails_its_call(self) -> None:
        declared = Procedures()
        cancelled = Collector()

        @declared.expose(timeout=0.05)
        def hang() -> Deferred[None]:
            return Deferred(cancelled)

        bus = await self.pair(declared)
        with pytest.raises(ProcedureFailed, match="too long"):
            await bus.call_service("Ours", "hang")
        assert len(cancelled.items) == 1

    async def test_a_shared_deferred_answers_each_call(self) -> None:
        declared = Procedures()
        shared: Deferred[Any] = Deferred()
        failing: Deferred[Any] = Deferred()

        @declared.expose
        def cached() -> Deferred[Any]:
            return shared

        @declared.expose
        def broken() -> Deferred[Any]:
            return failing

        bus = await self.pair(declared)
        calls = [bus.call_service("Ours", "cached") for _ in range(3)]
        bad = [bus.call_service("Ours", "broken") for _ in range(2)]
        await until(self.in_flight, lambda count: count == 5)
        shared.callback({"v": 42})
        failing.errback(ProcedureError("no"))
        assert await gatherResults(calls) == [{"v": 42}] * 3
        assert await bus.call_service("Ours", "cached") == {"v": 42}
        for call in (*bad, bus.call_service("Ours", "broken")):
            with pytest.raises(ProcedureFailed, match="no"):
                await call

    async def in_flight(self) -> int:
        await turn()
        return self.served.in_flight

    async def test_a_misbehaving_procedure_fails_only_its_call(self) -> None:
        declared = Procedures()

        @attrs.define
        class Half:
            a: int
            b: int = attrs.field(init=False)

        @declared.expose
        def half() -> Half:
            return Half(1)

        @declared.expose
        def leave() -> None:
            raise SystemExit(3)

        @declared.expose(timeout=0.05)
        async def stubborn() -> None:
            while True:
                with contextlib.suppress(CancelledError):
                    await Deferred()

        @declared.expose(timeout=0.05)
        def bad_canceller() -> Deferred[None]:
            def fail(_: object) -> None:
                raise ZeroDivisionError

            return Deferred(fail)

        bus = await self.pair(declared)
        for method in ("half", "leave", "stubborn", "bad_canceller"):
            with pytest.raises(ProcedureFailed):
                await bus.call_service("Ours", method)
        await self.served.stop()
        assert self.served.in_flight == 0
        self.flushLoggedErrors(SystemExit, ZeroDivisionError)

    async def test_threads_running_past_their_timeout_keep_their_slots(self) -> None:
        declared = Procedures()
        release = threading.Event()
        self.addCleanup(release.set)

        @declared.expose(thread=True, timeout=0.05)
        def hang() -> None:
            release.wait(GUARD)

        bus = await self.pair(declared, limits=Limits(concurrent=2))
        for _ in range(2):
            with pytest.raises(ProcedureFailed, match="too long"):
                await bus.call_service("Ours", "hang")
        with pytest.raises(Overloaded):
            await bus.call_service("Ours", "hang")

    async def test_a_bus_serves_a_topic_twice_only_if_calls_are_shared(self) -> None:
        bus = await self.bus()
        server = await bus.serve_service("Ours", procedures(), uuid=UUID)
        for key, exclusive in (("Ours", False), (UUID, False), ("Ours", True)):
            with pytest.raises(AlreadyServed, match="would run twice") as caught:
                bus.serve_service(key, procedures(), exclusive=exclusive)
            assert caught.value.topic == f"service.{key}.rpc"
        stopping = server.stop()
        for _ in range(2):
            await bus.serve_service("Ours", procedures(), exclusive=True)
        await stopping
        assert await bus.call_service("Ours", "add", 1, 2) == 3
        assert bus.caller.dropped_replies == 0

    async def test_other_objects_are_refused_as_procedures(self) -> None:
        bus = await self.bus()
        wrong: Any
        for wrong in ({"add": print}, None, [procedures()], print):
            with pytest.raises(InvalidArgument, match=r"a Procedures object.* not "):
                bus.serve_service("Ours", wrong)

    async def test_a_call_made_again_at_once_waits_for_the_reply_channel(self) -> None:
        declared, running = hanging()
        bus = await self.pair(declared)
        call = bus.call_service("Ours", "hang")
        (waiting,) = await running.wait(1)
        again: list[Deferred[Any]] = []
        call.addErrback(lambda _: again.append(bus.call_service("Ours", "add", 1, 2)))
        self.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await call
        while True:  # the server's own connection was killed too
            try:
                assert await again.pop() == 3
            except NoResponder:
                again.append(bus.call_service("Ours", "add", 1, 2))
            else:
                break
        waiting.callback(None)

    async def test_calls_beyond_the_limit_are_refused(self) -> None:
        declared, running = hanging()
        bus = await self.pair(declared, limits=Limits(concurrent=2))
        calls = [bus.call_service("Ours", "hang") for _ in range(2)]
        await running.wait(2)
        with pytest.raises(Overloaded):
            await bus.call_service("Ours", "hang")
        for item in running.items:
            item.callback(None)
        assert await gatherResults(calls) == [None, None]

    async def test_one_caller_cannot_starve_others(self) -> None:
        declared, running = hanging()
        greedy = await self.pair(declared, limits=Limits(concurrent=8))
        modest = await self.bus()
        first = [greedy.call_service("Ours", "hang") for _ in range(6)]
        await running.wait(6)
        other = [modest.call_service("Ours", "hang")]
        await running.wait(7)
        with pytest.raises(Overloaded):  # it has more than half of the remaining slots
            await greedy.call_service("Ours", "hang")
        other.append(modest.call_service("Ours", "hang"))
        await running.wait(8)
        for item in running.items:
            item.callback(None)
        await gatherResults(first + other)

    async def test_sizes_of_requests_and_replies_are_limited(self) -> None:
        declared = Procedures()

        @declared.expose
        def repeat(text: str, times: int) -> str:
            return text * times

        bus = await self.pair(declared, limits=Limits(request=1000, reply=1000))
        assert await bus.call_service("Ours", "repeat", "x", 800) == "x" * 800
        with pytest.raises(ArgumentsRejected, match="above the limit of 1000"):
            await bus.call_service("Ours", "repeat", "x" * 1000, 1)
        with pytest.raises(ProcedureFailed, match="above the limit of 1000"):
            await bus.call_service("Ours", "repeat", "x", 1000)

    async def test_one_of_two_exclusive_servers_runs_each_call(self) -> None:
        executed: list[int] = []
        buses = [await self.bus() for _ in range(2)]
        servers = []
        for bus in buses:
            declared = Procedures()

            @declared.expose
            def count(number: int) -> int:
                executed.append(number)
                return number

            servers.append(await bus.serve_service("Ours", declared, exclusive=True))
        caller = await self.bus()
        calls = [caller.call_service("Ours", "count", number) for number in range(200)]
        assert await gatherResults(calls) == list(range(200))
        assert sorted(executed) == list(range(200))
        await servers[0].stop()
        assert await caller.call_service("Ours", "count", 7) == 7
        assert caller.caller.dropped_replies == 0

    async def test_every_server_answers_a_call_of_all(self) -> None:
        for number in range(3):
            declared = Procedures()

            @declared.expose
            def which(number: int = number) -> int:
                if number == 2:
                    raise ProcedureError("no")
                return number

            await (await self.bus()).serve_module("Ours.Module", declared)
        bus = await self.bus()
        answers = await bus.call_all("module.Ours.Module", "which", timeout=60)
        assert {answer.value for answer in answers if answer.error is None} == {0, 1}
        (error,) = [answer.error for answer in answers if answer.error is not None]
        assert isinstance(error, ProcedureFailed)
        assert await bus.call_all("service.Nobody", "which") == []
        assert bus.caller.dropped_replies == 0

    async def test_a_call_of_all_ends_in_time_and_stopping_does_too(self) -> None:
        self.patch(bus_module, "DRAIN_TIMEOUT", 0.05)
        declared = Procedures()

        @declared.expose
        def hang() -> Deferred[None]:
            return Deferred()

        bus = await self.pair(declared)
        assert await bus.call_all("service.Ours", "hang", timeout=0.05) == []

    async def test_a_server_counts_what_it_does(self) -> None:
        bus = await self.pair(procedures())
        await bus.call_service("Ours", "add", 1, 2)
        for method, arguments in (("add", ("a", 1)), ("add", ()), ("none", ())):
            with pytest.raises(CallError):
                await bus.call_service("Ours", method, *arguments)
        stats: Any = await bus.call_service("Ours", "opentera.stats")
        assert (stats["service"], stats["calls"], stats["in_flight"]) == ("Ours", 2, 1)
        assert stats["refused"] == {"invalid_arguments": 1, "unknown_procedure": 1}
        add = stats["procedures"]["add"]
        assert (add["calls"], add["errors"]) == (2, {"procedure_failed": 1})
        assert 0 < add["seconds"]["min"] <= add["seconds"]["p50"] <= add["seconds"]["max"]
        ping = await bus.call_service("Ours", "opentera.ping")
        assert ping == {"service": "Ours", "version": ""}
        self.flushLoggedErrors(TypeError)

    async def test_results_of_common_types_are_json(self) -> None:
        declared = Procedures()
        moment = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)

        @declared.expose
        def values() -> list[Any]:
            return [moment, moment.date(), uuid.UUID(UUID), Colour.RED, {"a": Colour.RED}]

        @declared.expose
        def cycle() -> list[Any]:
            values: list[Any] = []
            values.append(values)
            return values

        bus = await self.pair(declared)
        assert await bus.call_service("Ours", "values") == [
            "2026-01-02T03:04:05+00:00",
            "2026-01-02",
            UUID,
            "red",
            {"a": "red"},
        ]
        with pytest.raises(ProcedureFailed, match="JSON"):
            await bus.call_service("Ours", "cycle")

    async def test_stopping_a_server_finishes_what_runs(self) -> None:
        declared, running = hanging()
        bus = await self.pair(declared)
        call = bus.call_service("Ours", "hang")
        (waiting,) = await running.wait(1)
        stopped = self.served.stop()
        while True:  # until Redis drops the subscription, calls are still accepted
            try:
                await bus.call_service("Ours", "none")
            except UnknownProcedure:
                continue
            except NoResponder:
                break
        assert not stopped.called
        waiting.callback(7)
        await stopped
        assert await call == 7

    async def test_a_server_executes_no_call_after_a_cancelled_stop(self) -> None:
        bus = await self.bus()
        executed: list[int] = []
        for number in range(2):
            declared = Procedures()
            declared.expose(name="note")(partial(executed.append, number))
            server = await bus.serve_service("Ours", declared)
            if number == 0:
                stopping = server.stop()
                stopping.cancel()
                with pytest.raises(CancelledError):
                    await stopping
        await bus.call_service("Ours", "note")
        assert executed == [1]

    async def test_a_bus_keeps_a_server_until_its_last_call_is_answered(self) -> None:
        declared, running = hanging()
        bus = await self.bus()
        server = await bus.serve_service("Ours", declared)
        call = bus.call_service("Ours", "hang")
        (waiting,) = await running.wait(1)
        stopped = server.stop()
        assert bus._servers == {server}
        waiting.callback(7)
        await stopped
        assert bus._servers == set()
        assert await call == 7

    async def test_a_server_stopping_under_load_answers_its_requests(self) -> None:
        bus = await self.pair(procedures())
        outcomes: list[str] = []

        async def load() -> None:
            while "NoResponder" not in outcomes:
                try:
                    await bus.call_service("Ours", "add", 1, 2, timeout=60)
                except CallError as error:
                    outcomes.append(type(error).__name__)
                else:
                    outcomes.append("answered")

        loads = [Deferred.fromCoroutine(load()) for _ in range(64)]
        while len(outcomes) < 500:
            await turn()
        await self.served.stop()
        await gatherResults(loads)
        assert set(outcomes) == {"answered", "NoResponder"}

    async def test_the_late_reply_to_a_cancelled_call_is_dropped(self) -> None:
        declared, running = hanging()
        bus = await self.pair(declared)
        call = bus.call_service("Ours", "hang")
        (waiting,) = await running.wait(1)
        call.cancel()
        with pytest.raises(CancelledError):
            await call
        assert bus.caller.in_flight == 0
        waiting.callback(1)
        assert await bus.call_service("Ours", "add", 1, 2) == 3
        assert bus.caller.dropped_replies == 1

    async def test_forged_and_malformed_replies_are_dropped(self) -> None:
        requests = Collector()
        other = await self.bus()
        await other.subscribe("service.Ours.rpc", requests)
        bus = await self.bus()
        call = bus.call_service("Ours", "add")
        (delivery,) = await requests.wait(1)
        request = decode_request(delivery.payload)
        assert request is not None
        for junk in (b"", b"{", b"[]", b"null", b'{"id": "0"}', b'{"id": true}', b'{"id": 99}',
                     b'{"id": 1.0}', b"\xff", b"[" * 100_000, b'{"id": %d}' % request.id,
                     encode_reply(request, "service.Other.rpc", "of another service"),
                     encode_reply(request, "service.*.events", "of another pattern"),
                     encode_reply(request, "*" * 1001, "of a long pattern")):  # fmt: skip
            self.redis.publish(request.reply_to, junk)
        good = encode_reply(request, "service.Ours.rpc", "good")
        self.redis.publish(request.reply_to, good)
        self.redis.publish(request.reply_to, good)
        assert await call == "good"
        assert not bus.caller.in_flight

    async def test_another_service_cannot_be_made_to_reply_to_a_call(self) -> None:
        declared, running = hanging()
        bus = await self.pair(declared)
        deputy = await self.bus()

        @declared.expose
        def echo(text: str) -> str:
            return text

        await deputy.serve_service("Deputy", declared)
        requests = Collector()
        await deputy.subscribe("service.Ours.rpc", requests)
        call = bus.call_service("Ours", "hang")
        request = decode_request((await requests.wait(1))[0].payload)
        assert request is not None
        forged = encode_request("echo", request.reply_to, request.id, ("forged",))
        self.redis.publish("service.Deputy.rpc", forged)
        await until(self.dropped(bus), lambda count: count == 1)
        (waiting,) = await running.wait(1)
        waiting.callback("true")
        assert await call == "true"

    def dropped(self, bus: Bus) -> Callable[[], Awaitable[int]]:
        async def count() -> int:
            await turn()
            return bus.caller.dropped_replies

        return count

    async def test_a_server_never_replies_on_a_topic_of_other_programs(self) -> None:
        declared, running = hanging()
        bus = await self.pair(declared)
        topics = ("module.A.messages", "service.Ours.rpc", "websocket.user.u.events", "log.info",
                  "__redis__:invalidate")  # fmt: skip
        overheard, logged = self.subscribed(*topics), log_of(self)
        for topic in topics:
            for method in ("hang", "none", "opentera.ping"):
                self.redis.publish("service.Ours.rpc", encode_request(method, topic, 1, ()))
        stats: Any = await bus.call_service("Ours", "opentera.stats")
        assert stats["refused"] == {"bad_request": 15}
        assert not running.items
        received = [overheard.get_message(timeout=GUARD) for _ in range(16)]  # the requests alone
        assert {message["channel"] for message in received if message} == {b"service.Ours.rpc"}
        assert overheard.get_message(timeout=0) is None
        assert len([line for line in logged.items if "a valid reply topic" in line]) == 1

    async def test_a_malformed_reply_is_a_bad_reply(self) -> None:
        requests = Collector()
        other = await self.bus()
        await other.subscribe("service.Ours.rpc", requests)
        bus = await self.bus()
        replies: list[dict[str, Any]] = [{}, {"status": "OK"}, {"status": 5, "return_value": 1}]
        for number, reply in enumerate(replies):
            call = bus.call_service("Ours", "add")
            delivery = (await requests.wait(number + 1))[number]
            request = decode_request(delivery.payload)
            assert request is not None
            self.redis.publish(
                request.reply_to,
                json.dumps({"id": request.id, "pattern": "service.Ours.rpc", **reply}),
            )
            with pytest.raises(BadReply):
                await call

    async def test_mistakes_are_raised_before_anything_is_sent(self) -> None:
        bus = await self.bus()
        wrong: Any
        for wrong in (None, [], 2**64, "\ud800"):
            with pytest.raises(InvalidArgument):
                bus.call("A", "b", wrong)
        with pytest.raises(InvalidArgument, match="such a large int does not fit"):
            bus.call("A", "b", 10**5000)
        with pytest.raises(InvalidArgument):
            bus.call("A", "")
        with pytest.raises(InvalidTopic):
            bus.call("A\tB", "c")
        assert bus.caller.in_flight == 0


def test_ids_of_calls_cannot_be_guessed_from_each_other() -> None:
    bus = MemoryBus()
    bus.subscribe("service.Ours.rpc", lambda _: None)
    for _ in range(100):
        bus.call_service("Ours", "add").addErrback(lambda _: None)
    requests = map(decode_request, bus.published_on("service.Ours.rpc"))
    ids = sorted(request.id for request in requests if request is not None)
    distances = [later - before for before, later in pairwise(ids)]
    assert len(distances) == 99
    assert min(distances) > 1
    assert max(ids) < 2**53
    bus.stopService()


@given(st.text("*?[ab]-^\\."), st.text("ab.", min_size=1))
@example("\ud800*", "a")
@example("[", "a")
def test_replies_must_name_the_topic_or_a_matching_pattern(pattern: str, topic: str) -> None:
    matching = compile_pattern(pattern.encode(errors="surrogatepass")).fullmatch(topic.encode())
    assert answers({"pattern": pattern}, topic) == (pattern == topic or matching is not None)


@pytest.mark.parametrize("pattern", [None, 1, ["a"], "b", "a" * 2000, "*" * 2000])
def test_replies_with_another_pattern_are_ignored(pattern: Any) -> None:
    assert not answers({"pattern": pattern}, "a")
    assert not answers({}, "a")


class Recorder:
    """A stub of a server's link and pub/sub that records messages."""

    def __init__(self) -> None:
        self.reactor = self.clock = Clock()
        self.sent: list[tuple[Any, ...]] = []

    def send(self, arguments: tuple[Any, ...], done: Callable[[Any], None]) -> None:
        self.sent.append(arguments)
        done(1)

    def check_thread(self) -> None:
        pass


@given(
    st.one_of(
        st.binary(),
        st.builds(
            lambda method, reply_to, values: encode_request(method, reply_to, 1, values),
            st.sampled_from(["add", "show", "nothing", "none", "opentera.describe", ""]),
            st.sampled_from(["", "r"]),
            st.lists(st.one_of(st.booleans(), st.integers(0, 9), st.text("ab"), st.binary())),
        ).flatmap(
            lambda data: st.builds(
                lambda at, byte: data[:at] + bytes([byte]) + data[at + 1 :],
                st.integers(0, max(len(data) - 1, 0)),
                st.integers(0, 255),
            )
        ),
    )
)
def test_any_bytes_give_at_most_one_reply_and_never_an_exception(payload: bytes) -> None:
    link: Any = Recorder()
    server = ProcedureServer(link, link, "Ours", ["service.Ours.rpc"], procedures())
    server.received(Delivery("service.Ours.rpc", None, payload))
    assert len(link.sent) <= 1
    assert server.in_flight == 0
    for _, reply_to, reply in link.sent:
        assert reply_to
        assert json.loads(reply)["status"] in {"OK", "Error"}


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_server_that_does_not_start_serves_no_topic(is_stopped: bool) -> None:
    bus = MemoryBus()
    subscribe, second = bus.pubsub.subscribe, Deferred[Any]()
    bus.pubsub.subscribe = (  # type: ignore[method-assign]
        lambda topic, *others: second if UUID in topic else subscribe(topic, *others)
    )
    starting = bus.serve_service("Ours", procedures(), uuid=UUID)
    if is_stopped:
        (server,) = bus._servers
        server.stop()
        second.callback(result_of(subscribe(f"service.{UUID}.rpc", server.received)))
    else:
        starting.cancel()
    with pytest.raises(BusUnavailable if is_stopped else CancelledError):
        result_of(starting)
    for key in ("Ours", UUID):
        with pytest.raises(NoResponder):
            result_of(bus.call_service(key, "add", 1, 2))


def caller_without_redis() -> tuple[Caller, Any]:
    """Return a caller, and its link on a clock."""
    link: Any = Recorder()
    link.reactor = link.clock = Clock()
    link.is_ready_for = lambda *_: True
    link.why_not, link.error = lambda: "", None
    link.on_interrupted = []
    link.on_ready = []
    link.keep = lambda *_: (None, succeed(None))
    return Caller(link, link), link


def test_a_call_that_timed_out_is_not_sent_later() -> None:
    caller, link = caller_without_redis()
    allowed: Deferred[None] = Deferred()
    link.acknowledged = lambda *_: allowed
    caller._refused(Failure(PermissionDenied("SUBSCRIBE", "NOPERM")))
    call = caller.call("service.Ours.rpc", "add", (1, 2), 1.0)
    link.clock.advance(2)
    with pytest.raises(CallNotSent):
        result_of(call)
    allowed.callback(None)
    assert link.sent == []


def test_calls_that_time_out_leave_no_trace() -> None:
    caller, link = caller_without_redis()
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(1000):
        for _ in range(10):
            caller.call("service.Ours.rpc", "hang", (), 1.0).addErrback(
                lambda failure: failure.trap(CallTimeout) and None
            )
        link.sent.clear()
        link.clock.advance(2)
    gc.collect()
    assert caller.in_flight == 0
    assert len(gc.get_objects()) - before < 100


@given(any_text(max_size=200), any_text(max_size=10_000))
def test_error_replies_are_json_whatever_the_texts(method: str, text: str) -> None:
    reply = json.loads(encode_error(Request(method, "r", 1, 0.0, ()), "t", "bad_request", text))
    assert reply["error"] == {"code": "bad_request", "message": text}


KEYS = st.one_of(
    any_text(max_size=3),
    st.integers(),
    st.booleans(),
    st.none(),
    st.uuids(),
    st.datetimes(),
    st.sampled_from(Colour),
)


@given(st.dictionaries(KEYS, st.one_of(st.integers(), st.uuids()), max_size=5))
def test_keys_have_the_text_that_they_have_as_values(value: dict[Any, Any]) -> None:
    def sent(result: Any) -> Any:
        return json.loads(encode_reply(Request("m", "r", 1, 0.0, ()), "t", result))["return_value"]

    texts = [key if isinstance(key, str) else json.dumps(sent(key)).strip('"') for key in value]
    if len(set(texts)) == len(texts):
        assert sent(value) == dict(zip(texts, sent(list(value.values())), strict=True))
