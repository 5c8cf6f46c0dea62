"""Links whose commands have spans.

A span has the command's name, and neither keys nor values: names of session keys are secrets.

Source: semantic conventions of OpenTelemetry for Redis clients.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from opentelemetry.trace import Span, SpanKind
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from opentera_twisted.errors import CommandFailed
from opentera_twisted.link import (
    COMMAND_TIMEOUT,
    Argument,
    ClusterLink,
    Done,
    Link,
    RedisAddress,
    ServerLink,
)
from opentera_twisted.tracing.names import OTHER
from opentera_twisted.tracing.spans import Attributes, begin, class_of, fail, set_attribute, span_of

_NAME: Final = re.compile(r"[A-Z]{1,32}", re.ASCII)


class _TracedLink(Link):
    """A link whose commands have spans, before the kind of link in the order of bases."""

    def __init__(self, address: RedisAddress, **arguments: Any) -> None:
        super().__init__(address, **arguments)
        self._attributes = _attributes_of(address)

    def execute(self, *arguments: Argument, timeout: float = COMMAND_TIMEOUT) -> Deferred[Any]:
        """Send a command when the link is ready."""
        span = _begin(arguments, self._attributes)
        # The next base, which is a kind of link, implements it.
        execute = super().execute  # type: ignore[safe-super]
        return _execute(span, execute, arguments, timeout)

    def send(self, arguments: tuple[Argument, ...], done: Done) -> None:
        """Send a command without a Deferred."""
        ended = partial(_done, _begin(arguments, self._attributes), done)
        super().send(arguments, ended)  # type: ignore[safe-super]


class TracedServerLink(_TracedLink, ServerLink):
    """A link to one server, whose commands have spans."""


class TracedClusterLink(_TracedLink, ClusterLink):
    """A link to a cluster, whose commands have spans."""


def _attributes_of(address: RedisAddress) -> Attributes:
    attributes: dict[str, str | int] = {"db.system.name": "redis"}
    if not address.is_cluster:
        attributes["db.namespace"] = str(address.database)
    if address.path:
        attributes["server.address"] = address.path
    elif len(address.hosts) == 1 and not address.primary:
        attributes["server.address"], attributes["server.port"] = address.hosts[0]
    return attributes


def _begin(arguments: tuple[Argument, ...], attributes: Attributes) -> Span:
    name = arguments[0]
    text = name.upper() if isinstance(name, str) else OTHER
    operation = text if _NAME.fullmatch(text) else OTHER
    attributes = {**attributes, "db.operation.name": operation}
    return span_of(begin(operation, SpanKind.CLIENT, attributes))


def _execute(
    span: Span,
    execute: Callable[..., Deferred[Any]],
    arguments: tuple[Argument, ...],
    timeout: float,
) -> Deferred[Any]:
    try:
        result = execute(*arguments, timeout=timeout)
    except BaseException as error:
        _end(span, error)
        raise
    return result.addBoth(_answered, span)


def _done(span: Span, done: Done, reply: Any) -> None:
    _end(span, reply)
    done(reply)


def _answered(result: Any, span: Span) -> Any:
    _end(span, result.value if isinstance(result, Failure) else result)
    return result


def _end(span: Span, reply: Any) -> None:
    if isinstance(reply, CommandFailed):
        set_attribute(span, "db.response.status_code", reply.code)
        fail(span, reply.code)
    elif isinstance(reply, BaseException):
        fail(span, class_of(reply))
    span.end()
