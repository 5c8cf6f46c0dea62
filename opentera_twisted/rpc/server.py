"""A server of declared procedures: exactly one reply to each request on its topics."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any, Final
from weakref import WeakKeyDictionary

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.logger import Logger
from twisted.python.failure import Failure

from opentera_twisted._internal import callbacks
from opentera_twisted._internal.gathered import gathered
from opentera_twisted._internal.malformed import Malformed
from opentera_twisted._internal.thread_pool import NoThread, ThreadPool
from opentera_twisted._internal.waiters import Waiters
from opentera_twisted.errors import BusError, BusUnavailable, ProcedureError
from opentera_twisted.link import Done, Link
from opentera_twisted.pubsub import Delivery, PubSub, Subscription
from opentera_twisted.rpc.description import DESCRIBE, to_json
from opentera_twisted.rpc.limits import DEFAULT_LIMITS, FairSlots, Limits
from opentera_twisted.rpc.procedures import ArgumentsMismatch, Procedure, Procedures
from opentera_twisted.rpc.statistics import Served, Statistics
from opentera_twisted.rpc.wire import (
    BAD_REQUEST,
    INVALID_ARGUMENTS,
    LONGEST_MESSAGE,
    LONGEST_NAME,
    OVERLOADED,
    PROCEDURE_FAILED,
    UNKNOWN_PROCEDURE,
    Request,
    cut,
    decode_request,
    encode_error,
    encode_reply,
    may_carry_replies,
)

CLAIM_LIFETIME: Final = 60.0
"""Seconds for which Redis remembers the server that executes an exclusive call."""


class ProcedureServer:
    """Serve procedures on one topic, or on several equivalent topics.

    Args:
        link: provides the reactor, and claims exclusive calls.
        pubsub: carries requests and replies.
        service: key or name of the service, for its description.
        topics: topics to serve.
        procedures: the procedures to serve.
        limits: limits on calls.
        exclusive: run each call on exactly one of several servers of a topic.
        on_stopped: called when the server has stopped and answered its last call.
        served: counts shared with other servers; None counts separately.

    Example:
        >>> server = await bus.serve_service("Empty", Procedures())
        >>> server
        <ProcedureServer on service.Empty.rpc: listening>
        >>> await server.stop()
    """

    _log = Logger()
    _decode = staticmethod(decode_request)

    def __init__(
        self,
        link: Link,
        pubsub: PubSub,
        service: str,
        topics: Sequence[str],
        procedures: Procedures,
        limits: Limits = DEFAULT_LIMITS,
        exclusive: bool = False,
        on_stopped: Callable[[ProcedureServer], None] = lambda _: None,
        served: Served | None = None,
    ) -> None:
        self.topics = tuple(topics)
        self.is_exclusive = exclusive
        self.is_listening = True
        self._link = link
        self._pubsub = pubsub
        self._service = service
        self._procedures = procedures
        self._limits = limits
        self._on_stopped = on_stopped
        self._subscriptions: list[Subscription] = []
        self._in_flight = 0
        self._slots = FairSlots(limits.concurrent)
        self._threads = ThreadPool(f"procedures of {service}", limits.threads)
        self._failures: WeakKeyDictionary[Deferred[Any], Failure] = WeakKeyDictionary()
        self._drained: Waiters[None] = Waiters()
        self._malformed = Malformed("an RPC topic", "a request")
        self._misdirected = Malformed("an RPC topic", "a request with a valid reply topic")
        self._statistics = Statistics(served or Served())
        self._since = time.time()
        self._own: dict[str, Callable[[], Any]] = {
            DESCRIBE: lambda: to_json(procedures.describe(service)),
            "opentera.ping": lambda: {"service": service, "version": procedures.version},
            "opentera.stats": self._stats,
        }

    def __repr__(self) -> str:
        status = "listening" if self.is_listening else "stopped"
        return f"<ProcedureServer on {', '.join(self.topics)}: {status}>"

    @property
    def in_flight(self) -> int:
        """Number of calls that are running or being answered."""
        return self._in_flight

    async def start(self) -> None:
        """Listen on every topic.

        Raises:
            BusUnavailable, CommandFailed: a topic could not be subscribed; the server stops.
            BusUnavailable: the server was stopped meanwhile.
        """
        try:
            for topic in self.topics:
                subscription = await self._pubsub.subscribe(topic, self.received)
                self._subscriptions.append(subscription)  # of the list after the wait
                if not self.is_listening:
                    raise BusUnavailable(f"the server on {topic} was stopped before it started")
        except Exception:  # also if the caller cancels it
            await self.stop()
            raise

    def stop(self) -> Deferred[None]:
        """Unsubscribe, and finish the running calls.

        Returns:
            Fires when the last running call is answered.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self.is_listening = False
        subscriptions, self._subscriptions = self._subscriptions, []
        drained = [subscription.drain() for subscription in subscriptions]
        try:
            await gathered(drained)
            if self._in_flight:
                await self._drained.wait()
        finally:  # also if the caller waits no longer
            self._threads.stop()
            self._on_stopped(self)

    def _stats(self) -> dict[str, Any]:
        return {
            "service": self._service,
            "since": self._since,
            "in_flight": self._in_flight,
            "exclusive": self.is_exclusive,
            **self._statistics.to_json(),
        }

    def received(self, delivery: Delivery) -> None:
        """Answer a request."""
        topic, payload = delivery.topic, delivery.payload
        request = self._decode(payload)
        if request is None or not (request.method or request.reply_to):
            self._malformed.dropped(topic)
            return
        if not may_carry_replies(request.reply_to):
            self._misdirected.dropped(topic)
            self._statistics.refused(BAD_REQUEST)
            return
        self._in_flight += 1
        if self.is_exclusive and request.method not in self._own:
            self._claim(topic, request, partial(self._claimed, request, topic, len(payload)))
        else:
            self._answer(request, topic, len(payload))

    def _claim(self, topic: str, request: Request, done: Done) -> None:
        """Claim a call, so that only one of several servers executes it.

        Source: Redis command SET with NX.
        """
        call = f"{topic}\0{request.reply_to}\0{request.id}\0{request.timestamp!r}"
        name = f"opentera.claim.{hashlib.sha256(call.encode()).hexdigest()}"
        self._link.send(("SET", name, "", "PX", round(CLAIM_LIFETIME * 1000), "NX"), done)

    def _claimed(self, request: Request, topic: str, size: int, reply: Any) -> None:
        if reply is None:  # another server executes it
            self._ended(request)
        elif isinstance(reply, BusError):
            # Do not execute it without a claim: another server may execute it.
            self._log.warn(
                "cannot claim a call of {method}: {reason}",
                method=cut(request.method, LONGEST_NAME),
                reason=str(reply),
            )
            self._ended(request)
        else:
            self._answer(request, topic, size)

    def _answer(self, request: Request, topic: str, size: int) -> None:
        own = self._own.get(request.method)
        if own is not None:
            self._reply(request, self._returned(own(), request, topic, lambda _: None))
            return
        procedure = self._procedures.get(request.method)
        if size > self._limits.request:
            limit = self._limits.request
            refusal = (BAD_REQUEST, f"the request of {size} bytes is above the limit of {limit}")
        elif not request.method:
            refusal = (BAD_REQUEST, "the request names no procedure")
        elif procedure is None:
            refusal = (UNKNOWN_PROCEDURE, f"no procedure {cut(request.method, LONGEST_NAME)!r}")
        elif not self._slots.has_one_for(request.reply_to):
            refusal = (OVERLOADED, f"{self._slots.taken} calls are already running")
        else:
            try:
                procedure.check(request.arguments)
            except ArgumentsMismatch as mismatch:
                refusal = (INVALID_ARGUMENTS, str(mismatch))
            else:
                self._run(request, topic, procedure)
                return
        self._statistics.refused(refusal[0])
        self._reply(request, self._error(request, topic, *refusal))

    def _run(self, request: Request, topic: str, procedure: Procedure) -> None:
        began = perf_counter()

        def ended(code: str | None) -> None:
            self._statistics.ended(procedure.name, perf_counter() - began, code)

        try:
            result = self._start(procedure, request)
        except BaseException:  # noqa: BLE001 (logged and reported to the caller)
            self._reply(request, self._failed(Failure(), request, topic, ended))
            return
        if isinstance(result, Deferred):
            self._slots.take(request.reply_to)
            outcome = self._outcome(procedure, result)
            outcome.addBoth(self._not_running, request.reply_to)
            outcome.addCallback(self._returned, request, topic, ended)
            outcome.addErrback(self._failed, request, topic, ended)
            outcome.addCallback(lambda reply: self._reply(request, reply))
        else:
            self._reply(request, self._returned(result, request, topic, ended))

    def _outcome(self, procedure: Procedure, result: Deferred[Any]) -> Deferred[Any]:
        """Copy the result of a procedure's Deferred to a new one.

        The procedure may return one Deferred for several calls, or never fire it. So its result is
        preserved, and the timeout does not depend on it.
        """

        def cancel(_: object) -> None:
            if procedure.thread:
                self._slots.keep()
                result.addBoth(lambda _: self._slots.give_up())
            else:
                result.cancel()

        def cancelled(outcome: Deferred[Any]) -> None:
            callbacks.run("the canceller of a procedure", cancel, outcome)

        outcome: Deferred[Any] = Deferred(cancelled)

        def settle(value: Any) -> Any:
            if isinstance(value, Failure):
                # The error is handled here, and kept for another call with the same Deferred.
                self._failures[result] = value
            value = self._failures.get(result, value)
            if not outcome.called:
                outcome.callback(value)
            return None if isinstance(value, Failure) else value

        result.addBoth(settle)
        if procedure.timeout is not None:
            outcome.addTimeout(procedure.timeout, self._link.clock)
        return outcome

    def _not_running(self, value: Any, caller: str) -> Any:
        self._slots.leave(caller)
        return value

    def _start(self, procedure: Procedure, request: Request) -> Any:
        """Call the function; a pending result is a Deferred."""
        if procedure.thread:
            return self._threads.run(
                self._link.reactor,
                procedure.name,
                procedure.function,
                *request.arguments,
                refuse=True,
            )
        return callbacks.outcome(procedure.function(*request.arguments))

    def _returned(
        self,
        value: Any,
        request: Request,
        topic: str,
        ended: Callable[[str | None], None],
    ) -> bytes:
        """Encode a result as a reply, or as an error if it cannot be sent."""
        try:
            reply = encode_reply(request, topic, value)
            if len(reply) > self._limits.reply:
                raise ValueError(f"{len(reply)} bytes are above the limit of {self._limits.reply}")
        except Exception as error:  # noqa: BLE001 (raised by the user's objects)
            self._log.error(
                "the result of {method} of {topic} cannot be sent as JSON (request {id}): {error}",
                method=request.method,
                topic=topic,
                id=request.id,
                error=repr(error),
            )
            message = f"its result cannot be sent as JSON: {error}"
            reply = self._error(request, topic, PROCEDURE_FAILED, message)
            ended(PROCEDURE_FAILED)
        else:
            ended(None)
        return reply

    def _failed(
        self,
        failure: Failure,
        request: Request,
        topic: str,
        ended: Callable[[str | None], None],
    ) -> bytes:
        """Encode an error; only a `ProcedureError` passes its message to the caller."""
        code = PROCEDURE_FAILED
        if failure.check(ProcedureError):
            message = failure.getErrorMessage()
        elif failure.check(NoThread):
            code, message = OVERLOADED, failure.getErrorMessage()
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
        ended(code)
        return self._error(request, topic, code, message)

    def _error(self, request: Request, topic: str, code: str, message: str) -> bytes:
        """Encode an error reply, with a message as long as the limit on replies allows."""
        message = cut(message, LONGEST_MESSAGE)
        reply = encode_error(request, topic, code, message)
        while len(reply) > self._limits.reply and message:
            message = message[: len(message) // 2]
            reply = encode_error(request, topic, code, message)
        return reply

    def _reply(self, request: Request, reply: bytes) -> None:
        if request.reply_to:
            self._link.send(("PUBLISH", request.reply_to, reply), partial(self._published, request))
        else:
            self._ended(request)

    def _published(self, request: Request, receivers: int | BusError) -> None:
        if isinstance(receivers, BusError):
            self._log.warn(
                "cannot send the reply of {method}: {reason}",
                method=cut(request.method, LONGEST_NAME),
                reason=str(receivers),
            )
        self._ended(request)

    def _ended(self, request: Request) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._drained.fire(None)
