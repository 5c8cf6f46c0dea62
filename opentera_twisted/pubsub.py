"""Publish and subscribe: one Redis subscription per topic, shared by all its handlers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container
from typing import Final, NamedTuple

from attrs import define
from google.protobuf.message import Message
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.defer import TimeoutError as DeferredTimeout

from opentera_twisted import topics
from opentera_twisted._internal import callbacks
from opentera_twisted.errors import BusUnavailable, InvalidArgument, InvalidTopic, NotOnCluster
from opentera_twisted.link import COMMAND_TIMEOUT, Link, Name
from opentera_twisted.messages.envelopes import module_message, tera_event

SUBSCRIBE_TIMEOUT: Final = COMMAND_TIMEOUT
"""Seconds until an unacknowledged subscription fails."""


class Delivery(NamedTuple):
    """A published message, as a handler receives it.

    Attributes:
        topic: topic of the message.
        pattern: pattern of the subscription, or None for an exact topic.
        payload: the published bytes.

    Example:
        >>> subscription = await bus.subscribe_pattern("service.*.events", print)
        >>> receivers = await bus.publish("service.Bell.events", "ring")
        Delivery(topic='service.Bell.events', pattern='service.*.events', payload=b'ring')
    """

    topic: str
    pattern: str | None
    payload: bytes


Handler = Callable[[Delivery], Awaitable[object] | object]
"""Function or coroutine function called with each delivery; the bus logs its errors."""

OnGap = Callable[[], Awaitable[object] | object]
"""Function called when deliveries may have been missed, to load the current state again."""


@define(eq=False, repr=False)
class Subscription:
    """A handler's subscription to a topic or pattern; `PubSub` makes it.

    Attributes:
        topic: the topic or pattern.
        name: the topic or pattern as Redis knows it.
        handler: called with each delivery.
        on_gap: called when deliveries may have been missed.
        active: False after `cancel`.
        acknowledged: True once Redis has confirmed the subscription.

    Example:
        >>> subscription = await bus.subscribe("service.Bell.events", print)
        >>> subscription
        <Subscription to 'service.Bell.events': active>
        >>> await subscription.cancel()
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
        """Unsubscribe; the handler is not called again, from this moment on.

        Returns:
            Fires when Redis has dropped the topic, or at once if it has other handlers.
        """
        return self._pubsub.leave(self)

    def drain(self) -> Deferred[None]:
        """Unsubscribe, but deliver messages until Redis has dropped the topic.

        Returns:
            Fires after the last delivery.
        """
        return self._pubsub.drain(self)


_Handlers = dict[bytes, tuple[Subscription, ...]]


