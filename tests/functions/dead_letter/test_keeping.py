"""Dead letters keep the original bytes and the reason, whatever they are."""

import base64
import json
import os
from collections.abc import Callable, Mapping

import pytest

from events import CATALOGUE
from events.foreign import Tick
from functions.dead_letter.function import build
from functions.event_relay import function as event_relay
from shared.eventing.processing import HttpAnswer
from shared.eventing.publishing import HttpPublisher
from shared.models.dead_letter import DeadLetter
from shared.store import audit
from shared.store.database import connect
from shared.store.unit_of_work import Store
from tests.support.builders import INTAKE, PROPOSED, SUBMITTED, Deliver, connection_of, request, submission

Keep = Callable[[dict[str, str], bytes], HttpAnswer]


@pytest.fixture
def keep(store: Store) -> Keep:
    return build(store)


def headers(
    attributes: Mapping[str, str] | None = None,
    *,
    reason: bytes | None = b'{"error": "replicas: must be positive"}',
    code: str | None = "422",
) -> dict[str, str]:
    """What a broker sends to the dead-letter sink."""
    found = {
        "host": "dead-letter.sentinel.svc",
        "prefer": "reply",
        "kn-namespace": "sentinel",
        "content-type": "application/json",
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-source": "/curl",
        "ce-type": "dev.sentinel.workload.submitted.v1",
        "ce-knativeerrordest": "http://workload-intake.sentinel.svc.cluster.local/?a=b",
        "ce-knativekafkapartition": "3",
        "ce-knativekafkaoffset": "17",
    }
    if code is not None:
        found["ce-knativeerrorcode"] = code
    if reason is not None:
        found["ce-knativeerrordata"] = base64.b64encode(reason).decode()
    return {**found, **{f"ce-{name}": value for name, value in (attributes or {}).items()}}


def letters(store: Store) -> list[DeadLetter]:
    with store.begin() as work:
        return work.dead_letters.find()


def only(store: Store) -> DeadLetter:
    [letter] = letters(store)
    return letter


def test_a_letter_keeps_bytes_attributes_and_reason(store: Store, keep: Keep) -> None:
    body = b'{"name": "web",  "replicas": -1}'
    answer = keep(headers({"subject": "w", "hop": "4"}), body)
    assert (answer.status, answer.body) == (202, b"")
    letter = only(store)
    assert letter.body == body
    assert letter.reason == "replicas: must be positive"
    assert letter.error_code == 422
    assert letter.destination == "http://workload-intake.sentinel.svc.cluster.local/?a=b"
    assert (letter.source, letter.event_id, letter.subject) == ("/curl", "1", "w")
    assert dict(letter.attributes) == {
        "specversion": "1.0",
        "id": "1",
        "source": "/curl",
        "type": "dev.sentinel.workload.submitted.v1",
        "subject": "w",
        "hop": "4",
        "datacontenttype": "application/json",
    }
    with store.begin() as work:
        [entry] = audit.entries(connection_of(work), "w")
    assert entry.action == "event.dead_lettered"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{not json", id="no JSON"),
        pytest.param(b'{"a": 1, "a": 2}', id="a duplicate key"),
        pytest.param(b"\xff\xfe\x00binary\x00junk", id="no UTF-8"),
        pytest.param("ünïcödé ☃".encode(), id="UTF-8"),
        pytest.param(bytes(range(256)), id="every byte"),
        pytest.param(os.urandom(3000), id="random bytes"),
    ],
)
def test_every_kind_of_data_is_kept_byte_for_byte(store: Store, keep: Keep, body: bytes) -> None:
    assert keep(headers(), body).status == 202
    assert only(store).body == body


@pytest.mark.parametrize(
    "attributes",
    [
        {"id": ""},
        {"source": ""},
        {"type": ""},
        {"specversion": "2.0"},
        {"time": "yesterday"},
        {"subject": "\xe9\xff"},
        {"id": "x" * 6000},
        {"source": "/" + os.urandom(2500).hex()},
        {"knativeerrordest": "http://h/" + os.urandom(2500).hex()},
        {"subject": os.urandom(3000).hex()},
    ],
)
def test_every_kind_of_attribute_is_kept(store: Store, keep: Keep, attributes: dict[str, str]) -> None:
    assert keep(headers(attributes), b"{}").status == 202
    kept = {**dict(only(store).attributes), "knativeerrordest": attributes.get("knativeerrordest", "")}
    assert attributes.items() <= kept.items() or set(attributes) == {"knativeerrordest"}


