"""Spans by OpenTelemetry's SDK, sent as OTLP over HTTP. Nothing imports this module before tracing is on.

The SDK reads its own environment variables: OTEL_EXPORTER_OTLP_* (where to, and with which headers),
OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG, OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME, OTEL_BSP_* (the queue).

A thread of the SDK sends batches. No request waits for it: spans that find the queue full are lost. What sends is
imported with the first batch, so that no cold start waits for that either.

Only spans that are entered become the parents of others: what lies within a request is flat, and costs half as much.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from importlib import metadata, util
from typing import TYPE_CHECKING

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import INVALID_SPAN, Link, SpanContext, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.tracing import TRACEPARENT, TRACESTATE, SpanKind, TraceContext

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

    from opentelemetry.sdk.trace import ReadableSpan

    from shared.tracing import Span

FLUSH_SECONDS = 3.0
"""How long a process that ends waits for its collector."""
COMPLAIN_SECONDS = 60.0
"""A collector that is away is complained of this often."""

_EXPORTER = "opentelemetry.exporter.otlp.proto.http"
_KINDS = {
    SpanKind.INTERNAL: trace.SpanKind.INTERNAL,
    SpanKind.SERVER: trace.SpanKind.SERVER,
    SpanKind.CLIENT: trace.SpanKind.CLIENT,
    SpanKind.PRODUCER: trace.SpanKind.PRODUCER,
    SpanKind.CONSUMER: trace.SpanKind.CONSUMER,
}

logger = logging.getLogger("sentinel.tracing")


class RecordedSpan:
    """A shared.tracing.Span on OpenTelemetry's."""

    __slots__ = ("recorded",)

    def __init__(self, recorded: trace.Span) -> None:
        self.recorded = recorded

    def set(self, attributes: Mapping[str, str | int | float]) -> None:
        self.recorded.set_attributes(attributes)

    def rename(self, name: str) -> None:
        self.recorded.update_name(name)

    def fail(self, kind: str) -> None:
        self.recorded.set_status(StatusCode.ERROR)
        self.recorded.set_attribute("error.type", kind)

    def __enter__(self) -> RecordedSpan:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self.fail(kind.__qualname__)
        self.recorded.end()


class Recorder:
    """Records the spans of one process. service: its name, where OTEL_SERVICE_NAME gives none."""

    def __init__(self, service: str) -> None:
        if util.find_spec(_EXPORTER) is None:
            raise ModuleNotFoundError(name=_EXPORTER)
        described = {"service.name": service, "service.version": _version()}
        resource = Resource.create(described).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(_LateExporter()))
        self._tracer = self._provider.get_tracer("sentinel", described["service.version"])
        self._propagator = TraceContextTextMapPropagator()
        complaints = logging.getLogger("opentelemetry")
        complaints.handlers[:] = [_Complaints()]
        complaints.propagate = False

    @contextmanager
    def entered(
        self, context: TraceContext | None, name: str, kind: SpanKind, attributes: Mapping[str, str | int | float]
    ) -> Iterator[tuple[Span, TraceContext]]:
        """A span that others of this thread are the children of, and its place in the trace."""
        parent = contexts.Context() if context is None else self._propagator.extract(context.attributes)
        recorded = self._tracer.start_span(name, parent, _KINDS[kind], attributes)
        here: dict[str, str] = {}
        inside = trace.set_span_in_context(recorded, parent)
        self._propagator.inject(here, inside)
        token = contexts.attach(inside)
        try:
            with RecordedSpan(recorded) as span:
                yield span, TraceContext(here[TRACEPARENT], here.get(TRACESTATE, ""))
        finally:
            contexts.detach(token)

    def span(
        self, name: str, kind: SpanKind, attributes: Mapping[str, str | int | float], linked: TraceContext | None = None
    ) -> RecordedSpan:
        """A child of the span that this thread is in; none is recorded outside of one."""
        if not trace.get_current_span().is_recording():
            return _NOT_RECORDED
        links = [Link(self._place(linked))] if linked is not None else None
        return RecordedSpan(self._tracer.start_span(name, kind=_KINDS[kind], attributes=attributes, links=links))

    def link(self, other: TraceContext) -> None:
        """Says of the span that this thread is in that it has to do with another trace."""
        trace.get_current_span().add_link(self._place(other))

    def close(self) -> None:
        """Sends what is left, for FLUSH_SECONDS at most."""
        closing = threading.Thread(target=self._provider.shutdown, name="tracing-shutdown", daemon=True)
        closing.start()
        closing.join(FLUSH_SECONDS)

    def _place(self, context: TraceContext) -> SpanContext:
        return trace.get_current_span(self._propagator.extract(context.attributes)).get_span_context()


_NOT_RECORDED = RecordedSpan(INVALID_SPAN)


def _version() -> str:
    try:
        return metadata.version("sentinel")
    except metadata.PackageNotFoundError:  # it runs from its sources
        return ""


class _LateExporter(SpanExporter):
    """The exporter of OTLP over HTTP, made with the first batch: its import takes longer than all else of tracing."""

    def __init__(self) -> None:
        self._exporter: SpanExporter | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self._exporter is None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            self._exporter = OTLPSpanExporter()
        return self._exporter.export(spans)

    def shutdown(self) -> None:
        if self._exporter is not None:
            self._exporter.shutdown()


class _Complaints(logging.Handler):
    """What OpenTelemetry logs, as one line a minute: a collector that is away must not fill the log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._silent_until = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        if (now := time.monotonic()) >= self._silent_until:
            self._silent_until = now + COMPLAIN_SECONDS
            logger.warning("spans are lost, or late: %s", record.getMessage())
