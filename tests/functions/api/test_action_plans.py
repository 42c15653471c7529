"""Action plans over REST: lists, the decision on a plan, and what a person says to one that awaits approval."""

import uuid
from typing import Any

import pytest

from shared.models.identity import Role
from shared.store.unit_of_work import Store
from tests.support.builders import POLICY, Deliver, id_of, set_columns
from tests.support.queueing import RECONSIDERED, left_in_outbox, newest, plan, policy, workload
from tests.support.rest import Rest

ABSENT = f"/action-plans/{uuid.UUID(int=7)}"
DENIED = "dev.sentinel.plan.denied.v1"


@pytest.fixture
def asked(rest: Rest, store: Store, deliver: Deliver) -> str:
    """The path of a plan of the team search that awaits approval."""
    policy(store, {"type": "approval", "gpus": 1})
    deliver.decide("chat")
    rest.bind("ada", Role.OPERATOR, "search")
    rest.bind("eve", Role.SUBMITTER, "search")
    rest.bind("bob", Role.ADMIN, "ads")
    return f"/action-plans/{newest(store, 'chat').id}"


def test_a_plan_is_read_with_its_decision(rest: Rest, store: Store, deliver: Deliver) -> None:
    policy(store, {"type": "quota", "scope": "team", "gpus": 1})
    deliver.decide("chat")
    found = rest("GET", f"/action-plans/{newest(store, 'chat').id}").json
    assert (found["status"], found["proposedBy"], found["team"]) == ("denied", "event_source:/test", "search")
    decision = found["decision"]
    assert (decision["approved"], decision["violations"][0]["rule"]) == (False, "quota")
    assert decision["facts"]["plan"]["name"] == "chat"
    assert found["wouldPass"][0]["replicas"] == 1


def test_plans_are_listed_by_team_status_and_workload(rest: Rest, deliver: Deliver) -> None:
    deliver.decide("a")
    deliver.submit("b")
    deliver.submit("c", team="ads")
    expected: dict[str, int] = {"": 3, "?team=ads": 1, "?status=approved": 1, f"?workload={id_of('b')}": 1}
    assert {query: len(rest("GET", f"/action-plans{query}").json["items"]) for query in expected} == expected
    rest.bind("eve", Role.VIEWER, "ads")
    seen = rest("GET", "/action-plans", user="eve").json["items"]
    assert [one["team"] for one in seen] == ["ads"]
    assert rest("GET", "/action-plans?team=search", user="eve").json["items"] == []
    assert rest("GET", "/action-plans?status=lost").status == 422


def test_pages_of_plans_survive_writes(rest: Rest, deliver: Deliver) -> None:
    for name in "abc":
        deliver.submit(name)
    first = rest("GET", "/action-plans?limit=2")
    deliver.submit("d")
    second = rest("GET", f"/action-plans?limit=2&cursor={first.json['next']}")
    shown = [one["workload"] for page in (first, second) for one in page.json["items"]]
    assert shown == [str(id_of(name)) for name in "abcd"]
    newest_first = rest("GET", "/action-plans?sort=-createdAt&limit=1").json["items"]
    assert newest_first[0]["workload"] == str(id_of("d"))


def test_an_approved_plan_is_decided_again(rest: Rest, store: Store, deliver: Deliver, asked: str) -> None:
    answer = rest("POST", f"{asked}/approve", {"reason": "for the launch"}, user="ada", idempotency_key="k")
    assert (answer.status, answer.headers["location"]) == (202, f"/api/v1{asked}")
    assert answer.json["approval"]["grantedBy"] == "user:ada"
    again = rest("POST", f"{asked}/approve", {"reason": "for the launch"}, user="ada", idempotency_key="k")
    assert again.body == answer.body
    [event] = left_in_outbox(store, RECONSIDERED)
    deliver(POLICY, RECONSIDERED, event.data)
    assert rest("GET", asked, user="eve").json["status"] == "approved"
    assert rest("POST", f"{asked}/approve", user="ada").status == 409


def test_a_rejected_plan_is_denied_and_announced(rest: Rest, store: Store, asked: str) -> None:
    answer = rest("POST", f"{asked}/reject", {"reason": "too early"}, user="ada")
    assert (answer.status, answer.json["status"]) == (200, "denied")
    [event] = left_in_outbox(store, DENIED)
    data: Any = event.data
    assert data["violations"][0]["message"] == "user:ada has rejected it: too early"
    assert workload(store, "chat").phase == "denied"


@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_who_may_not_answer(rest: Rest, store: Store, deliver: Deliver, asked: str, verb: str) -> None:
    path = f"{asked}/{verb}"
    statuses = {user: rest("POST", path, user=user).status for user in ("eve", "bob", "nobody")}
    assert statuses == {"eve": 403, "bob": 404, "nobody": 401}
    assert rest("GET", asked, user="bob").status == 404
    assert rest("POST", f"{ABSENT}/{verb}", user="ada").status == 404
    plan_id = uuid.UUID(asked.rpartition("/")[2])
    with store.begin() as work:
        set_columns(work, "action_plans", plan_id, proposed_by="user:ada")
    own = rest("POST", path, user="ada")
    assert (own.status, "somebody else" in own.json["detail"]) == (403, True)
    assert plan(store, plan_id).status == "awaiting_approval"


def test_what_is_no_answer_is_refused(rest: Rest, asked: str) -> None:
    for body in ({"reason": "x" * 1001}, {"reason": "a\0b"}, {"granted_by": "me"}, [1]):
        assert rest("POST", f"{asked}/approve", body, user="ada").status in (400, 422), body
    assert rest("POST", "/action-plans/12/approve").status == 422
