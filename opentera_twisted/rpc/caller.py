"""Calls of procedures: one reply topic per bus; replies are matched by call id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from functools import partial
from typing import Any, Final
from uuid import uuid4

from attrs import Factory, define, frozen
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from opentera_twisted._internal.histogram import Histogram
from opentera_twisted._internal.timeouts import check_timeout
from opentera_twisted.errors import (
    ArgumentsRejected,
    BadReply,
    BusError,
    CallError,
    CallInterrupted,
    CallNotSent,
    CallTimeout,
    CommandFailed,
    ConnectionLost,
    InvalidArgument,
    NoResponder,
    Overloaded,
    ProcedureFailed,
    UnknownProcedure,
)
from opentera_twisted.link import Link
from opentera_twisted.pubsub import Delivery, PubSub
from opentera_twisted.rpc.argument_types import ArgumentValue
from opentera_twisted.rpc.wire import (
    Json,
    answers,
    decode_reply,
    encode_request,
    new_id,
    return_value,
)
from opentera_twisted.topics import REPLY_CHANNELS

CALL_TIMEOUT: Final = 10.0
"""Default timeout of a call in seconds, as in existing OpenTera programs."""

MOST_ANSWERS: Final = 10_000
"""Maximum number of answers kept for `Caller.call_all` before Redis reports the receivers."""

OUTCOMES: Final[Mapping[type[BusError], str]] = {
    NoResponder: "no_responder",
    CallNotSent: "not_sent",
    CallTimeout: "timeout",
    CallInterrupted: "interrupted",
    UnknownProcedure: "unknown_procedure",
    ArgumentsRejected: "arguments_rejected",
    ProcedureFailed: "procedure_failed",
    Overloaded: "overloaded",
    BadReply: "bad_reply",
    BusError: "unavailable",  # any other error
}
"""Outcomes by which failed calls are counted; successful ones count as ``returned``."""


@frozen
class Answer:
    """One server's reply to `Bus.call_all`.

    Attributes:
        value: return value of the procedure; None if it failed.
        error: error of the call; None if it succeeded.

    Example:
        >>> await bus.call_all("service.Sum", "add", 1, 2)
        [Answer(value=3, error=None)]
    """

    value: Json = None
    error: CallError | None = None


@define(eq=False)
class _Gathering:
    """A pending call of all servers, which collects replies."""

    topic: str
    procedure: str
    result: Deferred[list[Answer]]
    answers: list[Answer] = Factory(list)
    receivers: int | None = None
    expiry: IDelayedCall | None = None

    @property
    def is_complete(self) -> bool:
        """True when all receivers have answered."""
        return len(self.answers) >= (MOST_ANSWERS if self.receivers is None else self.receivers)


@define(eq=False)
class PendingCall:
    """A pending call."""

    topic: str
    procedure: str
    result: Deferred[Json]
    expiry: IDelayedCall
    began: float
    waiting: Deferred[None] | None = None
    sent: bool = False


def encode_call(
    procedure: str,
    reply_to: str,
    call_id: int,
    arguments: Sequence[ArgumentValue],
    timeout: float,
) -> bytes:
    """Encode the request of a call.

    Raises:
        InvalidArgument: an argument, the name or the timeout is invalid.
    """
    if not isinstance(procedure, str) or not procedure:
        raise InvalidArgument(f"a procedure's name must be a string, not {procedure!r}")
    if not procedure.isprintable():
        raise InvalidArgument(f"a procedure's name must be printable text, not {procedure!r}")
    check_timeout(timeout)
    return encode_request(procedure, reply_to, call_id, arguments)


class Caller:
    """Call procedures of modules and services.

    Attributes:
        outcomes: number of calls by outcome: ``returned``, ``cancelled``, or one of `OUTCOMES`.
        seconds: durations of the calls that received a reply.
        dropped_replies: number of replies that were late, duplicate, or matched no call.
    """

    _log = Logger()
    _encode = staticmethod(encode_call)

    def __init__(self, link: Link, pubsub: PubSub) -> None:
        self._link = link
        self._pubsub = pubsub
        self._calls: dict[int, PendingCall] = {}
        self._gatherings: dict[int, _Gathering] = {}
        self._reply_to = f"{REPLY_CHANNELS}{uuid4()}"
        self.outcomes: Counter[str] = Counter()
        self.seconds = Histogram()
        self.dropped_replies = 0
        self._listening, listening = pubsub.keep(self._reply_to, self._replied)
        # A refusal is logged, and fails each call.
        listening.addErrback(lambda _: None)
        self._refusal: Failure | None = None
        link.on_ready.append(self._listen_again)
        link.on_interrupted.append(self._interrupted)

    @property
    def in_flight(self) -> int:
        """Number of pending calls."""
        return len(self._calls)

    def call(
        self, topic: str, procedure: str, arguments: Sequence[ArgumentValue], timeout: float
    ) -> Deferred[Json]:
        """Call a procedure; cancelling the Deferred abandons the call.

        Args:
            topic: topic of the server.
            procedure: name of the procedure.
            arguments: positional arguments.
            timeout: seconds until `CallTimeout`, including the wait for the link.

        Returns:
            Fires with the procedure's return value.

        Raises:
            InvalidArgument: an argument, the name or the timeout is invalid.
        """
        self._link.check_thread()
        call_id = self._new_id()
        request = self._encode(procedure, self._reply_to, call_id, arguments, timeout)
        result: Deferred[Json] = Deferred(lambda _: self._cancelled(call_id))
        expiry = self._link.clock.callLater(timeout, self._expire, call_id, timeout)
        self._calls[call_id] = call = PendingCall(
            topic, procedure, result, expiry, self._link.clock.seconds()
        )
        if self._link.is_ready_for(topic, self._reply_to):
            self._send(call_id, call, request)
        else:
            call.waiting = self._link.ready_for(topic, self._reply_to)
            call.waiting.addCallback(lambda _: self._send(call_id, call, request))
            call.waiting.addErrback(self._not_ready, call_id)
        return result

    def call_all(
        self, topic: str, procedure: str, arguments: Sequence[ArgumentValue], timeout: float
    ) -> Deferred[list[Answer]]:
        """Call a procedure of every server on a topic.

        Args:
            topic: topic of the servers.
            procedure: name of the procedure.
            arguments: positional arguments.
            timeout: seconds to wait for replies.

        Returns:
            Fires with the answers that arrived in time, or at once when each receiver has answered.
            There are never more answers than receivers.

        Raises:
            InvalidArgument: an argument, the name or the timeout is invalid.

        Fails with:
            BusUnavailable, ConnectionLost.
        """
        self._link.check_thread()
        call_id = self._new_id()
        request = self._encode(procedure, self._reply_to, call_id, arguments, timeout)
        return Deferred.fromCoroutine(self._gather(call_id, topic, procedure, request, timeout))

    async def _gather(
        self, call_id: int, topic: str, procedure: str, request: bytes, seconds: float
    ) -> list[Answer]:
        gathering = _Gathering(topic, procedure, Deferred())
        self._gatherings[call_id] = gathering
        try:
            clock = self._link.clock
            ends = clock.seconds() + seconds
            await self._link.ready_for(topic, self._reply_to).addTimeout(seconds, clock)
            left = max(ends - clock.seconds(), 0)
            gathering.expiry = clock.callLater(left, self._gathered, gathering)
            publishing = self._pubsub.publish(topic, request)
            gathering.receivers = await publishing.addTimeout(left, clock)
            if not gathering.is_complete:
                await gathering.result
        except DeferredTimeout:
            raise self._link.unavailable(seconds) from self._link.error
        finally:
            del self._gatherings[call_id]
            if gathering.expiry is not None and gathering.expiry.active():
                gathering.expiry.cancel()
        return gathering.answers[: gathering.receivers]

    def _gathered(self, gathering: _Gathering) -> None:
        if not gathering.result.called:
            gathering.result.callback(gathering.answers)

    def _collect(self, gathering: _Gathering, reply: Mapping[str, Any]) -> None:
        try:
            answer = Answer(return_value(reply, gathering.topic, gathering.procedure))
        except CallError as error:
            answer = Answer(error=error)
        gathering.answers.append(answer)
        if gathering.receivers is not None and gathering.is_complete:
            self._gathered(gathering)

    def _send(self, call_id: int, call: PendingCall, request: bytes) -> None:
        call.waiting = None
        if self._refusal is not None:  # no reply would arrive, unless the right was restored
            self._refusal = None
            listening = self._pubsub.acknowledged(self._listening)
            listening.addErrback(self._refused)
            listening.addCallback(lambda _: self._send_if_listening(call_id, call, request))
            return
        call.sent = True
        self._link.send(("PUBLISH", call.topic, request), partial(self._published, call_id))

    def _listen_again(self) -> None:
        """Subscribe to replies again; Redis may have refused that on this connection."""
        self._refusal = None
        self._pubsub.acknowledged(self._listening).addErrback(self._refused)

    def _send_if_listening(self, call_id: int, call: PendingCall, request: bytes) -> None:
        if self._calls.get(call_id) is not call:
            return  # it was cancelled, or has timed out
        if self._refusal is None:
            self._send(call_id, call, request)
        else:
            self._not_ready(self._refusal, call_id)

    def _refused(self, failure: Failure) -> None:
        if failure.check(CommandFailed):
            self._refusal = failure

    def _published(self, call_id: int, receivers: int | BusError) -> None:
        if receivers.__class__ is int and receivers:
            return
        call = self._take(call_id)
        if call is None:
            return
        if isinstance(receivers, ConnectionLost):
            self._fail(call, self._interruption(call))
        elif isinstance(receivers, BusError):
            self._fail(call, receivers)
        else:
            self._fail(
                call,
                NoResponder(
                    f"nobody listens on {call.topic}", topic=call.topic, procedure=call.procedure
                ),
            )

    def _not_ready(self, failure: Failure, call_id: int) -> None:
        call = self._take(call_id)
        if call is not None:
            self._fail(call, failure)

    def _fail(self, call: PendingCall, reason: BusError | Failure) -> None:
        """Fail a call and count its outcome."""
        error = reason.value if isinstance(reason, Failure) else reason
        for kind in type(error).__mro__:
            if kind in OUTCOMES:
                self.outcomes[OUTCOMES[kind]] += 1
                break
        call.result.errback(reason)

    def _replied(self, delivery: Delivery) -> None:
        reply = decode_reply(delivery.payload)
        if reply is not None and type(call_id := reply.get("id")) is int:
            call = self._calls.get(call_id)
            if call is not None and answers(reply, call.topic):
                self._take(call_id)
                self._settle(call, reply)
                return
            gathering = self._gatherings.get(call_id)
            if (
                gathering is not None
                and not gathering.is_complete
                and answers(reply, gathering.topic)
            ):
                self._collect(gathering, reply)
                return
        self.dropped_replies += 1
        self._log.debug("dropped a reply that matches no pending call")

    def _new_id(self) -> int:
        """Choose an id that no pending call has."""
        call_id = new_id()
        while call_id in self._calls or call_id in self._gatherings:
            call_id = new_id()
        return call_id

    def _settle(self, call: PendingCall, reply: Mapping[str, Any]) -> None:
        try:
            self.seconds.add(self._link.clock.seconds() - call.began)
            value = return_value(reply, call.topic, call.procedure)
        except Exception:  # noqa: BLE001 (passed to the caller)
            self._fail(call, Failure())
        else:
            self.outcomes["returned"] += 1
            call.result.callback(value)

    def _expire(self, call_id: int, seconds: float) -> None:
        call = self._take(call_id)
        if call is None:
            return
        error: type[CallTimeout] = CallTimeout if call.sent else CallNotSent
        what = "got no reply" if call.sent else "was not sent"
        why = "" if call.sent else f": {self._link.why_not()}"
        timeout = error(
            f"{call.procedure} of {call.topic} {what} within {seconds:g} seconds{why}",
            topic=call.topic,
            procedure=call.procedure,
            seconds=seconds,
        )
        if not call.sent:
            timeout.__cause__ = self._link.error
        self._fail(call, timeout)

    def _interrupted(self, topics_concerned: Container[bytes]) -> None:
        """Fail the calls that were sent, if their replies may be missed."""
        if self._listening.name.text not in topics_concerned:
            return
        for call_id, call in list(self._calls.items()):
            if call.sent:
                self._take(call_id)
                self._fail(call, self._interruption(call))

    def _interruption(self, call: PendingCall) -> CallInterrupted:
        return CallInterrupted(
            f"the link to Redis broke while {call.procedure} of {call.topic} was pending",
            topic=call.topic,
            procedure=call.procedure,
        )

    def _cancelled(self, call_id: int) -> None:
        if self._take(call_id) is not None:
            self.outcomes["cancelled"] += 1

    def _take(self, call_id: int) -> PendingCall | None:
        call = self._calls.pop(call_id, None)
        if call is None:
            return None
        if call.expiry.active():
            call.expiry.cancel()
        if call.waiting is not None:
            waiting, call.waiting = call.waiting, None
            waiting.cancel()
        return call
