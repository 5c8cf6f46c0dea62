"""Answers the requests on a topic with declared procedures: exactly one reply to each."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import iscoroutine
from typing import Any, Final

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from opentera_twisted.errors import BusError, ProcedureError
from opentera_twisted.link import Link
from opentera_twisted.pubsub import Delivery, Junk, PubSub, Subscription
from opentera_twisted.rpc.procedures import ArgumentsMismatch, Procedure, Procedures
from opentera_twisted.rpc.wire import (
    INVALID_ARGUMENTS,
    OVERLOADED,
    PROCEDURE_FAILED,
    UNKNOWN_PROCEDURE,
    Request,
    decode_request,
    encode_error,
    encode_reply,
)

MAX_CONCURRENT: Final = 1000
"""Calls that a server runs at a time, unless it says otherwise."""


class ProcedureServer:
    """Serves procedures on one topic, or on several that mean the same.

    Args:
        link: for its reactor.
        pubsub: carries requests and replies.
        topics: where it listens.
        procedures: what it answers with.
        max_concurrent: calls that run at a time; more are answered ``overloaded``.
    """

    _log = Logger()

    def __init__(
        self,
        link: Link,
        pubsub: PubSub,
        topics: Sequence[str],
        procedures: Procedures,
        max_concurrent: int = MAX_CONCURRENT,
    ) -> None:
        self.topics = tuple(topics)
        self._link = link
        self._pubsub = pubsub
        self._procedures = procedures
        self._max_concurrent = max_concurrent
        self._subscriptions: list[Subscription] = []
        self._in_flight = 0
        self._drained: list[Deferred[None]] = []
        self._junk = Junk("an RPC topic", "a request")

    @property
    def in_flight(self) -> int:
        """How many calls are running or being answered."""
        return self._in_flight

    async def start(self) -> None:
        """Listen on every topic.

        Raises:
            BusUnavailable, CommandFailed: one of them could not be subscribed; none is then.
        """
        try:
            for topic in self.topics:
                self._subscriptions.append(await self._pubsub.subscribe(topic, self._received))
        except BusError:
            await self.stop()
            raise

    def stop(self) -> Deferred[None]:
        """Take no more calls, and finish those that run.

        Returns:
            Fires when the last of them has been answered.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        subscriptions, self._subscriptions = self._subscriptions, []
        await gatherResults([subscription.drain() for subscription in subscriptions])
        if self._in_flight:
            drained: Deferred[None] = Deferred()
            self._drained.append(drained)
            await drained

    def _received(self, delivery: Delivery) -> None:
        topic = delivery.topic
        request = decode_request(delivery.payload)
        if request is None or not request.method:
            self._junk.dropped(topic)
            return
        procedure = self._procedures.get(request.method)
        if procedure is None:
            self._refuse(request, topic, UNKNOWN_PROCEDURE, f"no procedure {request.method!r}")
        elif self._in_flight >= self._max_concurrent:
            self._refuse(
                request, topic, OVERLOADED, f"{self._in_flight} calls are in progress already"
            )
        else:
            try:
                procedure.check(request.arguments)
            except ArgumentsMismatch as mismatch:
                self._refuse(request, topic, INVALID_ARGUMENTS, str(mismatch))
            else:
                self._run(request, topic, procedure)

    def _run(self, request: Request, topic: str, procedure: Procedure) -> None:
        self._in_flight += 1
        try:
            result = self._start(procedure, request)
        except Exception:  # noqa: BLE001 (goes to the log and to the caller)
            self._reply(request, self._failed(Failure(), request, topic))
            return
        if isinstance(result, Deferred):
            if procedure.timeout is not None:
                result.addTimeout(procedure.timeout, self._link.reactor)
            result.addCallback(self._returned, request, topic)
            result.addErrback(self._failed, request, topic)
            result.addCallback(lambda reply: self._reply(request, reply))
        else:
            self._reply(request, self._returned(result, request, topic))

    def _start(self, procedure: Procedure, request: Request) -> Any:
        """Call the function; a Deferred when its result is still to come."""
        if procedure.thread:
            reactor = self._link.reactor
            return deferToThreadPool(
                reactor, reactor.getThreadPool(), procedure.function, *request.arguments
            )
        result = procedure.function(*request.arguments)
        return Deferred.fromCoroutine(result) if iscoroutine(result) else result

    def _returned(self, value: Any, request: Request, topic: str) -> bytes:
        """The reply with a result, or the one that says that it cannot be sent."""
        try:
            return encode_reply(request, topic, value)
        except (TypeError, ValueError, RecursionError) as error:
            self._log.error(
                "{method} of {topic} returned what is not JSON (request {id}): {error}",
                method=request.method,
                topic=topic,
                id=request.id,
                error=str(error),
            )
            return encode_error(
                request, topic, PROCEDURE_FAILED, f"its result cannot be sent as JSON: {error}"
            )

    def _failed(self, failure: Failure, request: Request, topic: str) -> bytes:
        """The reply that a procedure raised; only a `ProcedureError` speaks to the caller."""
        if failure.check(ProcedureError):
            message = failure.getErrorMessage()
        elif failure.check(DeferredTimeout):
            message = "it took too long"
        else:
            message = type(failure.value).__name__
            self._log.failure(
                "{method} of {topic} failed (request {id})",
                failure,
                method=request.method,
                topic=topic,
                id=request.id,
            )
        return encode_error(request, topic, PROCEDURE_FAILED, message)

    def _refuse(self, request: Request, topic: str, code: str, message: str) -> None:
        self._in_flight += 1
        self._reply(request, encode_error(request, topic, code, message))

    def _reply(self, request: Request, reply: bytes) -> None:
        published: Deferred[Any] = (
            self._pubsub.publish(request.reply_to, reply) if request.reply_to else succeed(0)
        )
        published.addErrback(self._reply_lost, request)
        published.addCallback(self._answered)

    def _reply_lost(self, failure: Failure, request: Request) -> None:
        self._log.warn(
            "the reply of {method} was lost: {reason}",
            method=request.method,
            reason=failure.getErrorMessage(),
        )

    def _answered(self, _: object) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            drained, self._drained = self._drained, []
            for one in drained:
                one.callback(None)