class PubSub:
    """Publishing, and the handlers of subscriptions.

    Args:
        link: the link that carries the messages.

    Attributes:
        received: number of messages received, including those that no handler wanted any more.
    """

    def __init__(self, link: Link) -> None:
        self.received = 0
        self._link = link
        self._exact: _Handlers = {}
        self._patterns: _Handlers = {}
        link.on_message.append(self._deliver)
        link.on_resumed.append(self._report_gap)

    def publish(self, topic: str, payload: bytes | str | Message) -> Deferred[int]:
        """Publish a message.

        Args:
            topic: the topic to publish on.
            payload: bytes, text (encoded in UTF-8) or a protobuf message (serialized).

        Returns:
            Fires with the number of connections that received it.

        Raises:
            InvalidTopic: the topic is not a string, or is empty.
            InvalidArgument: the payload has another type.

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
            dest: topic to publish on, such as ``module.TeraServer.UserManagerModule.messages``.
            messages: protobuf messages to wrap.
            source: sender, as a topic or ``websocket.<kind>.<uuid>``.
        """
        return self.publish(dest, module_message(source, dest, map(_message, messages)))

    def subscribe(
        self, topic: str, handler: Handler, on_gap: OnGap | None = None
    ) -> Deferred[Subscription]:
        """Subscribe a handler to a topic.

        Args:
            topic: exact name of the topic.
            handler: called with each `Delivery`.
            on_gap: called when the link is restored after a loss, as messages may have been missed.

        Returns:
            Fires when Redis has acknowledged the subscription.

        Raises:
            InvalidTopic: the topic is empty, or a pattern of OpenTera topics.
            InvalidArgument: a handler has the wrong parameters.

        Fails with:
            BusUnavailable: Redis did not acknowledge in time; the subscription is cancelled.
            CommandFailed: Redis refused the topic.

        Source: Redis command SUBSCRIBE.
        """
        name = Name(topics.encode(topic))
        if topics.is_pattern(topic) and topic.startswith(topics.OWNERS):
            raise InvalidTopic(f"{topic!r} is a pattern, not a topic; use subscribe_pattern")
        return self._subscribe(name, topic, handler, on_gap)

    def keep(self, topic: str, handler: Handler) -> tuple[Subscription, Deferred[None]]:
        """Subscribe a handler to a topic, and keep the subscription even if that fails.

        Returns:
            The subscription, and its acknowledgement as from `acknowledged`. Unacknowledged, it is
            restored with the link.
        """
        subscription = self.attach(topic, handler)
        return subscription, self.acknowledged(subscription)

    def attach(self, topic: str, handler: Handler) -> Subscription:
        """Register a subscription without asking Redis for it; `acknowledged` asks Redis."""
        subscription = Subscription(topic, Name(topics.encode(topic)), handler, None, self)
        self._attach(subscription)
        return subscription

    def acknowledged(self, *subscriptions: Subscription) -> Deferred[None]:
        """Wait until Redis has acknowledged active subscriptions, across reconnections.

        Fails with:
            CommandFailed: Redis refused a topic.
        """
        return self._link.subscriptions.want(*[subscription.name for subscription in subscriptions])

    def subscribe_pattern(
        self, pattern: str, handler: Handler, on_gap: OnGap | None = None
    ) -> Deferred[Subscription]:
        """Subscribe a handler to all topics that match a pattern; otherwise like `subscribe`.

        Args:
            pattern: pattern with ``*``, ``?`` and ``[...]``; a backslash escapes them.
            handler: called with each `Delivery`.
            on_gap: as in `subscribe`.

        Source: Redis command PSUBSCRIBE.
        """
        name = Name(topics.encode(pattern), is_pattern=True)
        if not self._link.allows_patterns:
            raise NotOnCluster(
                f"cannot subscribe to the pattern {pattern!r} on a Redis Cluster; "
                "subscribe to each topic, or add ?pubsub=classic to the URL of every program"
            )
        return self._subscribe(name, pattern, handler, on_gap)

    def _subscribe(
        self, name: Name, topic: str, handler: Handler, on_gap: OnGap | None
    ) -> Deferred[Subscription]:
        self._link.check_thread()
        check_handlers(handler, on_gap)
        if (stopped := self._link.stopped_error()) is not None:
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
                f"{what} within {SUBSCRIBE_TIMEOUT:g} seconds: {self._link.why_not()}",
                seconds=SUBSCRIBE_TIMEOUT,
            ) from self._link.error
        else:
            subscription.acknowledged = True
            return subscription
        finally:
            if not subscription.acknowledged:
                subscription.cancel()

    def leave(self, subscription: Subscription) -> Deferred[None]:
        """Remove a handler at once; fires when Redis has dropped its topic, if necessary."""
        self._link.check_thread()
        if self._detach(subscription):
            return self._link.subscriptions.drop(subscription.name)
        return succeed(None)

    def drain(self, subscription: Subscription) -> Deferred[None]:
        """Drop a handler's topic, if it has no other handler, and remove the handler afterwards."""
        if self._handlers(subscription.name).get(subscription.name.text) != (subscription,):
            return subscription.cancel()
        return Deferred.fromCoroutine(self._drain(subscription))

    async def _drain(self, subscription: Subscription) -> None:
        try:
            await self._link.subscriptions.drop(subscription.name)
        finally:  # also if the caller cancels it
            self._detach(subscription)

    def _detach(self, subscription: Subscription) -> bool:
        """Remove a handler; return True if it was the last one of its topic."""
        subscription.active = False
        handlers = self._handlers(subscription.name)
        text = subscription.name.text
        before = handlers.get(text, ())
        after = tuple(other for other in before if other is not subscription)
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

    def _report_gap(self, topics_concerned: Container[bytes]) -> None:
        # A cluster reports the topics of one restoration in many parts.
        listed = topics_concerned if isinstance(topics_concerned, frozenset) else None
        for handlers in (self._exact, self._patterns):
            for name in list(handlers) if listed is None else listed:
                for subscription in handlers.get(name, ()):
                    if subscription.acknowledged and subscription.on_gap is not None:
                        callbacks.run(subscription, subscription.on_gap)


def check_handlers(handler: Handler, on_gap: OnGap | None) -> None:
    """Check that handlers accept their arguments.

    Raises:
        InvalidArgument: a handler does not.
    """
    if not callable(handler):
        raise InvalidArgument(f"a handler must be a function of a Delivery, not {handler!r}")
    if not callbacks.accepts(handler, 1):
        raise InvalidArgument(f"a handler must take one argument, a Delivery, unlike {handler!r}")
    if on_gap is not None and not (callable(on_gap) and callbacks.accepts(on_gap, 0)):
        raise InvalidArgument(f"on_gap must take no argument, unlike {on_gap!r}")


def encode_payload(payload: bytes | str | Message) -> bytes:
    """Encode a payload.

    Raises:
        InvalidArgument: it is neither bytes, text nor a protobuf message.
    """
    if isinstance(payload, bytes):
        return payload
    if isinstance(payload, str):
        try:
            return payload.encode()
        except UnicodeEncodeError:
            raise InvalidArgument(
                "the text of the payload cannot be encoded in UTF-8; publish bytes"
            ) from None
    if isinstance(payload, Message):
        return payload.SerializeToString()
    if isinstance(payload, (bytearray, memoryview)):
        return bytes(payload)
    raise InvalidArgument(
        f"a payload must be bytes, str or a protobuf message, not {type(payload).__name__}"
    )


def _message(message: Message) -> Message:
    if isinstance(message, Message):
        return message
    raise InvalidArgument(f"expected a protobuf message, not {type(message).__name__}")
