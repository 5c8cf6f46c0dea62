"""Traces for OpenTelemetry: spans of calls, deliveries, logins and Redis commands.

A traced bus consists of subclasses of a bus's parts, so that a bus without tracing pays nothing.

names          names of topics and procedures in spans
spans          beginning and end of a span, and the context in between
request_field  the trace context in a request, in fields that other programs ignore
exemplars      durations with the trace of the latest one
commands       links whose commands have spans
messages       publishing and handlers with spans
calls          callers and servers with spans
parts          the classes of a traced bus
"""

from opentera_twisted._internal.extras import explained

try:
    from opentera_twisted.tracing.parts import TRACED
    from opentera_twisted.tracing.spans import begin_request, class_of, fail, inside, span_of
except ModuleNotFoundError as error:
    raise explained(error) from None

__all__ = ["TRACED", "begin_request", "class_of", "fail", "inside", "span_of"]
