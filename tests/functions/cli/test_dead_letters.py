"""`sentinel events`: what was given up on, as it came, and the way back for it."""

import base64
import json
import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from shared.eventing.function import MAX_ATTEMPTS
from shared.eventing.processing import HttpAnswer
from shared.models.dead_letter import DeadLetter
from shared.store import audit, inbox
from shared.store.tables import inbox as inbox_table
from shared.store.tables import outbox
from shared.store.unit_of_work import Store
from tests.functions.cli.conftest import Sentinel
from tests.support.brokers import Broker
from tests.support.builders import INTAKE, SUBMITTED, Deliver, connection_of, envelope, id_of, submission

ATTRIBUTES = {
    "specversion": "1.0",
    "id": "event-1",
    "source": "/shop",
    "type": SUBMITTED,
    "subject": str(id_of()),
    "partitionkey": str(id_of()),
    "time": "2026-01-01T00:00:00.1Z",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "datacontenttype": "application/json",
}
BODY = (
    b'{"name":  "test-inference",\n "type": "inference", "image": "nginx:1.29", "team":"search","namespace":"search"}'
)


def letter(event_id: str = "event-1", body: bytes = BODY, **fields: Any) -> DeadLetter:
    attributes = {**ATTRIBUTES, "id": event_id, **fields.pop("attributes", {})}
    given = {
        "destination": "http://workload-intake.sentinel.svc/",
        "source": attributes["source"],
        "event_id": event_id,
        "type": SUBMITTED,
        "subject": str(id_of()),
        "attributes": attributes,
        "body": body,
        "error_code": 503,
        "reason": "the database is not available",
        **fields,
    }
    return DeadLetter(**given)


def keep(store: Store, *letters: DeadLetter) -> list[str]:
    """Their ids, in the order in which they were kept."""
    for one in letters:
        with store.begin() as work:
            work.dead_letters.keep(one)
    with store.begin() as work:
        return [str(one.id) for one in work.dead_letters.find(include_redriven=True)]


def test_the_list_says_what_where_and_why(sentinel: Sentinel, store: Store) -> None:
    first, second = keep(store, letter(), letter("event-2", error_code=None, subject=None, reason="no answer\x1b[2J"))
    header, one, other = sentinel("events", "list").lines
    assert header.split() == ["ID", "TYPE", "SUBJECT", "DESTINATION", "CODE", "AGE", "REASON"]
    expected = [first, SUBMITTED, str(id_of()), "http://workload-intake.sentinel.svc/", "503"]
    assert one.split()[:5] == expected
    assert one.endswith("the database is not available")
    assert other.startswith(second)
    assert other.endswith("no answer\\x1b[2J")
    told = sentinel("events", "list", "-o", "json").json
    assert [(t["id"], t["code"], t["subject"], t["redrivenAt"]) for t in told] == [
        (first, 503, str(id_of()), None),
        (second, None, None, None),
    ]
    assert sentinel("events", "list", "-o", "yaml").yaml == told


def test_a_list_that_is_longer_than_the_limit_says_so(sentinel: Sentinel, store: Store) -> None:
    keep(store, letter(), letter("event-2"))
    ran = sentinel("events", "list", "--limit", "1")
    assert (len(ran.lines), ran.err) == (2, "sentinel: only the oldest 1 are shown; see the rest with --limit\n")


def test_one_letter_is_shown_with_its_attributes_and_its_data(sentinel: Sentinel, store: Store) -> None:
    [one] = keep(store, letter())
    shown = sentinel("events", "show", one)
    assert shown.out.endswith("\n\n" + json.dumps(json.loads(BODY), indent=2) + "\n")
    assert f"id                  {one}\n" in shown.out
    assert "ce-id               event-1\n" in shown.out
    assert "ce-traceparent      00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" in shown.out
    event = sentinel("events", "show", one, "-o", "json").json["event"]
    assert event == {**ATTRIBUTES, "data": json.loads(BODY)}
    assert sentinel("events", "show", one, "-o", "yaml").yaml["event"] == event


@pytest.mark.parametrize(
    ("body", "content_type", "shown"),
    [
        (b"\xff\x1b[2J", "application/octet-stream", "\\xff\\x1b[2J"),
        (b"{not json", "application/json", "{not json"),
        (b"plain", "text/plain", "plain"),
    ],
)
def test_data_that_is_not_json_is_kept_byte_for_byte(
    sentinel: Sentinel, store: Store, body: bytes, content_type: str, shown: str
) -> None:
    [one] = keep(store, letter(body=body, attributes={"datacontenttype": content_type}))
    assert sentinel("events", "show", one).lines[-1] == shown
    event = sentinel("events", "show", one, "-o", "json").json["event"]
    assert base64.b64decode(event["data_base64"]) == body
    assert "data" not in event


def test_an_event_without_data_has_none(sentinel: Sentinel, store: Store) -> None:
    attributes = {name: value for name, value in ATTRIBUTES.items() if name != "datacontenttype"}
    [one] = keep(store, DeadLetter(**{**vars(letter(body=b"")), "attributes": attributes}))
    assert sentinel("events", "show", one, "-o", "json").json["event"] == attributes


