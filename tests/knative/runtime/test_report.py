from __future__ import annotations

import io
import json
import os
from datetime import UTC, datetime

import pytest

from knative.local.runtime.report import Level, Report
from tests.knative.conftest import record

NOON = datetime(2026, 1, 1, 12, 0, 0, 123_456, tzinfo=UTC)


def written(form: str = "text", level: Level = "info") -> tuple[Report, io.StringIO]:
    stream = io.StringIO()
    return Report(stream, form, level, lambda: NOON), stream


def test_one_aligned_line_a_delivery() -> None:
    report, stream = written()
    report.delivery(record("dev.sentinel.plan.proposed.v1"), "policy-evaluation", "-> plan.approved.v1", 3.21, ok=True)
    report.delivery(record("dev.sentinel.workload.submitted.v1"), "workload-intake", "503, again", 1234.5, ok=False)
    first, second = stream.getvalue().splitlines()
    assert first.split() == [
        "12:00:00.123",
        "plan.proposed.v1",
        "s",
        "policy-evaluation",
        "3.2",
        "ms",
        "->",
        "plan.approved.v1",
    ]
    assert second.split()[:3] == ["12:00:00.123", "!", "workload.submitted.v1"]
    assert first.index("->") == second.index("503")


def test_one_json_object_a_line() -> None:
    report, stream = written("json")
    report.delivery(record("k", "7"), "f", "done", 3.21, ok=True)
    assert json.loads(stream.getvalue()) == {
        "time": "2026-01-01T12:00:00.123+00:00",
        "level": "info",
        "type": "k",
        "subject": "s",
        "function": "f",
        "outcome": "done",
        "id": "7",
        "ms": 3.2,
    }


@pytest.mark.parametrize("kind", ["dev.knative.sources.ping", "dev.knative.apiserver.ref.update"])
def test_a_tick_that_led_to_nothing_is_reported_at_debug_level(kind: str) -> None:
    report, stream = written()
    report.delivery(record(kind), "f", "done", 1, ok=True)
    assert stream.getvalue() == ""
    report.delivery(record(kind), "f", "-> x", 1, ok=True)
    report.delivery(record(kind), "f", "503", 1, ok=False)
    assert len(stream.getvalue().splitlines()) == 2
    report, stream = written(level="debug")
    report.delivery(record(kind), "f", "done", 1, ok=True)
    assert len(stream.getvalue().splitlines()) == 1


def test_the_level_decides_what_is_written() -> None:
    report, stream = written(level="warning")
    report.debug("a")
    report.info("b")
    report.warning("c", key="value")
    report.error("d")
    assert [line.split(" ", 2)[2] for line in stream.getvalue().splitlines()] == ["c key=value", "d"]


def test_a_child_s_line_in_text_and_in_json() -> None:
    report, stream = written(level="error")
    report.output("f", "hello")
    assert stream.getvalue().endswith("[f] hello\n")
    report, stream = written("json")
    report.output("f", "hello")
    report.output("f", '{"level": "error", "message": "broken"}')
    report.output("f", "{not json")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["message"] for line in lines] == ["hello", "broken", "{not json"]
    assert [line["level"] for line in lines] == ["info", "error", "info"]
    assert {line["function"] for line in lines} == {"f"}


def test_a_reader_that_is_gone_does_not_stop_anything() -> None:
    read, write = os.pipe()
    os.close(read)
    with open(write, "w", closefd=False) as stream:
        Report(stream).info("nobody hears this")
        os.dup2(os.open(os.devnull, os.O_WRONLY), write)  # what is left in the buffer goes nowhere
    os.close(write)
