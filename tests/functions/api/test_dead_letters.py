"""Dead letters over REST: lists, one with its event, and redrive."""

import uuid

from shared.models.identity import Role
from shared.store.unit_of_work import Store
from tests.support.dead_letters import keep_letter
from tests.support.queueing import left_in_outbox
from tests.support.rest import Rest

SUBMITTED = "dev.sentinel.workload.submitted.v1"


def keep(store: Store, event_id: str, body: bytes | None = None, **attributes: str) -> str:
    """A dead letter's path."""
    return f"/events/dead-letters/{keep_letter(store, event_id, body, **attributes)}"


def test_a_dead_letter_is_read_with_its_event(rest: Rest, store: Store) -> None:
    path, malformed = keep(store, "e1"), keep(store, "e2", b"\xff\xfe")
    found = rest("GET", path).json
    assert (found["eventId"], found["code"], found["reason"]) == ("e1", 422, "no team")
    assert found["event"]["data"]["name"] == "test-inference"
    assert rest("GET", malformed).json["event"]["data_base64"] == "//4="
    assert rest("GET", f"/events/dead-letters/{uuid.UUID(int=9)}").status == 404


def test_a_redriven_event_is_sent_again_and_leaves_the_list(rest: Rest, store: Store) -> None:
    path, other = keep(store, "e1"), keep(store, "e2")
    answer = rest("POST", f"{path}/redrive", idempotency_key="k")
    assert (answer.status, answer.headers["location"]) == (202, f"/api/v1{path}")
    assert rest("POST", f"{path}/redrive", idempotency_key="k").body == answer.body
    [sent] = left_in_outbox(store, SUBMITTED)
    assert sent.id == "e1"
    open_letters = rest("GET", "/events/dead-letters").json["items"]
    assert [one["id"] for one in open_letters] == [other.rpartition("/")[2]]
    assert len(rest("GET", "/events/dead-letters?redriven=true").json["items"]) == 1


def test_a_malformed_event_is_not_sent_again(rest: Rest, store: Store) -> None:
    path = keep(store, "e1", b"\xff", datacontenttype="application/json")
    answer = rest("POST", f"{path}/redrive")
    assert (answer.status, "only come back" in answer.json["detail"]) == (409, True)
    assert rest("GET", path).json["redrivenAt"] is None


def test_who_may_read_and_redrive(rest: Rest, store: Store) -> None:
    path = keep(store, "e1")
    rest.bind("eve", Role.VIEWER)
    rest.bind("oli", Role.OPERATOR, "search")
    rest.bind("aud", Role.AUDITOR)
    for user in ("eve", "oli"):
        assert [rest("GET", one, user=user).status for one in ("/events/dead-letters", path)] == [403, 403]
        assert rest("POST", f"{path}/redrive", user=user).status == 403
    assert rest("GET", path, user="aud").status == 200
    assert rest("POST", f"{path}/redrive", user="aud").status == 403


def test_pages_of_dead_letters_survive_writes(rest: Rest, store: Store) -> None:
    for name in ("e1", "e2", "e3"):
        keep(store, name)
    first = rest("GET", "/events/dead-letters?limit=2")
    keep(store, "e4")
    second = rest("GET", f"/events/dead-letters?limit=2&cursor={first.json['next']}")
    shown = [one["eventId"] for page in (first, second) for one in page.json["items"]]
    assert shown == ["e1", "e2", "e3", "e4"]