def test_long_attributes_that_begin_alike_are_two_letters(store: Store, keep: Keep) -> None:
    for last in "ab":
        assert keep(headers({"id": "x" * 5000 + last}), b"{}").status == 202
    assert {letter.attributes["id"][-1] for letter in letters(store)} == {"a", "b"}
    for letter in letters(store):
        assert len(letter.event_id) == 400


@pytest.mark.parametrize(
    ("reason", "code", "told"),
    [
        (b"plain words", "500", "plain words"),
        (b'{"message": "x"}', "500", '{"message": "x"}'),
        (b'{"error": {"a": 1}}', "400", "{'a': 1}"),
        (b'["list"]', "400", '["list"]'),
        (b"\x00\xff\x00", "400", "\ufffd"),
        (b'{"error": "half \\ud800 a pair"}', "400", "half ? a pair"),
        (b'{"error": "nul \\u0000 here"}', "400", "nul  here"),
        (b"[" * 4000, "400", "[" * 2000),
        (b"1" * 5000, "400", "1" * 2000),
        (b"", "500", "status 500"),
        (None, "404", "status 404"),
        (None, None, "no answer, or an answer that the broker could not store or use"),
    ],
)
def test_reasons_of_all_kinds(store: Store, keep: Keep, reason: bytes | None, code: str | None, told: str) -> None:
    assert keep(headers(reason=reason, code=code), b"{}").status == 202
    assert only(store).reason == told


@pytest.mark.parametrize(("code", "kept"), [("422", 422), ("", None), ("x", None), ("-1", None), ("9" * 30, None)])
def test_codes_of_all_kinds(store: Store, keep: Keep, code: str, kept: int | None) -> None:
    assert keep(headers(code=code), b"{}").status == 202
    assert only(store).error_code == kept


def test_a_reason_that_is_not_base64_is_told_as_it_is(store: Store, keep: Keep) -> None:
    assert keep({**headers(), "ce-knativeerrordata": "not base64!"}, b"{}").status == 202
    assert only(store).reason == "not base64!"


def test_the_same_letter_again_counts_up_and_is_open_again(store: Store, keep: Keep) -> None:
    keep(headers(), b"{}")
    first = only(store)
    assert first.id is not None
    with store.begin() as work:
        work.dead_letters.mark_redriven(first)
        assert work.dead_letters.find() == []
    keep(headers(reason=b"again", code="500"), b"{}")
    letter = only(store)
    assert (letter.id, letter.deliveries, letter.reason, letter.error_code) == (first.id, 2, "again", 500)


@pytest.mark.parametrize("changes", [{}, {"id": ""}, {"id": "", "source": ""}])
def test_different_bodies_under_one_id_are_both_kept(store: Store, keep: Keep, changes: dict[str, str]) -> None:
    for body in (b"1", b"2"):
        assert keep(headers(changes), body).status == 202
    assert {letter.body for letter in letters(store)} == {b"1", b"2"}


def test_one_event_at_two_destinations_is_two_letters(store: Store, keep: Keep) -> None:
    keep(headers(), b"{}")
    keep(headers({"knativeerrordest": "http://policy-evaluation/"}), b"{}")
    with store.begin() as work:
        assert len(work.dead_letters.of_event("/curl", "1")) == 2


def test_a_large_body_is_kept(store: Store, keep: Keep) -> None:
    body = os.urandom(1024 * 1024 - 1)
    assert keep(headers(), body).status == 202
    assert only(store).body == body


def test_what_is_no_event_is_refused_and_leaves_nothing(store: Store, keep: Keep) -> None:
    answer = keep({"content-type": "application/json"}, b"{}")
    assert answer.status == 400
    assert "no ce- headers" in json.loads(answer.body)["error"]
    assert letters(store) == []


# Events that were handled all the same -------------------------------------------------------------------------------


def given_up(deliver: Deliver, body: bytes, **attributes: str) -> dict[str, str]:
    """A submission that intake is asked to take in, as its dead letter without a code arrives."""
    delivered, _ = request(SUBMITTED, body, event_id="1", source="/curl", subject=None)
    deliver.raw(INTAKE, delivered, body)
    return headers(attributes, reason=None, code=None)


