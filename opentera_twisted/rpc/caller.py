"""Calls of procedures: one reply channel a bus, replies matched by the call's id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
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
from opentera_twisted.rpc.values import ArgumentValue
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
"""Seconds that a call waits for its reply, unless it says otherwise; as deployed callers do."""

MOST_ANSWERS: Final = 10_000
"""Answers of a call of all that are kept until Redis has said how many servers have it."""

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
    BusError: "unavailable",  # any other
}
"""What is counted as the outcome of a call that fails; ``returned`` when it does not."""


@frozen
class Answer:
    """One server's reply to a call of all.

    Attributes:
        value: what the procedure returned; None when it failed.
        error: why it gave no value; None when it did.
    """

    value: Json = None
    error: CallError | None = None


@define(eq=False)
class _Gathering:
    """A call of all that collects replies."""

    topic: str
    procedure: str
    result: Deferred[list[Answer]]
    answers: list[Answer] = Factory(list)
    receivers: int | None = None
    expiry: IDelayedCall | None = None

    @property
    def is_complete(self) -> bool:
        """Whether as many have answered as can."""
        return len(self.answers) >= (MOST_ANSWERS if self.receivers is None else self.receivers)


@define(eq=False)
class _Call:
    """A call that waits for its reply."""

    topic: str
    procedure: str
    result: Deferred[Json]
    expiry: IDelayedCall
    began: float
    waiting: Deferred[None] | None = None
    sent: bool = False


class Caller:
    """Calls procedures of modules and services.

    Args:
        link: tells when replies may have been missed.
        pubsub: carries requests and replies.

    Attributes:
        outcomes: how many calls ended how: ``returned``, ``cancelled``, or one of `OUTCOMES`.
        seconds: from the call to its reply, of those that got one.
        dropped_replies: how many replies came late, twice, from another topic, or to no call.
    """

    _log = Logger()

    def __init__(self, link: Link, pubsub: PubSub) -> None:
        self._link = link
        self._pubsub = pubsub
        self._calls: dict[int, _Call] = {}
        self._gatherings: dict[int, _Gathering] = {}
        self._reply_to = f"{REPLY_CHANNELS}{uuid4()}"
        self.outcomes: Counter[str] = Counter()
        self.seconds = Histogram()
        self.dropped_replies = 0
        self._listening, listening = pubsub.keep(self._reply_to, self._replied)
        # A refusal has been logged, and is told to each call.
        listening.addErrback(lambda _: None)
        self._refusal: Failure | None = None
        link.on_ready.append(self._listen_again)
        link.on_interrupted.append(self._interrupted)

    @property
    def in_flight(self) -> int:
        """How many calls wait for their reply."""
        return len(self._calls)

    def call(
        self, topic: str, procedure: str, arguments: Sequence[ArgumentValue], timeout: float
    ) -> Deferred[Json]:
        """Call a procedure; cancelling the Deferred forgets the call.

        Args:
            topic: of the server.
            procedure: its name there.
            arguments: by position.
            timeout: seconds until `CallTimeout`; waiting for the link counts.

        Returns:
            Fires with what the procedure returned.

        Raises:
            InvalidArgument: an argument, the name or the timeout is not of the right kind.
        """
        call_id = self._new_id()
        request = encode_call(procedure, self._reply_to, call_id, arguments, timeout)
        result: Deferred[Json] = Deferred(lambda _: self._cancelled(call_id))
        expiry = self._link.clock.callLater(timeout, self._expire, call_id, timeout)
        self._calls[call_id] = call = _Call(
            topic, procedure, result, expiry, self._link.clock.seconds()
        )
        if self._link.is_ready:
            self._send(call_id, call, request)
        else:
            call.waiting = self._link.ready()
            call.waiting.addCallback(lambda _: self._send(call_id, call, request))
            call.waiting.addErrback(self._not_ready, call_id)
        return result

    def call_all(
        self, topic: str, procedure: str, arguments: Sequence[ArgumentValue], timeout: float
    ) -> Deferred[list[Answer]]:
        """Call a procedure of every server of a topic.

        Args:
            topic: of the servers.
            procedure: its name there.
            arguments: by position.
            timeout: seconds after which no more replies are waited for.

        Returns:
            Fires with all that came in time, at once when each receiver has answered; never with
            more answers than there are receivers, though one may have answered several times.

        Raises:
            InvalidArgument: an argument, the name or the timeout is not of the right kind.

        Fails with:
            BusUnavailable, ConnectionLost.
        """
        call_id = self._new_id()
        request = encode_call(procedure, self._reply_to, call_id, arguments, timeout)
        return Deferred.fromCoroutine(self._gather(call_id, topic, procedure, request, timeout))

    async def _gather(
        self, call_id: int, topic: str, procedure: str, request: bytes, seconds: float
    ) -> list[Answer]:
        gathering = _Gathering(topic, procedure, Deferred())
        self._gatherings[call_id] = gathering
        try:
            clock = self._link.clock
            ends = clock.seconds() + seconds
            await self._link.ready().addTimeout(seconds, clock)
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

    def _send(self, call_id: int, call: _Call, request: bytes) -> None:
        call.waiting = None
        if self._refusal is not None:  # no reply could come, unless the right is back
            self._refusal = None
            listening = self._pubsub.acknowledged(self._listening)
            listening.addErrback(self._refused)
            listening.addCallback(lambda _: self._send_if_heard(call_id, call, request))
            return
        call.sent = True
        self._link.send(("PUBLISH", call.topic, request), partial(self._published, call_id))

    def _listen_again(self) -> None:
        """See that Redis lets us have replies; it may have refused them on this connection."""
        self._refusal = None
        self._pubsub.acknowledged(self._listening).addErrback(self._refused)

    def _send_if_heard(self, call_id: int, call: _Call, request: bytes) -> None:
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

    def _fail(self, call: _Call, reason: BusError | Failure) -> None:
        """End a call with an error, and count that as its outcome."""
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
        self._log.debug("dropped a reply to no call that waits")

    def _new_id(self) -> int:
        """Choose an id that no call in flight has."""
        call_id = new_id()
        while call_id in self._calls or call_id in self._gatherings:
            call_id = new_id()
        return call_id

    def _settle(self, call: _Call, reply: Mapping[str, Any]) -> None:
        try:
            self.seconds.add(self._link.clock.seconds() - call.began)
            value = return_value(reply, call.topic, call.procedure)
        except Exception:  # noqa: BLE001 (goes to who called)
            self._fail(call, Failure())
        else:
            self.outcomes["returned"] += 1
            call.result.callback(value)

    def _expire(self, call_id: int, seconds: float) -> None:
        call = self._take(call_id)
        if call is None:
            return
        error: type[CallTimeout] = CallTimeout if call.sent else CallNotSent
        what = "did not answer" if call.sent else "could not be asked"
        why = "" if call.sent else f": {self._link.why_not()}"
        timeout = error(
            f"{call.topic} {what} {call.procedure} for {seconds:g} seconds{why}",
            topic=call.topic,
            procedure=call.procedure,
            seconds=seconds,
        )
        if not call.sent:
            timeout.__cause__ = self._link.error
        self._fail(call, timeout)

    def _interrupted(self) -> None:
        """Replies are being missed: no call that was sent can count on its own any more."""
        for call_id, call in list(self._calls.items()):
            if call.sent:
                self._take(call_id)
                self._fail(call, self._interruption(call))

    def _interruption(self, call: _Call) -> CallInterrupted:
        return CallInterrupted(
            f"the link to Redis broke while {call.procedure} of {call.topic} was under way",
            topic=call.topic,
            procedure=call.procedure,
        )

    def _cancelled(self, call_id: int) -> None:
        if self._take(call_id) is not None:
            self.outcomes["cancelled"] += 1

    def _take(self, call_id: int) -> _Call | None:
        call = self._calls.pop(call_id, None)
        if call is None:
            return None
        if call.expiry.active():
            call.expiry.cancel()
        if call.waiting is not None:
            waiting, call.waiting = call.waiting, None
            waiting.cancel()
        return call


def encode_call(
    procedure: str,
    reply_to: str,
    call_id: int,
    arguments: Sequence[ArgumentValue],
    timeout: float,
) -> bytes:
    """The request of a call.

    Raises:
        InvalidArgument: an argument, the name or the timeout is not of the right kind.
    """
    if not isinstance(procedure, str) or not procedure:
        raise InvalidArgument(f"a procedure's name is a string, not {procedure!r}")
    if not procedure.isprintable():
        raise InvalidArgument(f"a procedure's name is printable text, not {procedure!r}")
    check_timeout(timeout)
    return encode_request(procedure, reply_to, call_id, arguments)
