"""Publish and subscribe: one Redis subscription a topic, however many handlers it has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from attrs import define
from google.protobuf.message import Message
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.defer import TimeoutError as DeferredTimeout

from opentera_twisted import topics
from opentera_twisted._internal import callbacks
from opentera_twisted.errors import BusUnavailable, InvalidArgument, InvalidTopic
from opentera_twisted.link import COMMAND_TIMEOUT, Link, Name
from opentera_twisted.messages.packing import module_message, tera_event

SUBSCRIBE_TIMEOUT: Final = COMMAND_TIMEOUT
"""Seconds until a subscription that Redis has not acknowledged is given up."""


class Delivery(NamedTuple):
    """One published message as a handler gets it.

    Attributes:
        topic: where it was published.
        pattern: the pattern of the subscription, or None for an exact topic.
        payload: the bytes as they were published.
    """

    topic: str
    pattern: str | None
    payload: bytes


Handler = Callable[[Delivery], Awaitable[object] | object]
"""Called with each delivery; what it raises, or its coroutine, is logged and harms nobody else."""

OnGap = Callable[[], Awaitable[object] | object]
"""Called when deliveries may have been missed, so that what they tell can be loaded again."""


@define(eq=False, repr=False)
class Subscription:
    """One handler's interest in a topic or a pattern; made by `PubSub`.

    Attributes:
        topic: the topic or pattern.
        name: what Redis is asked for.
        handler: called with each delivery.
        on_gap: called when deliveries may have been missed.
        active: whether it was not cancelled.
        acknowledged: whether Redis has confirmed it, ever.
    """

    topic: str
    name: Name
    handler: Handler
    on_gap: OnGap | None
    _pubsub: PubSub
    active: bool = True
    acknowledged: bool = False

    def __str__(self) -> str:
        return f"a handler of {self.topic}"

    def __repr__(self) -> str:
        status = "active" if self.active else "cancelled"
        return f"<{type(self).__name__} to {self.topic!r}: {status}>"

    def cancel(self) -> Deferred[None]:
        """End it; the handler is not called again from this moment on.

        Returns:
            Fires when Redis has dropped the topic too, if this was its last handler.
        """
        return self._pubsub.leave(self)

    def drain(self) -> Deferred[None]:
        """End it, but have the handler called for what still comes until Redis has dropped it.

        Returns:
            Fires when nothing more comes.
        """
        return self._pubsub.drain(self)


_Handlers = dict[bytes, tuple[Subscription, ...]]


class PubSub:
    """Publishing, and the handlers of what is published.

    Args:
        link: carries the messages.

    Attributes:
        received: how many messages came, whether anybody still wanted them or not.
    """

    def __init__(self, link: Link) -> None:
        self.received = 0
        self._link = link
        self._exact: _Handlers = {}
        self._patterns: _Handlers = {}
        link.on_message.append(self._deliver)
        link.on_resumed.append(self._tell_gap)

    def publish(self, topic: str, payload: bytes | str | Message) -> Deferred[int]:
        """Publish a message.

        Args:
            topic: where.
            payload: bytes as they are, text in UTF-8, or a protobuf message serialized.

        Returns:
            Fires with the number of receivers, connections that Redis wrote it to.

        Raises:
            InvalidTopic: the topic is no text, or empty.
            InvalidArgument: the payload is of another type.

        Fails with:
            BusUnavailable, ConnectionLost, CommandFailed.

        Source: Redis command PUBLISH.
        """
        return self._link.execute("PUBLISH", topics.encode(topic), encode_payload(payload))

    def publish_event(self, topic: str, *events: Message) -> Deferred[int]:
        """Publish events in a ``TeraEvent``; otherwise like `publish`."""
        return self.publish(topic, tera_event(topic, map(_message, events)))

    def send_module_message(self, dest: str, *messages: Message, source: str) -> Deferred[int]:
        """Publish messages in a ``TeraModuleMessage``; otherwise like `publish`.

        Args:
            dest: the topic, such as ``module.TeraServer.UserManagerModule.messages``.
            messages: what it holds.
            source: who sends it, as a topic or ``websocket.<kind>.<uuid>``.
        """
        return self.publish(dest, module_message(source, dest, map(_message, messages)))

    def subscribe(
        self, topic: str, handler: Handler, on_gap: OnGap | None = None
    ) -> Deferred[Subscription]:
        """Have a handler called for all that is published on a topic.

        Args:
            topic: the exact name.
            handler: gets each `Delivery`.
            on_gap: called when the link was lost and is back: what was published meanwhile is gone.

        Returns:
            Fires when Redis has acknowledged the subscription.

        Raises:
            InvalidTopic: the topic is empty, or a pattern of the topics of this module.
            InvalidArgument: a handler cannot be called as it will be.

        Fails with:
            BusUnavailable: Redis did not acknowledge in time; the handler is forgotten.
            CommandFailed: Redis refuses the topic.

        Source: Redis command SUBSCRIBE.
        """
        name = Name(topics.encode(topic))
        if topics.is_pattern(topic) and topic.startswith(topics.OWNERS):
            raise InvalidTopic(
                f"{topic!r} is a pattern, which no topic of that form is: use subscribe_pattern"
            )
        return self._subscribe(name, topic, handler, on_gap)

    def keep(self, topic: str, handler: Handler) -> tuple[Subscription, Deferred[None]]:
        """Subscribe a topic, and keep it wanted whatever becomes of that.

        Returns:
            The subscription, and its acknowledgement as from `acknowledged`, without which it
            becomes ready when the link does.
        """
        subscription = self.attach(topic, handler)
        return subscription, self.acknowledged(subscription)

    def attach(self, topic: str, handler: Handler) -> Subscription:
        """A subscription that Redis is not asked for yet: `acknowledged` does that."""
        subscription = Subscription(topic, Name(topics.encode(topic)), handler, None, self)
        self._attach(subscription)
        return subscription

    def acknowledged(self, *subscriptions: Subscription) -> Deferred[None]:
        """Wait for subscriptions that have not ended.

        Returns:
            Fires when Redis has acknowledged each, over however many connections that takes.

        Fails with:
            CommandFailed: Redis refuses a topic.
        """
        return self._link.subscriptions.want(*[one.name for one in subscriptions])

    def subscribe_pattern(
        self, pattern: str, handler: Handler, on_gap: OnGap | None = None
    ) -> Deferred[Subscription]:
        """Have a handler called for all topics that fit a pattern; otherwise like `subscribe`.

        Args:
            pattern: with ``*``, ``?``, ``[...]``; a backslash takes their meaning away.
            handler: gets each `Delivery`.
            on_gap: as in `subscribe`.

        Source: Redis command PSUBSCRIBE.
        """
        return self._subscribe(
            Name(topics.encode(pattern), is_pattern=True), pattern, handler, on_gap
        )

    def _subscribe(
        self, name: Name, topic: str, handler: Handler, on_gap: OnGap | None
    ) -> Deferred[Subscription]:
        check_handlers(handler, on_gap)
        if (stopped := self._link.stopped()) is not None:
            return fail(stopped)
        subscription = Subscription(topic, name, handler, on_gap, self)
        self._attach(subscription)
        return Deferred.fromCoroutine(self._join(subscription))

    def _attach(self, subscription: Subscription) -> None:
        name = subscription.name
        handlers = self._handlers(name)
        handlers[name.text] = (*handlers.get(name.text, ()), subscription)

    async def _join(self, subscription: Subscription) -> Subscription:
        acknowledged = self._link.subscriptions.want(subscription.name)
        try:
            await acknowledged.addTimeout(SUBSCRIBE_TIMEOUT, self._link.clock)
        except DeferredTimeout:
            what = f"Redis did not acknowledge the subscription of {subscription.topic}"
            raise BusUnavailable(
                f"{what} for {SUBSCRIBE_TIMEOUT:g} seconds: {self._link.why_not()}",
                seconds=SUBSCRIBE_TIMEOUT,
            ) from self._link.error
        else:
            subscription.acknowledged = True
            return subscription
        finally:
            if not subscription.acknowledged:
                subscription.cancel()

    def leave(self, subscription: Subscription) -> Deferred[None]:
        """Forget a handler at once; fires when its topic is dropped, if it was the last one."""
        if self._detach(subscription):
            return self._link.subscriptions.drop(subscription.name)
        return succeed(None)

    def drain(self, subscription: Subscription) -> Deferred[None]:
        """Drop a handler's topic, if it is the only one, and forget the handler after that."""
        if self._handlers(subscription.name).get(subscription.name.text) != (subscription,):
            return subscription.cancel()
        return Deferred.fromCoroutine(self._drain(subscription))

    async def _drain(self, subscription: Subscription) -> None:
        await self._link.subscriptions.drop(subscription.name)
        self._detach(subscription)

    def _detach(self, subscription: Subscription) -> bool:
        """Forget a handler; whether it was the last one of its topic."""
        subscription.active = False
        handlers = self._handlers(subscription.name)
        text = subscription.name.text
        before = handlers.get(text, ())
        after = tuple(one for one in before if one is not subscription)
        if after:
            handlers[text] = after
        else:
            handlers.pop(text, None)
        return bool(before) and not after

    def _handlers(self, name: Name) -> _Handlers:
        return self._patterns if name.is_pattern else self._exact

    def _deliver(self, pattern: bytes | None, channel: bytes, payload: bytes) -> None:
        self.received += 1
        if pattern is None:
            subscriptions = self._exact.get(channel, ())
            if not subscriptions:
                return
            delivery = Delivery(subscriptions[0].topic, None, payload)
        else:
            subscriptions = self._patterns.get(pattern, ())
            if not subscriptions:
                return
            delivery = Delivery(topics.decode(channel), subscriptions[0].topic, payload)
        for subscription in subscriptions:
            if subscription.active:
                callbacks.run(subscription, subscription.handler, delivery)

    def _tell_gap(self) -> None:
        for handlers in (self._exact, self._patterns):
            for subscriptions in list(handlers.values()):
                for subscription in subscriptions:
                    if subscription.acknowledged and subscription.on_gap is not None:
                        callbacks.run(subscription, subscription.on_gap)


