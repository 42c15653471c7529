"""Policies over REST: what is listed and changed, what is simulated, and backtests that are polled."""

import time
import uuid
from datetime import timedelta
from typing import Any

import pytest

from shared.models.identity import Role
from shared.models.retention import DEFAULT_RETENTION
from shared.models.stored_backtest import BacktestState
from shared.operations import backtest_runs
from shared.store.unit_of_work import Store
from tests.support.builders import Deliver, set_columns, submission
from tests.support.queueing import CHANGED, left_in_outbox
from tests.support.rest import Answer, Rest

LIMIT: dict[str, Any] = {"name": "limit", "rules": [{"type": "quota", "scope": "team", "gpus": 1}]}


def fields(answer: Answer) -> list[str]:
    return [one["field"] for one in answer.json["errors"]]


def finished(rest: Rest, path: str) -> Any:
    end = time.monotonic() + 20
    while (answer := rest("GET", path)).json["state"] == "running":
        assert answer.headers["retry-after"] == "1"
        assert time.monotonic() < end
        time.sleep(0.02)
    return answer.json


def test_a_policy_is_created_read_replaced_and_disabled(rest: Rest, store: Store) -> None:
    created = rest("POST", "/policies", LIMIT)
    assert (created.status, created.headers["location"]) == (201, "/api/v1/policies/limit")
    read = rest("GET", "/policies/limit")
    assert (read.json, read.headers["etag"]) == (created.json, created.headers["etag"])
    assert rest("POST", "/policies", LIMIT).status == 409

    changed = {**read.json, "priority": 7}
    replaced = rest("PUT", "/policies/limit", changed, if_match=read.headers["etag"])
    assert (replaced.status, replaced.json["priority"]) == (200, 7)
    assert replaced.headers["etag"] != read.headers["etag"]
    disabled = rest("POST", "/policies/limit/disable")
    assert disabled.json["enabled"] is False
    assert rest("POST", "/policies/limit/enable").json["enabled"] is True
    history = rest("GET", "/policies/limit/history").json["items"]
    assert [one["change"] for one in history] == ["added", "replaced", "disabled", "enabled"]
    assert history[1]["differences"] == ["priority: 0 -> 7"]
    assert {one["author"] for one in history} == {"user:root"}
    told = left_in_outbox(store, CHANGED)
    assert [one.data["version"] for one in told if isinstance(one.data, dict)] == [1, 2, 3, 4]


def test_a_policy_that_has_changed_since_is_not_overwritten(rest: Rest) -> None:
    stale = rest("POST", "/policies", LIMIT).headers["etag"]
    rest("PUT", "/policies/limit", {**LIMIT, "priority": 1}, if_match=stale)
    assert rest("PUT", "/policies/limit", LIMIT, if_match=stale).status == 412
    assert rest("POST", "/policies/limit/disable", if_match=stale).status == 412
    assert rest("PUT", "/policies/limit", LIMIT).status == 428
    assert rest("PUT", "/policies/other", {**LIMIT, "name": "other"}, if_match="*").status == 404


def test_a_request_under_its_key_adds_one_policy(rest: Rest) -> None:
    first = rest("POST", "/policies", LIMIT, idempotency_key="k1")
    again = rest("POST", "/policies", LIMIT, idempotency_key="k1")
    assert (again.status, again.body, again.headers["etag"]) == (201, first.body, first.headers["etag"])


