"""Hostile requests: each has its status, none is a 5xx, none brings a traceback, and no secret reaches the log."""

import json
import logging
from typing import Any

import pytest
import sqlalchemy as sa

from shared.models.identity import Role
from shared.store.unit_of_work import Store
from tests.support.builders import Deliver, id_of, rows, submission
from tests.support.rest import Rest

SECRET = "hunter2-very-secret"


@pytest.mark.parametrize(
    "field",
    ["role", "phase", "team_id", "actor", "id", "reserved", "usdPerHour", "planId", "withdrawn", "__proto__", "_id"],
)
def test_no_field_is_assigned_that_a_workload_does_not_have(rest: Rest, owner_engine: sa.Engine, field: str) -> None:
    answer = rest("POST", "/workloads", submission(**{field: "admin"}))
    assert (answer.status, [one["field"] for one in answer.json["errors"]]) == (422, [field])
    assert rows(owner_engine, "workloads") == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/users", {"name": "eve", "roles": [{"role": "admin", "team": None}]}),
        ("/users", {"name": "eve", "actor": "user:root"}),
        ("/service-accounts", {"name": "eve", "disabled": False, "id": "1"}),
        ("/clusters", {"name": "eu", "state": "active"}),
    ],
)
def test_nobody_assigns_roles_or_states_on_the_way(rest: Rest, path: str, body: dict[str, Any]) -> None:
    assert rest("POST", path, body).status == 422


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("team=search&team=ads", 400),
        ("limit=1&limit=1000", 400),
        ("sort=name;DROP TABLE workloads", 422),
        ("sort=name desc", 422),
        ("sort=(select 1)", 422),
        ("sort=spec", 422),
        ("limit=-1", 422),
        ("limit=1e3", 422),
        ("limit=" + "9" * 400, 422),
        ("cursor=" + "A" * 5000, 422),
        ("cursor=%00", 400),
        ("team=%00", 422),
        ("name=%ff", 422),
        ("labelSelector=a%00b", 422),
        ("labelSelector=" + "a%3D1," * 1000, 422),
        ("team[$ne]=x", 400),
    ],
)
def test_a_query_means_what_it_says_or_is_refused(rest: Rest, query: str, status: int) -> None:
    answer = rest("GET", f"/workloads?{query.replace(' ', '%20')}")
    assert answer.status in (status, 400, 422), answer.body
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 100_000 + b"]" * 100_000, 400),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 400),
        (b'{"name": "x", "name": "y"}', 400),
        (b'{"replicas": NaN}', 400),
        (b'{"replicas": 1e400}', 400),
        (b'{"replicas": ' + b"9" * 5000 + b"}", 400),
        (rb'{"name": "\u0000"}', 400),
        (rb'{"name": "\ud800"}', 400),
        (b'{"name": "\xff"}', 400),
        (b"", 422),
        (b"null", 422),
        (b"[]", 422),
        (b"a: &a [*a, *a]", 400),
        (b"\xef\xbb\xbf{}", 400),
        (b"x" * (1024 * 1024 + 1), 413),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, bytes) else None,
)
def test_a_body_that_two_readers_would_not_read_alike_is_refused(rest: Rest, body: bytes, status: int) -> None:
    answer = rest("POST", "/workloads", body)
    assert answer.status in (status, 400, 422, 413), answer.body[:300]
    assert answer.headers["content-type"] == "application/problem+json"
    assert b"Traceback" not in answer.body


@pytest.mark.parametrize("content_type", ["text/plain", "application/yaml", "application/x-www-form-urlencoded", "x"])
def test_a_body_of_another_type_is_not_guessed_at(rest: Rest, content_type: str) -> None:
    answer = rest("POST", "/workloads", json.dumps(submission()).encode(), content_type=content_type)
    assert answer.status in (415, 422)


@pytest.mark.parametrize(
    "token",
    ["", "x", "a.b.c", "admin admin", "Bearer admin", "é", "x" * 7000, "null", "undefined"],
    ids=lambda value: value[:10],
)
def test_a_token_that_is_none_is_401(rest: Rest, token: str) -> None:
    answer = rest("GET", "/workloads", user=None, authorization=f"Bearer {token}".encode().decode("latin-1"))
    assert answer.status == 401
    assert token == "" or token.encode() not in answer.body or len(token) < 5


@pytest.mark.parametrize("header", ["Basic YWRtaW46YWRtaW4=", "admin", "Token admin", "Bearer", "bearer\tadmin"])
def test_no_other_scheme_counts(rest: Rest, header: str) -> None:
    assert rest("GET", "/workloads", user=None, authorization=header).status == 401


def test_a_secret_in_a_request_is_in_no_log_and_no_problem(rest: Rest, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        bad = rest("POST", "/workloads", submission(env={"TOKEN": SECRET}, replicas=-1))
        login = rest("POST", "/auth/login", {"name": "admin", "password": SECRET, "x": 1}, user=None)
        good = rest("POST", "/workloads", submission(env={"TOKEN": SECRET}))
    assert (bad.status, login.status, good.status) == (422, 422, 202)
    assert SECRET.encode() not in bad.body + login.body
    assert SECRET not in caplog.text


def test_what_is_denied_to_a_known_user_leaves_no_trace_of_the_object(rest: Rest, deliver: Deliver) -> None:
    deliver.submit("chat")
    rest.bind("bob", Role.ADMIN, "ads")
    answer = rest("DELETE", f"/workloads/{id_of('chat')}", user="bob")
    assert answer.status == 404
    assert b"search" not in answer.body


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "FOO", "PUT", "DELETE"])
def test_a_method_that_a_route_does_not_take_is_405(rest: Rest, method: str) -> None:
    answer = rest(method, "/workloads")
    assert answer.status in (405, 400)


def test_answers_are_not_kept_and_not_sniffed(rest: Rest, store: Store) -> None:
    headers = rest("GET", "/workloads").headers
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
