"""The audit log over REST: who may read what of it, pages, whether it is whole, exports."""

import json
from datetime import timedelta

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI

from functions.api.session import Services
from shared.models.audit import AuditFilter, AuditRow
from shared.models.identity import Role
from shared.operations import audit_export, denials
from shared.operations.denials import MOST_SUBJECTS
from shared.store.tables import denials as denials_table
from shared.store.unit_of_work import Store
from tests.support.builders import TESTS, Deliver, connection_of, id_of
from tests.support.rest import Rest


@pytest.fixture
def written(rest: Rest, deliver: Deliver, store: Store) -> Rest:
    """Two workloads of two teams, and a cluster of nobody's."""
    deliver.submit("chat")
    deliver.submit("bid", team="ads", namespace="ads")
    with store.begin() as work:
        work.audit("cluster.cordoned", "cluster/local", TESTS)
    rest.bind("auditor", Role.AUDITOR)
    rest.bind("theirs", Role.AUDITOR, "ads")
    rest.bind("viewer", Role.VIEWER)
    return rest


def actions(rest: Rest, query: str = "", user: str = "auditor") -> list[str]:
    answer = rest("GET", f"/audit-logs{query}", user=user)
    assert answer.status == 200, answer.body
    return [item["action"] for item in answer.json["items"]]


def test_rows_are_listed_newest_first_and_found_by_their_fields(written: Rest) -> None:
    assert actions(written) == ["cluster.cordoned", "plan.proposed", "plan.proposed"]
    assert actions(written, "?sort=-age&limit=1") == ["plan.proposed"]
    assert actions(written, f"?object={id_of('chat')}") == ["plan.proposed"]
    assert actions(written, f"?actor={TESTS}") == ["cluster.cordoned"]
    assert actions(written, "?action=plan.approved") == []
    assert actions(written, "?since=2999-01-01T00:00:00Z") == []


def test_an_auditor_of_a_team_sees_its_rows_and_a_viewer_none(written: Rest) -> None:
    answer = written("GET", "/audit-logs", user="theirs")
    assert [item["team"] for item in answer.json["items"]] == ["ads"]
    assert written("GET", "/audit-logs", user="viewer").status == 403
    for path in ("/audit-logs/verify", "/audit-logs/export"):
        assert written("GET", path, user="theirs").status == 403


def test_a_request_that_no_role_permits_is_a_row_of_its_own(written: Rest, store: Store) -> None:
    written.bind("theirs", Role.SUBMITTER, "ads")
    hidden = f"/api/v1/workloads/{id_of('chat')}"
    assert written("GET", "/audit-logs", user="viewer", x_request_id="r-1").status == 403
    assert written("DELETE", f"/workloads/{id_of('chat')}", user="theirs").status == 404
    assert written("GET", f"/workloads/{id_of('absent')}", user="theirs").status == 404
    with store.read() as work:
        of_path, of_object = work.audit_log.following(AuditFilter(action="request.denied"), None, 10)
    assert (of_path.subject, of_path.actor) == ("/api/v1/audit-logs", "user:viewer")
    assert (of_path.detail["method"], of_path.detail["request"]) == ("GET", "r-1")
    assert (of_object.subject, of_object.actor, of_object.team) == (hidden, "user:theirs", "search")
    assert "user:theirs has no role with workloads:read for team search" in of_object.detail["reason"]


def test_a_list_of_a_team_that_may_not_be_seen_is_a_denial_too(written: Rest, store: Store) -> None:
    written.bind("theirs", Role.SUBMITTER, "ads")
    for path in ("/workloads", "/action-plans", "/queue", "/reservations", "/usage", "/role-bindings"):
        assert written("GET", f"{path}?team=search", user="theirs").json["items"] == []
        assert written("GET", path, user="theirs").status == 200
        assert written("GET", f"{path}?team=search", user="nobodys").status == 401
    rows = denied(store)
    mine = [(row.subject, row.team) for row in rows if row.actor == "user:theirs"]
    assert mine == [
        (f"/api/v1/{name}", "search")
        for name in ("workloads", "action-plans", "queue", "reservations", "usage", "role-bindings")
    ]


