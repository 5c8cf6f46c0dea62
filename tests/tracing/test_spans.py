"""Spans of calls, servers, procedures, deliveries and commands, and the context between them."""

from __future__ import annotations

import sys
from collections.abc import Generator
from subprocess import run
from typing import Any

import pytest
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.trace import SpanKind
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.trial.unittest import SynchronousTestCase

from opentera_twisted import (
    CommandFailed,
    Delivery,
    InvalidArgument,
    InvalidTopic,
    Procedures,
    UnknownProcedure,
    topics,
)
from opentera_twisted.messages import RPCMessage
from opentera_twisted.rpc.wire import encode_request
from opentera_twisted.testing import MemoryBus
from opentera_twisted.tracing.commands import _end
from opentera_twisted.tracing.spans import begin, span_of
from tests.helpers.processes import ENVIRONMENT
from tests.helpers.support import GUARD, UUID, Collector, RedisTestCase
from tests.helpers.traces import recorder, spans, tree

SECRET = "user.SecretSecretSecretSecretSecretSecretSecret"

CALL = [
    "CLIENT service.S/get",
    ["CLIENT PUBLISH"],
    ["SERVER service.S/get", ["INTERNAL get", ["CLIENT GET"]], ["CLIENT PUBLISH"]],
]
"""A call of a procedure that reads a variable."""


class MemoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.bus = MemoryBus(tracing=True)
        self.addCleanup(self.bus.stopService)

    def serve(self, function: Any, **options: Any) -> None:
        procedures = Procedures()
        procedures.expose(name="get")(function)
        self.successResultOf(self.bus.serve_service("S", procedures, **options))
        recorder().clear()

    def test_the_context_reaches_a_coroutine_of_a_server(self) -> None:
        async def get() -> str:
            await self.bus.variables.get("a")
            return "done"

        self.serve(get)
        assert self.successResultOf(self.bus.call_service("S", "get")) == "done"
        assert tree() == [CALL]

    def test_the_context_reaches_an_inline_callback(self) -> None:
        @inlineCallbacks
        def get() -> Generator[Deferred[Any], Any, None]:
            yield self.bus.variables.get("a")

        self.serve(get)
        self.successResultOf(self.bus.call_service("S", "get"))
        assert tree() == [CALL]

    def test_a_span_lasts_until_the_deferred_fires(self) -> None:
        waiting: Deferred[int] = Deferred()

        async def get() -> int:
            number = await waiting
            await self.bus.variables.get("a")
            return number

        self.serve(get)
        result = self.bus.call_service("S", "get")
        self.assertNoResult(result)
        assert {span.name for span in spans()} == {"PUBLISH"}
        waiting.callback(1)
        assert self.successResultOf(result) == 1
        assert tree() == [CALL]

    def test_an_exclusive_server_claims_in_the_trace_of_the_call(self) -> None:
        async def get() -> None:
            await self.bus.variables.get("a")

        self.serve(get, exclusive=True)
        self.successResultOf(self.bus.call_service("S", "get"))
        client, publish, server = CALL
        assert tree() == [[client, publish, ["CLIENT SET"], server]]

    def test_a_call_that_waits_for_the_link_keeps_its_trace(self) -> None:
        async def get() -> None:
            await self.bus.variables.get("a")

        self.serve(get)
        self.bus.disconnect()
        result = self.bus.call_service("S", "get")
        reading = self.bus.variables.get("b")
        self.bus.reconnect()
        self.bus.clock.advance(1)
        self.successResultOf(result)
        self.successResultOf(reading)
        assert CALL in tree()
        assert len(spans("GET")) == 2, "one span for a command that waited"

    def test_an_error_has_its_class_and_no_text(self) -> None:
        def get() -> None:
            raise ValueError(SECRET)

        self.serve(get)
        self.failureResultOf(self.bus.call_service("S", "get"))
        self.flushLoggedErrors(ValueError)
        kinds = {span.kind.name: span.attributes.get("error.type") for span in spans()}
        assert kinds == {
            "CLIENT": "opentera_twisted.errors.ProcedureFailed",
            "SERVER": "procedure_failed",
            "INTERNAL": "ValueError",
        }
        assert not any(span.events or span.status.description for span in spans())

    def test_an_unknown_procedure_is_not_named_by_the_server(self) -> None:
        self.serve(lambda: None, uuid=UUID)
        self.failureResultOf(self.bus.call_service(UUID, "other"), UnknownProcedure)
        (server,) = spans("opentera")
        assert server.attributes["rpc.method"] == "_OTHER"
        assert server.attributes["error.type"] == "unknown_procedure"
        (client,) = spans("service.{uuid}/other")
        assert client.attributes["rpc.method"] == "service.{uuid}/other"

    def test_a_cancelled_or_refused_call_ends_its_span(self) -> None:
        def get() -> Deferred[None]:
            return Deferred()

        self.serve(get)
        result = self.bus.call_service("S", "get")
        result.cancel()
        self.failureResultOf(result)
        with pytest.raises(InvalidArgument):
            self.bus.call_service("S", "get", object())  # type: ignore[arg-type]
        types = [span.attributes["error.type"] for span in spans("service.S/get")]
        assert types == [
            "twisted.internet.defer.CancelledError",
            "opentera_twisted.errors.InvalidArgument",
        ]
        caller: Any = self.bus.caller
        assert not caller._contexts

    def test_a_call_of_all_servers_has_one_span(self) -> None:
        self.serve(lambda: None)
        self.successResultOf(self.bus.call_all("service.S", "get"))
        ((client, *children),) = tree()
        assert client == "CLIENT service.S/get"
        assert "SERVER service.S/get" in str(children)

    def test_a_request_of_another_program_starts_a_trace(self) -> None:
        self.serve(lambda: None)
        self.bus.deliver("service.S.rpc", encode_request("get", "a", 1, []))
        ((server, *_),) = tree()
        assert server == "SERVER service.S/get"

    def test_a_delivery_has_a_span_for_each_handler(self) -> None:
        async def handler(delivery: Delivery) -> None:
            await self.bus.variables.get("a")

        topic = f"websocket.user.{UUID}.events"
        self.successResultOf(self.bus.subscribe(topic, handler))
        self.successResultOf(self.bus.subscribe_pattern("websocket.*", handler))
        recorder().clear()
        self.successResultOf(self.bus.publish(topic, b"x"))
        name = "websocket.user.{uuid}.events"
        delivery = [f"CONSUMER process {name}", ["CLIENT GET"]]
        publish = [f"PRODUCER publish {name}", ["CLIENT PUBLISH"]]
        assert sorted(tree()) == [delivery, delivery, publish]
        (published,) = spans(f"publish {name}")
        assert dict(published.attributes) == {
            "messaging.system": "redis",
            "messaging.operation.name": "publish",
            "messaging.operation.type": "send",
            "messaging.destination.name": topic,
            "messaging.destination.template": name,
        }

    def test_bytes_outside_utf_8_keep_spans_exportable(self) -> None:
        topic = b"x\xff.events"
        self.successResultOf(self.bus.subscribe_pattern("x*", lambda _: None))
        recorder().clear()
        self.bus.server.publish(topic, b"a")
        with pytest.raises(InvalidTopic):
            self.bus.publish(topics.decode(topic), b"a")
        with pytest.raises(InvalidArgument):
            self.bus.call_service("S", "\udcff")
        names = {span.name for span in spans()}
        assert {"process x?.events", "publish x?.events", "service.S/?"} <= names
        encode_spans(spans()).SerializeToString()

    def test_a_refusal_outside_utf_8_keeps_its_span_exportable(self) -> None:
        recorder().clear()
        context = begin("GET", SpanKind.CLIENT, {})
        _end(span_of(context), CommandFailed("GET", "\udcff error"))
        (span,) = spans("GET")
        assert span.attributes["db.response.status_code"] == "?"
        assert span.attributes["error.type"] == "?"

    def test_a_handler_that_fails_ends_its_span(self) -> None:
        def handler(delivery: Delivery) -> None:
            raise ValueError(SECRET)

        self.successResultOf(self.bus.subscribe("a", handler))
        self.bus.deliver("a", b"x")
        self.flushLoggedErrors(ValueError)
        (span,) = spans("process a")
        assert span.attributes["error.type"] == "ValueError"
        assert not span.events

    def test_a_refused_command_has_redis_s_code(self) -> None:
        recorder().clear()
        refused = self.bus.redis.execute_command("NOSUCH", SECRET)
        self.failureResultOf(refused, CommandFailed)
        (span,) = spans("NOSUCH")
        assert span.attributes["db.response.status_code"] == "ERR"
        assert span.attributes["error.type"] == "ERR"

    def test_no_attribute_holds_a_key_an_argument_or_a_value(self) -> None:
        async def get(text: str) -> str:
            await self.bus.variables.set(SECRET, SECRET)
            await self.bus.variables.get(SECRET)
            await self.bus.redis.execute_command(SECRET)
            return text

        self.serve(get)
        self.failureResultOf(self.bus.call_service("S", "get", SECRET))
        self.flushLoggedErrors(CommandFailed)
        self.successResultOf(self.bus.publish("opentera.recovery.marker." + SECRET, SECRET))
        reply_topic = "RedisRPCClient." + SECRET
        self.successResultOf(self.bus.publish(reply_topic, SECRET))
        text = "".join(span.to_json() for span in spans())
        assert "service.S/get" in text
        assert SECRET not in text
        assert SECRET.upper() not in text

    def test_a_traced_call_has_an_exemplar(self) -> None:
        self.serve(lambda: None)
        self.successResultOf(self.bus.call_service("S", "get"))
        for durations, kind in (
            (self.bus.caller.seconds, "CLIENT"),
            (self.bus.served.seconds, "SERVER"),
        ):
            (exemplar,) = durations.exemplars.values()
            (span,) = (span for span in spans("service.S/get") if span.kind.name == kind)
            assert exemplar.trace_id == f"{span.context.trace_id:032x}"
            assert exemplar.span_id == f"{span.context.span_id:016x}"


