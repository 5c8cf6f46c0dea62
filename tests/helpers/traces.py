"""Spans that this process has recorded, in memory."""

from __future__ import annotations

from functools import cache
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


@cache
def recorder() -> Any:
    """Return the exporter of this process, which can have one provider of tracers only."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


def spans(name: str | None = None) -> list[Any]:
    """Return the ended spans, oldest first; those of one name only, if it is given."""
    return [span for span in recorder().get_finished_spans() if name in {None, span.name}]


def tree() -> list[Any]:
    """Return the ended spans as nested lists: kind and name, followed by the children."""
    children: dict[Any, list[Any]] = {}
    for span in sorted(spans(), key=lambda span: span.start_time):
        parent = span.parent.span_id if span.parent else None
        children.setdefault(parent, []).append(span)

    def below(parent: Any) -> list[Any]:
        return [
            [f"{span.kind.name} {span.name}", *below(span.context.span_id)]
            for span in children.get(parent, ())
        ]

    return below(None)
