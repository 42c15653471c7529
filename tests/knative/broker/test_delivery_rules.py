from __future__ import annotations

import base64
from typing import Any

import pytest

from knative.local.broker import delivery
from knative.local.broker.delivery import Delivered, HttpResponse, NoResponse, Rejected, Retry
from knative.local.resources.manifests import DeliverySpec

EVENT = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t"}


@pytest.mark.parametrize("status", [404, 408, 409, 429, 500, 502, 503, 504, 599])
def test_statuses_that_are_tried_again(status: int) -> None:
    assert delivery.outcome_of(HttpResponse(status, {}, b"no")) == Retry(str(status))


@pytest.mark.parametrize("status", [301, 302, 303, 304, 307, 308, 400, 401, 403, 405, 410, 413, 422, 425, 451])
def test_statuses_that_are_not(status: int) -> None:
    assert delivery.outcome_of(HttpResponse(status, {}, b"no")) == Rejected(str(status))


def test_a_network_failure_is_tried_again() -> None:
    assert delivery.outcome_of(NoResponse("reset")) == Retry("reset")


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_an_empty_success_is_done(status: int) -> None:
    assert delivery.outcome_of(HttpResponse(status, {}, b"")) == Delivered()


def test_a_binary_event_is_the_reply() -> None:
    verdict = delivery.outcome_of(HttpResponse(202, {**EVENT, "content-type": "text/plain"}, b"x"))
    assert isinstance(verdict, Delivered)
    assert verdict.reply is not None
    assert verdict.reply.attributes["datacontenttype"] == "text/plain"
    assert verdict.reply.data == b"x"


def test_a_structured_event_is_the_reply() -> None:
    body = b'{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":1}}'
    verdict = delivery.outcome_of(HttpResponse(200, {"content-type": "application/cloudevents+json"}, body))
    assert isinstance(verdict, Delivered)
    assert verdict.reply is not None
    assert verdict.reply.data == b'{"a":1}'


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content-type": "text/plain"}, b"OK"),
        ({"content-type": "application/json"}, b"{}"),
        ({"content-type": "application/cloudevents-batch+json"}, b"[]"),
        ({"content-type": "application/cloudevents+json"}, b"{}"),
        ({"ce-specversion": "1.0", "ce-id": "1"}, b"x"),
        (EVENT, b"x" * (1_048_576 + 1)),
    ],
)
def test_a_success_with_anything_else_is_a_bare_dead_letter(headers: dict[str, str], body: bytes) -> None:
    verdict = delivery.outcome_of(HttpResponse(200, headers, body))
    assert isinstance(verdict, Rejected)
    assert delivery.dead_letter_extensions("http://f/", HttpResponse(200, headers, body), verdict) == {
        "knativeerrordest": "http://f/"
    }


def test_an_invalid_reply_without_a_body_is_lost_but_said() -> None:
    verdict = delivery.outcome_of(HttpResponse(200, {"ce-specversion": "1.0", "ce-id": "1"}, b""))
    assert isinstance(verdict, Delivered)
    assert verdict.reply is None
    assert "source is missing" in verdict.note


@pytest.mark.parametrize(
    ("spec", "waits"),
    [
        ({"retry": 4, "backoffDelay": "PT0.2S", "backoffPolicy": "exponential"}, [0.4, 0.8, 1.6, 3.2, None]),
        ({"retry": 3, "backoffDelay": "PT2S", "backoffPolicy": "linear"}, [2, 4, 6, None]),
        ({"retry": 1}, [0.4, None]),
        ({}, [None]),
        ({"retry": 5, "backoffDelay": "PT0S"}, [None]),
    ],
)
def test_the_schedule(spec: dict[str, Any], waits: list[float | None]) -> None:
    found = [delivery.wait(DeliverySpec.model_validate(spec), failed) for failed in range(1, len(waits) + 1)]
    assert found == [None if each is None else pytest.approx(each) for each in waits]


def test_a_dead_letter_says_where_and_why() -> None:
    answer = HttpResponse(422, {}, b"\xff" * 2000)
    extensions = delivery.dead_letter_extensions("http://f/p?q=1", answer, Rejected("422"))
    assert extensions["knativeerrordest"] == "http://f/p?q=1"
    assert extensions["knativeerrorcode"] == "422"
    assert base64.b64decode(extensions["knativeerrordata"]) == b"\xff" * 1024


def test_a_dead_letter_after_an_empty_answer_has_no_data() -> None:
    assert "knativeerrordata" not in delivery.dead_letter_extensions(
        "http://f/", HttpResponse(500, {}, b""), Retry("500")
    )


def test_a_dead_letter_without_an_answer_has_no_code() -> None:
    assert delivery.dead_letter_extensions("http://f/", NoResponse("reset"), Retry("reset")) == {
        "knativeerrordest": "http://f/"
    }