def test_a_caller_in_a_loop_gets_few_rows_and_every_denial_is_counted(written: Rest, store: Store) -> None:
    for _ in range(5):
        assert written("GET", "/audit-logs", user="viewer").status == 403
    for number in range(MOST_SUBJECTS + 5):
        assert written("GET", f"/source-bindings/b{number}", user="viewer").status == 403
    rows = denied(store)
    assert [row.subject for row in rows] == [
        "/api/v1/audit-logs",
        *(f"/api/v1/source-bindings/b{number}" for number in range(MOST_SUBJECTS)),
    ]
    assert not any("repeated" in row.detail for row in rows)
    a_minute_later(store)
    assert written("GET", "/audit-logs", user="viewer").status == 403
    assert denied(store)[-1].detail["repeated"] == 4
    a_minute_later(store)
    with store.begin() as work:
        denials.conclude(work)
        denials.conclude(work)
    [last] = denied(store)[len(rows) + 1 :]
    assert (last.actor, last.detail["repeated"]) == ("user:viewer", 5)
    assert last.subject == f"/api/v1/source-bindings/b{MOST_SUBJECTS + 4}"


def test_a_caller_whom_nobody_knows_is_counted_by_its_address(written: Rest, store: Store) -> None:
    for token in ("forged", "guessed"):
        for number in range(3):
            assert written("GET", f"/workloads/{number}", user=token).status in (401, 422)
            assert written("GET", "/workloads", user=token).status == 401
    assert written("GET", "/users", user=None).status == 401
    [row] = denied(store)
    assert (row.actor, row.subject, row.detail["address"]) == ("user", "/api/v1/workloads", "127.0.0.1")
    assert "forged" not in str(row.detail)
    a_minute_later(store)
    assert written("GET", "/users", user=None).status == 401
    assert denied(store)[-1].detail["repeated"] == 6


def denied(store: Store) -> list[AuditRow]:
    with store.read() as work:
        return work.audit_log.following(AuditFilter(action="request.denied"), None, 100)


def a_minute_later(store: Store) -> None:
    """As if all that was counted had been a minute ago."""
    with store.begin() as work:
        earlier = {name: denials_table.c[name] - timedelta(minutes=1) for name in ("began_at", "updated_at")}
        connection_of(work).execute(denials_table.update().values(**earlier))


def test_the_path_of_a_denied_request_may_be_anything(written: Rest, store: Store) -> None:
    assert written("DELETE", f"/source-bindings/%00%ed%a0%80{'x' * 9000}", user="viewer").status == 403
    with store.read() as work:
        [row] = work.audit_log.following(AuditFilter(action="request.denied"), None, 10)
    assert row.subject == f"/api/v1/source-bindings/%00%ed%a0%80{'x' * 1000}"[:400]


def test_pages_go_on_with_the_cursor(written: Rest) -> None:
    first = written("GET", "/audit-logs?limit=2", user="auditor")
    assert len(first.json["items"]) == 2
    rest = actions(written, f"?limit=2&cursor={first.json['next']}")
    assert rest == ["plan.proposed"]


def test_a_changed_row_shows(written: Rest, owner_engine: sa.Engine) -> None:
    assert written("GET", "/audit-logs/verify", user="auditor").json == {"whole": True, "problems": []}
    with owner_engine.begin() as connection:
        connection.execute(sa.text("UPDATE audit_log SET actor = 'user:mallory' WHERE subject = 'cluster/local'"))
    found = written("GET", "/audit-logs/verify", user="auditor").json
    assert (found["whole"], len(found["problems"])) == (False, 1)


def test_an_export_ends_with_signed_heads(written: Rest, application: tuple[FastAPI, int], store: Store) -> None:
    assert written("GET", "/audit-logs/export", user="auditor").status == 409
    key = Ed25519PrivateKey.generate()
    app, _ = application
    app.state.services = Services(store, written.authenticate, audit_key=key)
    answer = written("GET", "/audit-logs/export", user="auditor")
    *lines, heads = [json.loads(line) for line in answer.body.splitlines()]
    assert len(lines) == 3
    with store.read() as work:
        assert audit_export.verify(work, heads, key.public_key()) == []


@pytest.mark.parametrize("query", ["?cursor=x", "?since=yesterday", "?sort=actor", "?colour=red", "?limit=0"])
def test_a_bad_query_is_a_problem(written: Rest, query: str) -> None:
    assert written("GET", f"/audit-logs{query}").status in (400, 422)
