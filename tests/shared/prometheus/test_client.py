"""What a Prometheus does wrong costs an answer, within bounds, and is told without secrets."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.errors import PrometheusError, PrometheusUnavailable, QueryRefused
from shared.models.collection import MetricQuery, Series
from shared.prometheus.client import AT_ONCE, ATTEMPTS, Prometheus
from tests.support.certificates import Authority
from tests.support.prometheuses import FakePrometheus, Fault, fake_prometheus

UP = MetricQuery("up")


@pytest.fixture
def fake() -> Iterator[FakePrometheus]:
    with fake_prometheus() as found:
        yield found.knows("up", 1)


def asked(fake: FakePrometheus, **how: Any) -> list[Series] | PrometheusError:
    prometheus = Prometheus(
        fake.url, **{"query_seconds": 0.3, "collection_seconds": 5.0, "backoff_seconds": 0.01, **how}
    )
    [answer] = prometheus.ask([UP], prometheus.deadline())
    return answer


def body(**document: object) -> bytes:
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    "fault", [(503, b"overloaded"), (500, body(status="error", errorType="internal", error="x")), "reset", "hang"]
)
def test_what_may_pass_is_asked_again(fake: FakePrometheus, fault: Fault) -> None:
    fake.faults = [fault, fault]
    answer = asked(fake)
    assert isinstance(answer, list)
    assert [list(one.points.values()) for one in answer] == [[1.0]]
    assert len(fake.asked) == ATTEMPTS


def test_what_does_not_pass_is_given_up(fake: FakePrometheus) -> None:
    fake.lasting = (503, b"overloaded")
    answer = asked(fake)
    assert isinstance(answer, PrometheusUnavailable)
    assert str(answer) == "Prometheus answered 503"
    assert len(fake.asked) == ATTEMPTS


GARBAGE = (
    b"",
    b"\xff\xfe",
    b"<html>",
    b"[" * 100_000,
    b"[]",
    b"null",
    body(status="success"),
    body(status="success", data={"resultType": "vector", "result": [{"metric": {}, "value": [1]}]}),
    body(status="success", data={"resultType": "vector", "result": [{"metric": {}, "value": [1, 2]}]}),
    body(status="success", data={"resultType": "vector", "result": [{"metric": {"a": 1}, "value": [1, "2"]}]}),
    body(status="success", data={"resultType": "vector", "result": [{"metric": {}, "value": [1, "many"]}]}),
    body(status="success", data={"resultType": "vector", "result": None}),
    body(status="success", data={"resultType": "string", "result": [1, "text"]}),
    body(status="pending", data={"resultType": "vector", "result": []}),
)


def test_garbage_is_refused_and_not_asked_again(fake: FakePrometheus) -> None:
    fake.faults = [(200, one) for one in GARBAGE]
    for number in range(len(GARBAGE)):
        assert isinstance(asked(fake), QueryRefused), GARBAGE[number]
        assert len(fake.asked) == number + 1


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 422, 429])
def test_a_refusal_is_final_and_says_why_in_one_line(fake: FakePrometheus, status: int) -> None:
    fake.lasting = (status, body(status="error", errorType="execution", error="many\nlines " + "x" * 9000))
    answer = asked(fake)
    assert isinstance(answer, QueryRefused)
    assert str(answer).startswith(f"Prometheus answered {status}: execution: many\\nlines")
    assert len(str(answer)) < 500
    assert len(fake.asked) == 1


def test_an_answer_that_is_too_large_is_cut_off(fake: FakePrometheus) -> None:
    fake.lasting = (200, b" " * 3_000_000)
    answer = asked(fake, max_bytes=1_000_000, query_seconds=5.0)
    assert isinstance(answer, QueryRefused)
    assert "1000000 bytes" in str(answer)


def test_an_answer_in_drops_ends_with_its_time(fake: FakePrometheus) -> None:
    fake.lasting = "drip"
    assert isinstance(asked(fake, collection_seconds=0.5), PrometheusUnavailable)


def test_an_answer_of_a_part_of_the_data_is_not_used(fake: FakePrometheus) -> None:
    fake.extra = {"warnings": ["No StoreAPIs matched for this query"]}
    assert isinstance(asked(fake, collection_seconds=0.2), PrometheusUnavailable)
    fake.extra = {"warnings": ["PromQL warning: bucket label is malformed"], "infos": ["PromQL info: no counter"]}
    assert isinstance(asked(fake), list)


def test_a_collection_ends_at_its_deadline_however_many_queries_hang(fake: FakePrometheus) -> None:
    fake.lasting = "hang"
    prometheus = Prometheus(fake.url, query_seconds=60.0, collection_seconds=0.3)
    answers = prometheus.ask([UP] * 50, prometheus.deadline())
    assert len(answers) == 50
    assert all(isinstance(one, PrometheusUnavailable) for one in answers)
    assert len(fake.asked) <= AT_ONCE


def test_credentials_are_shown_and_never_told(fake: FakePrometheus, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first-token\n")
    prometheus = Prometheus(fake.url, token=token)
    for name in ("first-token", "second-token"):
        token.write_text(f"{name}\n")  # it is renewed while the process runs
        prometheus.ask([UP], prometheus.deadline())
    named = Prometheus(fake.url.replace("//", "//sentinel:p%40ss@") + "/")
    named.ask([UP], named.deadline())
    shown = [one["authorization"] for one in fake.headers]
    assert shown == ["Bearer first-token", "Bearer second-token", "Basic c2VudGluZWw6cEBzcw=="]
    fake.lasting = "reset"
    gone = Prometheus("http://sentinel:p%40ss@127.0.0.1:9", collection_seconds=0.1)
    for prometheus in (named, gone):
        [answer] = prometheus.ask([UP], time.monotonic() + 0.1)
        assert isinstance(answer, PrometheusUnavailable)
        assert "p%40ss" not in str(answer)
        assert "p@ss" not in str(answer)


def test_a_certificate_must_be_of_an_authority_that_is_known(tmp_path: Path) -> None:
    authority = Authority()
    known = tmp_path / "ca.pem"
    known.write_bytes(authority.certificate)
    with fake_prometheus(tls=authority.server_context(tmp_path)) as fake:
        fake.knows("up", 1)
        assert isinstance(asked(fake, collection_seconds=0.1), PrometheusUnavailable)
        assert isinstance(asked(fake, authority=known), list)
