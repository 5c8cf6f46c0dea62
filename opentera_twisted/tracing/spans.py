"""Beginning and end of a span, and the context in between.

A span never records an exception's text, which may quote an argument or a key; only its class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, Final

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from opentera_twisted._internal import callbacks
from opentera_twisted._internal.printable import encodable

Attributes = Mapping[str, str | int | bool]

ERROR_TYPE: Final = "error.type"

_tracer: Final = trace.get_tracer("opentera_twisted", version("opentera-twisted"))


def begin(
    name: str, kind: SpanKind, attributes: Attributes, parent: Context | None = None
) -> Context:
    """Begin a span.

    Characters outside UTF-8 become question marks: the exporter's encoder would reject the whole
    batch.

    Args:
        name: name of the span.
        kind: role of this program.
        attributes: attributes of the span.
        parent: context of the parent; None uses the current one.

    Returns:
        The context of the span's children.
    """
    cleaned = {
        key: encodable(value) if isinstance(value, str) else value
        for key, value in attributes.items()
    }
    span = _tracer.start_span(encodable(name), parent, kind, cleaned)
    return trace.set_span_in_context(span, parent)


def begin_request(name: str, attributes: Attributes) -> Context:
    """Begin the span of a client's request, in a trace of its own; otherwise like `begin`."""
    return begin(name, SpanKind.SERVER, attributes, Context())


def span_of(context: Context) -> Span:
    """Return the span of a context."""
    return trace.get_current_span(context)


@contextmanager
def inside(context: Context) -> Iterator[None]:
    """Make a context the current one."""
    token = contexts.attach(context)
    try:
        yield
    finally:
        contexts.detach(token)


def run(context: Context, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a span's context; a coroutine keeps the context.

    Returns:
        The function's result; a Deferred for a coroutine. The span ends with it.
    """
    span = span_of(context)
    try:
        with inside(context):
            result = callbacks.outcome(function(*arguments))
    except BaseException as error:
        fail(span, class_of(error))
        span.end()
        raise
    return follow(span, result)


def follow(span: Span, result: Any) -> Any:
    """End a span with a result, or with a Deferred's result; return the result."""
    if isinstance(result, Deferred):
        return result.addBoth(_end, span)
    span.end()
    return result


def set_attribute(span: Span, name: str, value: str) -> None:
    """Set an attribute to a text of another program."""
    span.set_attribute(name, encodable(value))


def fail(span: Span, kind: str) -> None:
    """Mark a span as failed, with the kind of the error."""
    set_attribute(span, ERROR_TYPE, kind)
    span.set_status(StatusCode.ERROR)


def class_of(error: BaseException) -> str:
    """Return the name of an error's class, with its module."""
    kind = type(error)
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def _end(result: Any, span: Span) -> Any:
    if isinstance(result, Failure):
        fail(span, class_of(result.value or Exception()))
    span.end()
    return result
