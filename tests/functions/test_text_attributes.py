"""An event whose attributes are not ASCII is one event, however it was written, at the inbox and after a redrive."""

import json
from typing import Any

import pytest
import sqlalchemy as sa

from functions.dead_letter.function import build
from shared.eventing import codec
from shared.eventing.event import Envelope
from shared.eventing.processing import HttpAnswer
from shared.store.unit_of_work import Store
from tests.functions.cli.conftest import Sentinel, api, broker, nowhere, sentinel
from tests.support.brokers import Broker
from tests.support.builders import INTAKE, SUBMITTED, Deliver, rows, submission

__all__ = ["api", "broker", "nowhere", "sentinel"]

ATTRIBUTES = {"specversion": "1.0", "type": SUBMITTED, "source": "/z%C3%BCrich", "id": "Zürich 1", "subject": "Zürich"}
BODY = json.dumps(submission()).encode()
STRUCTURED = {"content-type": "application/cloudevents+json", "prefer": "reply"}
DOCUMENT = json.dumps({**ATTRIBUTES, "datacontenttype": "application/json", "data": submission()}).encode()
BINARY = {
    "prefer": "reply",
    "content-type": "application/json",
    **{f"ce-{name}": value for name, value in ATTRIBUTES.items()},
    "ce-id": "Z%C3%BCrich%201",
    "ce-subject": "Z%C3%BCrich",
}
RAW = {**BINARY, "ce-id": "Zürich 1", "ce-subject": "Zürich"}
DELIVERED = {name: value.encode().decode("latin-1") for name, value in RAW.items()}
"""As a Kafka broker delivers the structured event: raw UTF-8, which HTTP libraries show as ISO 8859-1."""


@pytest.mark.parametrize(
    "again", [(BINARY, BODY), (DELIVERED | {"ce-subject": "ZÃ¼rich"}, BODY)], ids=["binary", "raw"]
)
def test_a_structured_and_a_binary_delivery_are_one_event(
    deliver: Deliver, owner_engine: sa.Engine, again: tuple[dict[str, str], bytes]
) -> None:
    first: HttpAnswer = deliver.raw(INTAKE, STRUCTURED, DOCUMENT)
    second = deliver.raw(INTAKE, *again)
    assert (first.status, second.outcome.split()[0]) == (200, "duplicate")
    assert (dict(first.headers), first.body) == (dict(second.headers), second.body)
    [kept] = rows(owner_engine, "inbox")
    assert (kept["source"], kept["event_id"]) == ("/z%C3%BCrich", "Zürich 1")


@pytest.mark.parametrize("delivered", [BINARY, DELIVERED], ids=["encoded", "raw"])
def test_a_redriven_dead_letter_is_the_event_that_it_was(
    sentinel: Sentinel, store: Store, broker: Broker, delivered: dict[str, Any]
) -> None:
    failure = {"ce-knativeerrordest": "http://intake/", "ce-knativeerrorcode": "500"}
    assert build(store)(delivered | failure, BODY).status == 202
    with store.begin() as work:
        [letter] = work.dead_letters.find(include_redriven=False)
    assert (letter.event_id, letter.subject) == ("Zürich 1", "Zürich")
    assert "Zürich" in "".join(sentinel("events", "list").lines)
    ran = sentinel("events", "redrive", str(letter.id))
    assert ran.code == 0, ran.err
    expected: Envelope = codec.decode(STRUCTURED, DOCUMENT)
    [sent] = broker.events
    assert (sent.attributes, sent.data) == (expected.attributes, expected.data)
    assert sent.digest == expected.digest
