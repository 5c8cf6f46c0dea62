"""Callers and servers with spans: the caller's, the server's, and the procedure's.

Source: semantic conventions of OpenTelemetry for remote procedure calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from attrs import Factory, define
from opentelemetry.context import Context, get_current
from opentelemetry.trace import SpanKind
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from opentera_twisted._internal.histogram import Histogram
from opentera_twisted._internal.thread_pool import ContextThreadPool
from opentera_twisted.link import Done, Link
from opentera_twisted.pubsub import PubSub
from opentera_twisted.rpc import Answer, ArgumentValue, Caller, Json, ProcedureServer, Served
from opentera_twisted.rpc.caller import PendingCall, encode_call
from opentera_twisted.rpc.procedures import Procedure
from opentera_twisted.rpc.wire import LONGEST_NAME, Request, cut, decode_request
from opentera_twisted.tracing import request_field
from opentera_twisted.tracing.exemplars import TracedHistogram
from opentera_twisted.tracing.names import OTHER, RPC_SYSTEM, method
from opentera_twisted.tracing.spans import begin, fail, inside, run, span_of

_SYSTEM: Final = {"rpc.system.name": RPC_SYSTEM}


class TracedCaller(Caller):
    """Calls with a span each, whose context goes with the request."""

    def __init__(self, link: Link, pubsub: PubSub) -> None:
        super().__init__(link, pubsub)
        self._durations = self.seconds = TracedHistogram()
        self._contexts: dict[Deferred[Json], Context] = {}

    def call(
        self, topic: str, procedure: str, arguments: Sequence[ArgumentValue], timeout: float
    ) -> Deferred[Json]:
        """Call a procedure; cancelling the Deferred abandons the call."""
        context = _begin_call(topic, procedure)
        result: Deferred[Json] = run(context, super().call, topic, procedure, arguments, timeout)
        if not result.called:
            self._contexts[result] = context
            result.addBoth(self._ended, result)
        return result

    def call_all(
        self, topic: str, procedure: str, arguments: Sequence[ArgumentValue], timeout: float
    ) -> Deferred[list[Answer]]:
        """Call a procedure of every server on a topic."""
        answers: Deferred[list[Answer]] = run(
            _begin_call(topic, procedure), super().call_all, topic, procedure, arguments, timeout
        )
        return answers

    @staticmethod
    def _encode(
        procedure: str,
        reply_to: str,
        call_id: int,
        arguments: Sequence[ArgumentValue],
        timeout: float,
    ) -> bytes:
        request = encode_call(procedure, reply_to, call_id, arguments, timeout)
        return request + request_field.encode(get_current())

    def _send(self, call_id: int, call: PendingCall, request: bytes) -> None:
        context = self._contexts.get(call.result)
        if context is None:  # still inside `call`
            super()._send(call_id, call, request)
        else:
            with inside(context):
                super()._send(call_id, call, request)

    def _settle(self, call: PendingCall, reply: Mapping[str, Any]) -> None:
        self._durations.context = self._contexts.get(call.result)
        super()._settle(call, reply)

    def _ended(self, value: Any, result: Deferred[Json]) -> Any:
        del self._contexts[result]
        return value


class _TracedRequest(Request):
    """A request with its context.

    Attributes:
        context: the caller's context, and then the server's.
    """

    context: Context


class TracedServer(ProcedureServer):
    """A server whose calls have a span each, and another one for the procedure."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._threads = ContextThreadPool(f"procedures of {self._service}", self._limits.threads)

    @staticmethod
    def _decode(payload: bytes) -> Request | None:
        request = decode_request(payload)
        if request is None:
            return None
        traced = _TracedRequest(*request)
        traced.context = request_field.decode(payload)
        return traced

    def _claim(self, topic: str, request: Request, done: Done) -> None:
        with inside(_context(request)):
            super()._claim(topic, request, done)

    def _answer(self, request: Request, topic: str, size: int) -> None:
        is_known = request.method in self._own or self._procedures.get(request.method) is not None
        name = method(topic, request.method) if is_known else OTHER
        context = begin(
            name if is_known else RPC_SYSTEM,
            SpanKind.SERVER,
            {**_SYSTEM, "rpc.method": name},
            _context(request),
        )
        cast("_TracedRequest", request).context = context
        with inside(context):
            super()._answer(request, topic, size)

    def _start(self, procedure: Procedure, request: Request) -> Any:
        context = begin(procedure.name, SpanKind.INTERNAL, _SYSTEM)
        return run(context, super()._start, procedure, request)

    def _returned(
        self,
        value: Any,
        request: Request,
        topic: str,
        ended: Callable[[str | None], None],
    ) -> bytes:
        with inside(_context(request)):
            return super()._returned(value, request, topic, ended)

    def _failed(
        self,
        failure: Failure,
        request: Request,
        topic: str,
        ended: Callable[[str | None], None],
    ) -> bytes:
        with inside(_context(request)):
            return super()._failed(failure, request, topic, ended)

    def _error(self, request: Request, topic: str, code: str, message: str) -> bytes:
        span = span_of(_context(request))
        span.set_attribute("rpc.response.status_code", code)
        fail(span, code)
        return super()._error(request, topic, code, message)

    def _reply(self, request: Request, reply: bytes) -> None:
        with inside(_context(request)):
            super()._reply(request, reply)

    def _ended(self, request: Request) -> None:
        span_of(_context(request)).end()
        super()._ended(request)


@define(eq=False)
class TracedServed(Served):
    """Counts of servers, whose durations have exemplars."""

    seconds: Histogram = Factory(TracedHistogram)


def _begin_call(topic: str, procedure: str) -> Context:
    name = method(topic, cut(str(procedure), LONGEST_NAME))
    return begin(name, SpanKind.CLIENT, {**_SYSTEM, "rpc.method": name})


def _context(request: Request) -> Context:
    return cast("_TracedRequest", request).context
