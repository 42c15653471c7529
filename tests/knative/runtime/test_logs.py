"""The platform's log, in both forms, and what programs take from it."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Callable, Iterator

import pytest

from knative.local.broker.attempts import Attempt, AttemptHandler, log_attempt, log_unrouted
from knative.local.runtime import logs
from knative.local.serving.output import log_output
from tests.knative.conftest import record

Written = Callable[..., io.StringIO]
LOG = logging.getLogger("knative.local.test")


@pytest.fixture
def written() -> Iterator[Written]:
    """Configures the log as the platform does; the stream that it writes to."""

    def configured(form: str = "text", level: str = "info") -> io.StringIO:
        stream = io.StringIO()
        logs.configure(form, level, stream)
        return stream

    with logs.following():
        yield configured


def test_one_aligned_line_an_attempt(written: Written) -> None:
    stream = written()
    log_attempt(record("dev.sentinel.plan.proposed.v1"), "policy-evaluation", "-> plan.approved.v1", 3.21, ok=True)
    log_attempt(record("dev.sentinel.workload.submitted.v1"), "workload-intake", "503, again", 1234.5, ok=False)
    first, second = stream.getvalue().splitlines()
    assert first.split()[1:] == ["plan.proposed.v1", "s", "policy-evaluation", "3.2", "ms", "->", "plan.approved.v1"]
    assert second.split()[1:3] == ["!", "workload.submitted.v1"]
    assert first.index("->") == second.index("503")


def test_one_json_object_an_attempt(written: Written) -> None:
    stream = written("json")
    log_attempt(record("k", "7"), "f", "done", 3.21, ok=True)
    found = json.loads(stream.getvalue())
    assert found.pop("time").endswith("+00:00")
    assert found == {
        "level": "info",
        "logger": "knative.local.broker.attempts",
        "message": "done",
        "type": "k",
        "subject": "s",
        "function": "f",
        "outcome": "done",
        "id": "7",
        "ms": 3.2,
    }


@pytest.mark.parametrize("kind", ["dev.knative.sources.ping", "dev.knative.apiserver.ref.update"])
def test_a_tick_that_led_to_nothing_is_logged_at_debug_level(kind: str, written: Written) -> None:
    stream = written()
    log_attempt(record(kind), "f", "done", 1, ok=True)
    assert stream.getvalue() == ""
    log_attempt(record(kind), "f", "-> x", 1, ok=True)
    log_attempt(record(kind), "f", "503", 1, ok=False)
    assert len(stream.getvalue().splitlines()) == 2
    stream = written(level="debug")
    log_attempt(record(kind), "f", "done", 1, ok=True)
    assert len(stream.getvalue().splitlines()) == 1


def test_the_level_decides_what_is_written_and_fields_are_shown(written: Written) -> None:
    stream = written(level="warning")
    LOG.debug("a")
    LOG.info("b")
    LOG.warning("c", extra={"fields": {"key": "value"}})
    LOG.error("d")
    assert [line.split(" ", 2)[2] for line in stream.getvalue().splitlines()] == ["c key=value", "d"]


def test_an_error_is_logged_with_its_traceback(written: Written) -> None:
    stream = written()
    try:
        raise LookupError("lost")
    except LookupError:
        LOG.exception("it failed")
    first, second, *_, last = stream.getvalue().splitlines()
    assert (first.split(" ", 1)[1], second, last) == (
        "! it failed",
        "Traceback (most recent call last):",
        "LookupError: lost",
    )


def test_a_child_s_line_is_written_at_every_level_in_text_and_in_json(written: Written) -> None:
    stream = written(level="error")
    log_output("f", "hello")
    assert stream.getvalue().endswith(" [f] hello\n")
    stream = written("json")
    log_output("f", "hello")
    log_output("f", '{"level": "error", "message": "broken"}')
    log_output("f", "{not json")
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["message"] for line in found] == ["hello", "broken", "{not json"]
    assert [line["level"] for line in found] == ["info", "error", "info"]
    assert {line["function"] for line in found} == {"f"}


def test_a_reader_that_is_gone_does_not_stop_anything(written: Written, capsys: pytest.CaptureFixture[str]) -> None:
    written()
    read, write = os.pipe()
    os.close(read)
    with open(write, "w", closefd=False) as stream:
        logs.configure("text", "info", stream)
        LOG.info("nobody hears this")
        os.dup2(os.open(os.devnull, os.O_WRONLY), write)  # what is left in the buffer goes nowhere
    os.close(write)
    assert capsys.readouterr().err == ""


def test_a_program_follows_every_attempt_and_keeps_warnings() -> None:
    seen: list[Attempt] = []
    warnings = logs.Warnings()
    with logs.following(AttemptHandler(seen.append), warnings.handler):
        log_attempt(record("dev.knative.sources.ping"), "f", "done", 1, ok=True)
        log_unrouted(record("k"))
        LOG.info("started")
        LOG.warning("look here")
        log_output("f", "hello")
    assert [(attempt.subscriber, attempt.outcome) for attempt in seen] == [("f", "done"), ("", "no trigger")]
    assert [line.split(" ", 1)[1].strip() for line in warnings.tail().splitlines()] == ["! look here", "[f] hello"]
    log_unrouted(record("k"))
    assert len(seen) == 2
