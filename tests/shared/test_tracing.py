"""Trace context by W3C: what is read, what is restarted, and what this thread's work belongs to."""

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import pytest

from shared import tracing
from shared.observability import JsonFormatter
from shared.tracing import SpanKind, TraceContext, carried, current, within

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


def inside(context: TraceContext) -> AbstractContextManager[object]:
    return within(context, "test", SpanKind.INTERNAL, {})


def test_what_is_well_formed_is_carried_on() -> None:
    context = carried({"traceparent": PARENT, "tracestate": "vendor=x,other=y", "id": "e"})
    assert context == TraceContext(PARENT, "vendor=x,other=y")
    assert context.trace_id == TRACE
    assert context.attributes == {"traceparent": PARENT, "tracestate": "vendor=x,other=y"}
    assert TraceContext(PARENT).attributes == {"traceparent": PARENT}


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "00-1-1-01",
        PARENT.upper(),
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"{PARENT}-more",
        f"{PARENT}0",
        f" {PARENT}",
        f"{PARENT}\n",
        f"00-{TRACE}-{SPAN}-0g",
        f"00-{TRACE}-{SPAN}",
        f"00_{TRACE}_{SPAN}_01",
        "٠٠-" + PARENT[3:],
        "x" * 100_000,
    ],
)
def test_what_is_malformed_counts_as_absent_with_its_tracestate(traceparent: str) -> None:
    assert carried({"traceparent": traceparent, "tracestate": "a=b"}) is None


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (f"01-{TRACE}-{SPAN}-01", PARENT),
        (f"cc-{TRACE}-{SPAN}-ff-what-the-future-brings", PARENT),
        (f"cc-{TRACE}-{SPAN}-02-", f"00-{TRACE}-{SPAN}-00"),
    ],
)
def test_a_later_version_is_read_as_far_as_it_is_known(given: str, read: str) -> None:
    assert carried({"traceparent": given}) == TraceContext(read)
    assert carried({"traceparent": f"01-{TRACE}-{SPAN}-01more"}) is None


def test_a_tracestate_that_is_too_long_or_no_text_is_dropped_alone() -> None:
    for state in ("a" * (tracing.MAX_TRACESTATE + 1), "a=\x00", "a=é", ""):
        assert carried({"traceparent": PARENT, "tracestate": state}) == TraceContext(PARENT)


def test_what_a_thread_does_belongs_to_a_trace_until_the_block_ends() -> None:
    outer, inner = TraceContext(PARENT), TraceContext(f"00-{'a' * 32}-{SPAN}-00")
    with inside(outer), ThreadPoolExecutor(1) as other:
        with inside(inner):
            assert current() is inner
            assert other.submit(current).result() is None
        assert current() is outer
        with pytest.raises(KeyError), inside(inner):
            raise KeyError
        assert current() is outer
    assert current() is None


def test_lines_of_the_log_name_the_trace() -> None:
    def entry() -> dict[str, str]:
        logged: dict[str, str] = json.loads(JsonFormatter().format(logging.makeLogRecord({"msg": "said"})))
        return logged

    assert "trace_id" not in entry()
    with inside(TraceContext(PARENT)):
        assert entry()["trace_id"] == TRACE