def test_the_reply_that_a_broker_could_not_store_goes_back_in_place_of_a_letter(
    store: Store, keep: Keep, deliver: Deliver
) -> None:
    body = json.dumps(submission()).encode()
    given = given_up(deliver, body)
    answer = keep(given, body)
    assert (answer.status, answer.headers["ce-type"]) == (200, PROPOSED)
    assert answer.body == deliver.raw(INTAKE, given, body).body
    assert letters(store) == []
    del given["prefer"]
    assert keep(given, body).status == 202
    assert letters(store) == []


def test_another_event_under_the_id_of_one_that_was_handled_is_kept(store: Store, keep: Keep, deliver: Deliver) -> None:
    given = given_up(deliver, json.dumps(submission()).encode())
    assert keep(given, json.dumps(submission("other")).encode()).status == 202
    assert keep({**given, "ce-knativeerrordest": "http://elsewhere/"}, json.dumps(submission()).encode()).status == 202
    assert keep({**given, "ce-knativeerrordest": "http://[half"}, json.dumps(submission()).encode()).status == 202
    assert len(letters(store)) == 3


def test_a_letter_is_dropped_when_its_event_is_handled_after_all(store: Store, keep: Keep, deliver: Deliver) -> None:
    """The function took longer than the broker waits."""
    body = json.dumps(submission()).encode()
    given = headers(reason=None, code=None)
    assert keep(given, body).status == 202
    assert keep({**given, "ce-id": "2"}, body).status == 202
    given_up(deliver, body)
    relay = event_relay.build(store, HttpPublisher("http://127.0.0.1:1/"))
    deliver.raw(relay, *request(CATALOGUE.name_of(Tick), {}, subject=None))
    assert only(store).event_id == "2"
    with store.begin() as work:
        entries = audit.entries(connection_of(work), "/curl")
    actions = [entry.action for entry in entries]
    assert actions == ["event.dead_lettered", "event.dead_lettered", "event.dead_letter_dropped"]
    assert entries[-1].detail["changes"]["after"] is None


# Back into the broker ------------------------------------------------------------------------------------------------


@pytest.fixture
def keep_nothing() -> Keep:
    """The function while its database is away."""
    return build(Store(connect("postgresql+pg8000://sentinel@/sentinel?unix_sock=/nowhere/.s.PGSQL.5432")))


@pytest.mark.parametrize("code", ["409", "429", "503", "504"])
def test_an_event_whose_last_answer_meant_later_goes_back_as_it_was(
    store: Store, keep: Keep, keep_nothing: Keep, code: str
) -> None:
    body = b'{"name": "web",  "replicas": 1}'
    given = headers({"subject": "Z\xc3\xbcrich%20", "partitionkey": "w", "hop": "4"}, code=code)
    for function in (keep, keep_nothing):
        answer = function(given, body)
        assert (answer.status, answer.body) == (200, body)
        assert answer.headers == {
            "ce-specversion": "1.0",
            "ce-id": "1",
            "ce-source": "/curl",
            "ce-type": "dev.sentinel.workload.submitted.v1",
            "ce-subject": "Z\xc3\xbcrich%20",
            "ce-partitionkey": "w",
            "ce-hop": "4",
            "content-type": "application/json",
        }
    assert letters(store) == []


def test_an_event_whose_letter_cannot_be_stored_goes_back(keep_nothing: Keep) -> None:
    for given in (headers(), headers(code=None)):
        answer = keep_nothing(given, b"{}")
        assert (answer.status, answer.headers["ce-id"]) == (200, "1")


def test_what_the_next_tick_does_anyway_is_dropped_in_place_of_going_back(
    store: Store, keep: Keep, keep_nothing: Keep
) -> None:
    for kind in ("dev.knative.sources.ping", "dev.knative.apiserver.ref.update"):
        assert keep(headers({"type": kind}, code="503"), b"{}").status == 202
        assert keep(headers({"type": kind}, code=None), b"{}").status == 202
        assert keep_nothing(headers({"type": kind}), b"{}").status == 202
    assert letters(store) == []


def test_only_a_broker_is_given_an_event_back(store: Store, keep: Keep, keep_nothing: Keep) -> None:
    """Nobody else would deliver it again."""
    given = headers(code="503")
    del given["prefer"]
    assert keep_nothing(given, b"{}").status == 503
    assert keep(given, b"{}").status == 202
    assert only(store).error_code == 503
