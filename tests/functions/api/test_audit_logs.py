"""The audit log over REST: who may read what of it, pages, whether it is whole, exports."""

import json

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI

from functions.api.session import Services
from shared.models.audit import AuditFilter
from shared.models.identity import Role
from shared.operations import audit_export
from shared.store.unit_of_work import Store
from tests.support.builders import TESTS, Deliver, id_of
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


def test_an_export_ends_with_signed_heads(written: Rest, api: tuple[FastAPI, int], store: Store) -> None:
    assert written("GET", "/audit-logs/export", user="auditor").status == 409
    key = Ed25519PrivateKey.generate()
    app, _ = api
    app.state.services = Services(store, written.authenticate, audit_key=key)
    answer = written("GET", "/audit-logs/export", user="auditor")
    *lines, heads = [json.loads(line) for line in answer.body.splitlines()]
    assert len(lines) == 3
    with store.read() as work:
        assert audit_export.verify(work, heads, key.public_key()) == []


@pytest.mark.parametrize("query", ["?cursor=x", "?since=yesterday", "?sort=actor", "?colour=red", "?limit=0"])
def test_a_bad_query_is_a_problem(written: Rest, query: str) -> None:
    assert written("GET", f"/audit-logs{query}").status in (400, 422)