def test_a_redrive_sends_the_same_event_again(sentinel: Sentinel, store: Store, broker: Broker) -> None:
    [one] = keep(store, letter())
    ran = sentinel("events", "redrive", one)
    assert (ran.code, ran.out, ran.err) == (0, f"{one}\n", "")
    [event] = broker.events
    assert event.attributes == ATTRIBUTES
    assert event.body == BODY
    assert sentinel("events", "list").lines[1:] == []
    assert len(sentinel("events", "list", "--redriven").lines) == 2
    with store.begin() as work:
        [entry] = audit.entries(connection_of(work), str(id_of()))
    assert entry.action == "event.redriven"
    assert entry.detail["id"] == "event-1"


def test_a_redriven_event_that_failed_too_often_is_handled(
    sentinel: Sentinel, store: Store, broker: Broker, deliver: Deliver
) -> None:
    event = envelope(SUBMITTED, submission(), event_id="event-1", source="/shop", subject=str(id_of()))
    for _ in range(MAX_ATTEMPTS):
        store.claim(INTAKE.name, event)
    headers = {f"ce-{name}": value for name, value in event.attributes.items() if name != "datacontenttype"}
    headers["content-type"] = "application/json"
    assert deliver.raw(INTAKE, headers, event.body).status == 422
    [one] = keep(store, letter(body=event.body))
    answers: list[HttpAnswer] = []
    broker.taken = lambda headers, body: answers.append(deliver.raw(INTAKE, {**headers, "prefer": "reply"}, body))
    assert sentinel("events", "redrive", one).code == 0
    assert [answer.status for answer in answers] == [200]


def test_all_open_letters_go_out(sentinel: Sentinel, store: Store, broker: Broker) -> None:
    ids = keep(store, letter(), letter("event-2"), letter(destination="http://policy-evaluation/"))
    assert sentinel("events", "redrive", ids[1]).code == 0
    ran = sentinel("events", "redrive", "--all")
    assert ran.lines == [ids[0], ids[2]]
    assert [event.id for event in broker.events] == ["event-2", "event-1", "event-1"]
    nothing = sentinel("events", "redrive", "--all")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "")


def test_programs_are_told_what_was_sent_again(sentinel: Sentinel, store: Store, broker: Broker) -> None:
    [key] = keep(store, letter())
    ran = sentinel("events", "redrive", "--all", "-o", "json")
    [event] = broker.events
    assert ran.json == [{"id": key, "eventId": event.id, "source": event.source}]
    assert sentinel("events", "redrive", "--all", "-o", "json").json == []


def test_a_malformed_event_stays_because_it_would_only_come_back(
    sentinel: Sentinel, store: Store, broker: Broker
) -> None:
    broken = letter("event-2", body=b"{")
    nameless = letter("", attributes={"source": "", "specversion": "7"})
    good, bad, worse = keep(store, letter(), broken, nameless)
    ran = sentinel("events", "redrive", "--all")
    assert (ran.code, ran.lines) == (1, [good])
    said = "stays: the event is malformed, and would only come back"
    assert ran.err.splitlines()[0].startswith(f"sentinel: {bad} {said}: the data is not JSON")
    assert ran.err.splitlines()[1] == f"sentinel: {worse} {said}: the attribute 'id' is missing or empty"
    assert [event.id for event in broker.events] == ["event-1"]
    assert [one["id"] for one in sentinel("events", "list", "-o", "json").json] == [bad, worse]


def test_a_redrive_is_durable_before_anything_is_sent(sentinel: Sentinel, store: Store) -> None:
    [one] = keep(store, letter())
    store.claim("anyone", envelope(event_id="event-1", source="/shop"))
    ran = sentinel("events", "redrive", one, K_SINK=None)
    assert ran.code == 0
    with store.begin() as work:
        row = connection_of(work).execute(sa.select(outbox)).one()
        attempts = connection_of(work).execute(sa.select(inbox_table.c.attempts)).scalar_one()
        assert inbox.answer(connection_of(work), "anyone", "/shop", "event-1") is None
    assert (row.attributes, bytes(row.body), attempts) == (ATTRIBUTES, BODY, 0)


def test_which_letter_is_meant_must_be_clear(sentinel: Sentinel) -> None:
    unknown = uuid.uuid4()
    assert sentinel("events", "show", unknown).err == f"sentinel: there is no dead letter {unknown}\n"
    ran = sentinel("events", "redrive", "event-1")
    said = "sentinel: event-1 is not the id of a dead letter: see `sentinel events list`\n"
    assert (ran.code, ran.err) == (2, said)
    for arguments in ((), (unknown, "--all")):
        ran = sentinel("events", "redrive", *arguments)
        assert (ran.code, ran.err) == (2, "sentinel: name one dead letter by its id, or all open ones with --all\n")
