"""Which trace this thread's work belongs to, by W3C Trace Context (https://www.w3.org/TR/trace-context/).

An event brings its trace in the extensions `traceparent` and `tracestate` (CloudEvents, Distributed Tracing), a request
in the HTTP headers of these names. What it leads to carries the trace on: events, rows that a later tick takes up, and
lines of the log. This is so whether or not this process records spans of its own.

A traceparent that is malformed counts as absent, and its tracestate with it (section 3.2.2.3 and 4.3): no request is
refused for its trace.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
MAX_TRACESTATE = 512
"""Characters; a longer one is dropped, as section 3.3.1.5 allows."""

_VERSION, _NO_VERSION = "00", "ff"
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_TRACESTATE = re.compile(r"[\x20-\x7e]+")
_SAMPLED = 1


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


_current: ContextVar[TraceContext | None] = ContextVar("trace_context", default=None)


def current() -> TraceContext | None:
    """The trace that this thread's work belongs to; None for one that belongs to none."""
    return _current.get()


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


def current_traceparent() -> str | None:
    """What is remembered of the trace with what this thread stores, for those who take it up later."""
    return None if (context := current()) is None else context.traceparent


def continued(traceparent: str | None) -> TraceContext | None:
    """The trace of an event that tells of something that began in the trace `traceparent`.

    A tick finds what somebody's request began: that goes on in the request's trace. Within one and the same trace, what
    this thread does is the nearer cause.
    """
    here = current()
    if traceparent is None:
        return here
    began = TraceContext(traceparent)
    return here if here is not None and here.trace_id == began.trace_id else began


@contextmanager
def within(context: TraceContext | None) -> Iterator[None]:
    """What this thread does in the block belongs to that trace, or to none."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)
