"""Publishing and handlers with spans.

Source: semantic conventions of OpenTelemetry for messaging.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final

from google.protobuf.message import Message
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind
from twisted.internet.defer import Deferred

from opentera_twisted.pubsub import Delivery, Handler, PubSub, Subscription
from opentera_twisted.rpc import Caller, ProcedureServer
from opentera_twisted.tracing.names import destination
from opentera_twisted.tracing.spans import Attributes, begin, run

_SYSTEM: Final = "redis"


class TracedPubSub(PubSub):
    """Publishing, and handlers of subscriptions, with spans.

    Callers and servers have spans of their own.
    """

    def publish(self, topic: str, payload: bytes | str | Message) -> Deferred[int]:
        """Publish a message."""
        publishing: Deferred[int] = run(
            _begin("publish", "send", SpanKind.PRODUCER, topic), super().publish, topic, payload
        )
        return publishing

    def _attach(self, subscription: Subscription) -> None:
        owner = getattr(subscription.handler, "__self__", None)
        if not isinstance(owner, (Caller, ProcedureServer)):
            subscription.handler = _traced(subscription.handler)
        super()._attach(subscription)


def _traced(handler: Handler) -> Handler:
    def handle(delivery: Delivery) -> Awaitable[object] | object:
        # Nothing in a published message names its trace.
        context = _begin("process", "process", SpanKind.CONSUMER, delivery.topic, Context())
        result: Awaitable[object] | object = run(context, handler, delivery)
        return result

    return handle


def _begin(
    operation: str,
    kind_of_operation: str,
    kind: SpanKind,
    topic: Any,
    parent: Context | None = None,
) -> Context:
    attributes: Attributes = {
        "messaging.system": _SYSTEM,
        "messaging.operation.name": operation,
        "messaging.operation.type": kind_of_operation,
        **destination(str(topic)),
    }
    name = f"{operation} {attributes['messaging.destination.template']}"
    return begin(name, kind, attributes, parent)