def check_handlers(handler: Handler, on_gap: OnGap | None) -> None:
    """See that handlers can be called.

    Raises:
        InvalidArgument: one cannot be called as it will be.
    """
    if not callable(handler):
        raise InvalidArgument(f"a handler is a function of a Delivery, not {handler!r}")
    if not callbacks.accepts(handler, 1):
        raise InvalidArgument(f"a handler takes one argument, a Delivery, unlike {handler!r}")
    if on_gap is not None and not (callable(on_gap) and callbacks.accepts(on_gap, 0)):
        raise InvalidArgument(f"on_gap takes no argument, unlike {on_gap!r}")


def encode_payload(payload: bytes | str | Message) -> bytes:
    """The bytes of what is to be published.

    Raises:
        InvalidArgument: when it is neither bytes, text nor a protobuf message.
    """
    if isinstance(payload, bytes):
        return payload
    if isinstance(payload, str):
        try:
            return payload.encode()
        except UnicodeEncodeError:
            raise InvalidArgument(
                "a payload of text that cannot be encoded in UTF-8: publish it as bytes"
            ) from None
    if isinstance(payload, Message):
        return payload.SerializeToString()
    if isinstance(payload, (bytearray, memoryview)):
        return bytes(payload)
    raise InvalidArgument(
        f"a payload is bytes, str or a protobuf message, not {type(payload).__name__}"
    )


def _message(message: Message) -> Message:
    if isinstance(message, Message):
        return message
    raise InvalidArgument(f"expected a protobuf message, not {type(message).__name__}")