class RealTests(RedisTestCase):
    async def test_the_context_reaches_a_thread(self) -> None:
        bus = await self.bus(tracing=True)
        procedures = Procedures()

        @procedures.expose(thread=True)
        def get() -> None:
            from opentelemetry import trace  # noqa: PLC0415

            trace.get_tracer("test").start_span("in the thread").end()

        await bus.serve_service("S", procedures)
        recorder().clear()
        await bus.call_service("S", "get", timeout=GUARD)
        (inside,) = spans("in the thread")
        (around,) = spans("get")
        assert inside.parent.span_id == around.context.span_id

    async def test_requests_are_unchanged_without_tracing(self) -> None:
        traced, plain = await self.bus(tracing=True), await self.bus()
        requests = Collector()
        await plain.subscribe("service.S.rpc", requests)
        for number, bus in enumerate((plain, traced)):
            bus.call_service("S", "get", "x", timeout=GUARD).addErrback(lambda _: None)
            request = RPCMessage.FromString((await requests.wait(number + 1))[number].payload)
            assert len(UnknownFieldSet(request)) == number


def test_a_bus_without_tracing_imports_no_opentelemetry() -> None:
    program = """
import sys
from opentera_twisted import Bus
from opentera_twisted.gateway import Gateway
Gateway(Bus())
assert not any(name.startswith("opentelemetry") for name in sys.modules)
"""
    run([sys.executable, "-c", program], check=True, timeout=GUARD, env=ENVIRONMENT)
