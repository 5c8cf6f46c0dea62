"""Export of spans to an OpenTelemetry collector, over OTLP/HTTP.

The environment configures it: ``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_SERVICE_NAME``,
``OTEL_TRACES_SAMPLER`` and others. Spans leave in a thread, and are dropped when too many wait.
"""

from __future__ import annotations

import logging
import os
import threading
from importlib.metadata import version
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.logger import Logger, LogLevel

from opentera_twisted._internal.extras import explained

try:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
except ModuleNotFoundError as error:
    raise explained(error) from None

LAST_SPANS: Final = 2.0
"""Seconds allowed for sending the last spans; after that, they are lost."""


class SpanExport:
    """Sends the spans of this process until it stops.

    Args:
        reactor: reactor of the program.
        name: name of the service, unless the environment has one.
    """

    def __init__(self, reactor: Any, name: str) -> None:
        self._reactor = reactor
        self._name = name
        self._provider: Any = None

    def start(self) -> None:
        """Send spans from now on, unless the program has another provider of tracers already."""
        if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            return
        logging.getLogger("opentelemetry").addHandler(_ToLog(self._reactor))
        attributes = {"service.version": version("opentera-twisted")}
        if not _is_named():
            attributes["service.name"] = self._name
        # At exit, the provider would wait up to 30 seconds for a collector that does not answer.
        self._provider = TracerProvider(
            resource=Resource.create(attributes), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(self._provider)

    async def stop(self) -> None:
        """Send the last spans."""
        if self._provider is None:
            return
        stopped: Deferred[None] = Deferred()

        def stop() -> None:
            self._provider.shutdown()
            self._reactor.callFromThread(stopped.callback, None)

        # A thread that does not delay the end of the process.
        threading.Thread(target=stop, name="last spans", daemon=True).start()
        try:
            await stopped.addTimeout(LAST_SPANS, self._reactor)
        except DeferredTimeout:
            _log.warn("the collector of traces did not answer; the last spans are lost")


def _is_named() -> bool:
    resource = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return "OTEL_SERVICE_NAME" in os.environ or "service.name=" in resource


_log: Final = Logger()


class _ToLog(logging.Handler):
    """Writes OpenTelemetry's warnings to the program's log."""

    def __init__(self, reactor: Any) -> None:
        super().__init__(logging.WARNING)
        self._reactor = reactor

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, of any thread."""
        self._reactor.callFromThread(
            _log.emit, LogLevel.warn, "traces: {message}", message=record.getMessage()
        )
