"""Which trace this thread's work belongs to, by W3C Trace Context (www.w3.org/TR/trace-context), and its spans.

An event brings its trace in the extensions `traceparent` and `tracestate` (CloudEvents, Distributed Tracing), a request
in the HTTP headers of these names. What it leads to carries the trace on: events, rows that a later tick takes up, and
lines of the log. This is so whether or not this process records spans.

A traceparent that is malformed counts as absent, and its tracestate with it (sections 3.2.2.3 and 4.3): no request is
refused for its trace.

Spans are recorded after `start`; see shared.spans. Before, nothing of OpenTelemetry is imported, and a span costs one
comparison. A span holds names, ids and numbers: no values of a workload or a statement, and no texts of errors.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from shared.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from shared.spans import Recorder

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
MAX_TRACESTATE = 512
"""Characters; a longer one is dropped, as section 3.3.1.5 allows."""

_VERSION, _NO_VERSION = "00", "ff"
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_TRACESTATE = re.compile(r"[\x20-\x7e]+")
_SAMPLED = 1
_OF_EVENTS = tuple((name, f"cloudevents.event_{name}") for name in ("id", "source", "type", "subject"))


@dataclass(frozen=True)
class TraceContext:
    """A place in a trace: the span that is going on, or that has led to what is going on."""

    traceparent: str
    tracestate: str = ""

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return self.traceparent[3:35]

    @property
    def attributes(self) -> dict[str, str]:
        """The extensions of an event, and the headers of a request."""
        found = {TRACEPARENT: self.traceparent}
        return {**found, TRACESTATE: self.tracestate} if self.tracestate else found


class SpanKind(Enum):
    """What a span is to its parent (OpenTelemetry, SpanKind)."""

    INTERNAL = auto()
    SERVER = auto()
    CLIENT = auto()
    PRODUCER = auto()
    CONSUMER = auto()


class Span(Protocol):
    """Something that takes time, until its `with` block ends. An error that leaves the block fails it."""

    def set(self, attributes: Mapping[str, str | int | float]) -> None:
        """Adds attributes, by the names of OpenTelemetry's semantic conventions."""

    def rename(self, name: str) -> None:
        """Gives it another name."""

    def fail(self, kind: str) -> None:
        """Says that it failed. kind: its `error.type`."""

    def __enter__(self) -> Span: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class _NoSpan:
    """The span of a process that records none."""

    def set(self, attributes: Mapping[str, str | int | float]) -> None:
        pass

    def rename(self, name: str) -> None:
        pass

    def fail(self, kind: str) -> None:
        pass

    def __enter__(self) -> _NoSpan:
        return self

    def __exit__(self, *_: object) -> None:
        pass


NO_SPAN: Span = _NoSpan()
_current: ContextVar[TraceContext | None] = ContextVar("trace_context", default=None)
_recorder: Recorder | None = None


def start(service: str) -> None:
    """Records spans from now on, and sends them as OpenTelemetry's environment variables say. service: its name.

    Raises ConfigurationError where the packages are not installed.
    """
    global _recorder
    try:
        from shared.spans import Recorder

        _recorder = Recorder(service)
    except ImportError as error:
        raise ConfigurationError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT is set, and {error.name} is not installed: pip install 'sentinel[tracing]'"
        ) from None


def stop() -> None:
    """Sends what is recorded, for a few seconds at most, and records no more."""
    global _recorder
    if _recorder is not None:
        recorder, _recorder = _recorder, None
        recorder.close()


def recorder() -> Recorder | None:
    """What records the spans of this process; None where nothing does."""
    return _recorder


def current() -> TraceContext | None:
    """The trace that this thread's work belongs to; None for work that belongs to none."""
    return _current.get()


def current_traceparent() -> str | None:
    """What is remembered of the trace with what this thread stores, for those who take it up later."""
    return None if (context := current()) is None else context.traceparent


def carried(by: Mapping[str, str]) -> TraceContext | None:
    """The trace that attributes of an event, or lower-case headers of a request, speak of; None where they do not.

    A later version than 00 is read as far as 00 goes, and written as 00 (section 4.3).
    """
    if (given := by.get(TRACEPARENT)) is None or (match := _TRACEPARENT.fullmatch(given)) is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == _NO_VERSION or not trace_id.strip("0") or not span_id.strip("0"):
        return None
    if version != _VERSION:
        given = f"{_VERSION}-{trace_id}-{span_id}-{int(flags, 16) & _SAMPLED:02x}"
    elif more is not None:
        return None
    state = by.get(TRACESTATE, "")
    return TraceContext(given, state if len(state) <= MAX_TRACESTATE and _TRACESTATE.fullmatch(state) else "")


def continued(traceparent: str | None) -> TraceContext | None:
    """The trace of an event that tells of something that began in the trace `traceparent`.

    A tick finds what somebody's request began: that goes on in the request's trace, which the tick's span then links
    to. Within one and the same trace, what this thread does is the nearer cause.
    """
    here = current()
    if traceparent is None:
        return here
    began = TraceContext(traceparent)
    if here is not None and here.trace_id == began.trace_id:
        return here
    link(began)
    return began


def link(other: TraceContext | None) -> None:
    """Says of the span that this thread is in that it has to do with another trace."""
    if _recorder is not None and other is not None:
        _recorder.link(other)


def span_attributes(event: Mapping[str, str]) -> dict[str, str]:
    """What the span of an event says of it, by OpenTelemetry's conventions for CloudEvents. event: its attributes."""
    return {} if _recorder is None else {kept: event[name] for name, kept in _OF_EVENTS if name in event}


@contextmanager
def within(
    context: TraceContext | None, name: str, kind: SpanKind, attributes: Mapping[str, str | int | float]
) -> Iterator[Span]:
    """What this thread does in the block belongs to that trace, or to a new one, or where nothing is recorded to none.

    name, kind, attributes: of the span that the block is.
    """
    if _recorder is None:
        token = _current.set(context)
        try:
            yield NO_SPAN
        finally:
            _current.reset(token)
        return
    with _recorder.entered(context, name, kind, attributes) as (span, entered):
        token = _current.set(entered)
        try:
            yield span
        finally:
            _current.reset(token)


def span(
    name: str, kind: SpanKind, attributes: Mapping[str, str | int | float], linked: TraceContext | None = None
) -> Span:
    """A part of what this thread does. Nothing is recorded outside of a block of `within`. linked: another trace."""
    return NO_SPAN if _recorder is None else _recorder.span(name, kind, attributes, linked)