def test_who_may_read_and_who_may_change_policies(rest: Rest) -> None:
    rest.bind("eve", Role.VIEWER, "search")
    rest.bind("pat", Role.POLICY_ADMIN, "search")
    rest.bind("pam", Role.POLICY_ADMIN)
    for user in ("eve", "pat"):
        assert rest("POST", "/policies", LIMIT, user=user).status == 403
    assert rest("POST", "/policies", LIMIT, user="pam").status == 201
    assert rest("GET", "/policies/limit", user="eve").status == 200
    for method, path in (("PUT", "limit"), ("POST", "limit/disable"), ("POST", "limit/enable")):
        body = LIMIT if method == "PUT" else None
        assert rest(method, f"/policies/{path}", body, user="eve", if_match="*").status == 403
    assert rest("POST", "/policies/backtest", {"policies": [LIMIT]}, user="eve").status == 403


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({**LIMIT, "colour": "red"}, "colour"),
        ({**LIMIT, "rules": [{"type": "quota", "gpus": -1}]}, "rules.0.quota.gpus"),
        ({"name": "limit"}, ""),
        ({**LIMIT, "name": "Not A Name"}, "name"),
    ],
)
def test_a_bad_policy_is_refused_by_its_field(rest: Rest, body: object, field: str) -> None:
    answer = rest("POST", "/policies", body)
    assert (answer.status, fields(answer)) == (422, [field])


def test_a_policy_cannot_be_renamed(rest: Rest) -> None:
    rest("POST", "/policies", LIMIT)
    answer = rest("PUT", "/policies/limit", {**LIMIT, "name": "other"}, if_match="*")
    assert (answer.status, fields(answer)) == (422, ["name"])


def test_a_policy_that_cannot_be_read_is_listed_with_its_problem_and_can_be_replaced(rest: Rest, store: Store) -> None:
    rest("POST", "/policies", LIMIT)
    with store.begin() as work:
        stored = work.policies.get("limit")
        assert stored is not None
        set_columns(work, "policies", stored.id, document={"name": "limit", "rules": [{"type": "gone"}]})
    [listed] = rest("GET", "/policies").json["items"]
    assert (listed["name"], listed["document"]["rules"]) == ("limit", [{"type": "gone"}])
    assert "rules.0" in listed["problem"]
    assert rest("PUT", "/policies/limit", LIMIT, if_match="*").status == 200


def test_pages_of_policies_survive_writes(rest: Rest) -> None:
    for name in "bdf":
        rest("POST", "/policies", {**LIMIT, "name": name})
    first = rest("GET", "/policies?limit=2")
    for name in "ace":
        rest("POST", "/policies", {**LIMIT, "name": name})
    second = rest("GET", f"/policies?limit=2&cursor={first.json['next']}")
    assert [[one["name"] for one in page.json["items"]] for page in (first, second)] == [["b", "d"], ["e", "f"]]


def test_a_simulation_says_what_would_be_decided_and_what_would_pass(rest: Rest, store: Store) -> None:
    rest("POST", "/policies", LIMIT)
    simulated = rest("POST", "/policies/simulate", submission("chat"))
    [outlook] = simulated.json["outlooks"]
    assert (outlook["outcome"], outlook["violations"][0]["rule"]) == ("denied", "quota")
    assert outlook["suggestions"][0]["replicas"] == 1
    with store.begin() as work:
        assert work.workloads.get_many([]) == {}
    rest.bind("bob", Role.SUBMITTER, "ads")
    assert rest("POST", "/policies/simulate", submission("chat"), user="bob").status == 403
    rejected = rest("POST", "/policies/simulate", submission("chat", clusters={"matchLabels": {"no": "where"}}))
    assert "no" in rejected.json["rejection"]


def test_a_backtest_is_asked_for_and_polled(rest: Rest, deliver: Deliver) -> None:
    for name in ("a", "b"):
        deliver.decide(name)
    asked = rest("POST", "/policies/backtest", {"policies": [LIMIT], "since": "1h"}, idempotency_key="b1")
    assert asked.status == 202
    path = asked.headers["location"].removeprefix("/api/v1")
    done = finished(rest, path)
    report = done["report"]
    assert (done["state"], done["requestedBy"], report["decisions"]) == ("done", "user:root", 2)
    assert (report["newlyDenied"], report["changes"][0]["violations"][0]["rule"]) == (2, "quota")
    again = rest("POST", "/policies/backtest", {"policies": [LIMIT], "since": "1h"}, idempotency_key="b1")
    assert again.json["id"] == done["id"]
    rest.bind("eve", Role.VIEWER)
    assert rest("GET", path, user="eve").status == 403
    assert rest("GET", "/backtests/9403eeb2-8848-53a3-90c2-1095c047864f").status == 404


def test_a_backtest_that_was_cut_off_is_begun_again_by_who_polls_it(rest: Rest, store: Store) -> None:
    asked = rest("POST", "/policies/backtest", {"policies": [LIMIT]})
    path = asked.headers["location"].removeprefix("/api/v1")
    done = finished(rest, path)
    with store.begin() as work:
        stored = backtest_runs.get(work, done["id"])
        set_columns(work, "backtests", stored.id, state="running", report=None, lease_until=None)
    assert finished(rest, path)["report"] is not None
    with store.begin() as work:
        set_columns(work, "backtests", stored.id, state="running", attempts=9, lease_until=None)
    assert (lambda found: (found["state"], "cut off" in found["problem"]))(finished(rest, path)) == ("failed", True)


def test_a_backtest_is_cancelled_with_what_it_had_found(rest: Rest, store: Store) -> None:
    asked = rest("POST", "/policies/backtest", {"policies": [LIMIT]})
    path = asked.headers["location"].removeprefix("/api/v1")
    report = finished(rest, path)["report"]
    assert rest("POST", f"{path}/cancel").status == 409, "it is over"
    with store.begin() as work:
        leased = work.now + timedelta(minutes=1)
        set_columns(work, "backtests", uuid.UUID(asked.json["id"]), state="running", lease_until=leased)
        running = backtest_runs.get(work, uuid.UUID(asked.json["id"]))
    cancelled = rest("POST", f"{path}/cancel")
    assert (cancelled.status, cancelled.json["state"], cancelled.json["report"]) == (200, "cancelled", report)
    assert rest("GET", path).json == cancelled.json
    with store.begin() as work:
        assert not work.backtests.report(running, BacktestState.RUNNING, {}, timedelta(0)), "whoever runs it is told"
        assert not work.backtests.begin(running.id, timedelta(0)), "nobody begins it again"


def test_a_running_backtest_counts_differences_and_lists_none(rest: Rest, store: Store, deliver: Deliver) -> None:
    deliver.decide("a")
    asked = rest("POST", "/policies/backtest", {"policies": [LIMIT]})
    path = asked.headers["location"].removeprefix("/api/v1")
    assert len(finished(rest, path)["report"]["changes"]) == 1
    with store.begin() as work:
        leased = work.now + timedelta(minutes=1)
        set_columns(work, "backtests", uuid.UUID(asked.json["id"]), state="running", lease_until=leased)
    report = rest("GET", path).json["report"]
    assert (report["newlyDenied"], report["changes"]) == (1, [])


def test_a_backtest_by_more_than_it_may_have_is_refused(rest: Rest) -> None:
    for body, field in (
        ({"policies": []}, "policies"),
        ({"policies": [LIMIT], "since": "900d"}, "since"),
        ({"policies": [LIMIT], "limit": -1}, "limit"),
        ({"policies": [LIMIT], "limit": 10_001}, "limit"),
        ({"policies": [LIMIT], "color": 1}, "color"),
    ):
        answer = rest("POST", "/policies/backtest", body)
        assert (answer.status, fields(answer)) == (422, [field])


def test_an_old_report_is_not_kept(rest: Rest, store: Store) -> None:
    paths = [
        rest("POST", "/policies/backtest", {"policies": [LIMIT]}).headers["location"].removeprefix("/api/v1")
        for _ in range(2)
    ]
    old, young = (finished(rest, path)["id"] for path in paths)
    with store.begin() as work:
        aged = work.now - DEFAULT_RETENTION.events - timedelta(minutes=1)
        set_columns(work, "backtests", uuid.UUID(old), created_at=aged)
    with store.begin() as work:
        work.forget_old(DEFAULT_RETENTION, 10)
    assert [rest("GET", f"/backtests/{one}").status for one in (old, young)] == [404, 200]
