"""Every route by every role: allowed, forbidden, hidden. A new route without a row fails here.

A row says which roles may take the route. Each role is tried bound to the team of the object, to another team, and to
all. Of a team's object the other team is told that it is not there; of what belongs to no team, that it is forbidden.
"""

import http.client
import json
import uuid
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import FastAPI

from shared.models.account import AccountKind
from shared.models.identity import Role, RoleBinding
from shared.operations.identity import accounts
from shared.store.unit_of_work import Store
from tests.support.builders import TESTS, Deliver, id_of, submission
from tests.support.dead_letters import keep_letter
from tests.support.rest import Rest

pytestmark = pytest.mark.slow

TEAM, OTHER = "search", "ads"
ALL = "viewer submitter operator policy-admin auditor admin"
WRITERS = "submitter operator admin"
OPERATORS = "operator admin"
AUDITORS = "auditor admin"
POLICY_ADMINS = "policy-admin admin"


@dataclass(frozen=True)
class Row:
    """Who may take a route.

    of: "team" for an object of a team, "list" for what each sees their own part of, "all" for what only a role for all
    teams reaches, "none" for what any role may read, "public" for what needs no token, "self" for what any token may.
    """

    roles: str
    of: str = "team"
    body: Any = None
    headers: tuple[tuple[str, str], ...] = ()


ANY = (("If-Match", "*"),)
MERGE = (("content-type", "application/merge-patch+json"),)
SECRET = "correct horse battery"
POLICY = {"name": "limit", "rules": [{"type": "quota", "gpus": 8}]}
PRICE = {"kind": "cpu", "usdPerHour": "0.03", "pricedOn": "2026-11-01", "source": "a contract"}
SOURCE = {"source": "/ci", "teams": ["search"]}

ROWS: dict[str, Row] = {
    "POST /api/v1/auth/login": Row(ALL, "public", {"name": "ada", "password": "wrong"}),
    "POST /api/v1/auth/exchange": Row(ALL, "public", {"idToken": "x"}),
    "POST /api/v1/auth/refresh": Row(ALL, "public", {"refreshToken": "x"}),
    "POST /api/v1/auth/logout": Row(ALL, "public", {"refreshToken": "x"}),
    "GET /.well-known/jwks.json": Row(ALL, "public"),
    "GET /healthz": Row(ALL, "public"),
    "GET /readyz": Row(ALL, "public"),
    "GET /metrics": Row(ALL, "all"),
    "GET /api/v1/auth/me": Row(ALL, "self"),
    "PUT /api/v1/auth/password": Row(ALL, "self", {"current": SECRET, "new": SECRET}),
    "GET /api/v1/workloads": Row(ALL, "list"),
    "GET /api/v1/workloads/phases": Row(ALL, "list"),
    "POST /api/v1/workloads": Row(WRITERS, "team-in-body", submission("new")),
    "GET /api/v1/workloads/{workload_id}": Row(ALL),
    "GET /api/v1/workloads/{workload_id}/timeline": Row(ALL),
    "GET /api/v1/workloads/{workload_id}/explain": Row(ALL),
    "GET /api/v1/workloads/{workload_id}/plans": Row(ALL),
    "GET /api/v1/workloads/{workload_id}/deployments": Row(ALL),
    "PUT /api/v1/workloads/{workload_id}": Row(WRITERS, "team", submission("chat"), ANY),
    "PATCH /api/v1/workloads/{workload_id}": Row(WRITERS, "team", {"replicas": 3}, MERGE),
    "DELETE /api/v1/workloads/{workload_id}": Row(WRITERS),
    "POST /api/v1/workloads/{workload_id}/scale": Row(WRITERS, "team", {"replicas": 3}),
    "POST /api/v1/workloads/{workload_id}/restart": Row(OPERATORS),
    "POST /api/v1/workloads/{workload_id}/rollback": Row(OPERATORS, "team", {}),
    "GET /api/v1/action-plans": Row(ALL, "list"),
    "GET /api/v1/action-plans/{plan_id}": Row(ALL),
    "POST /api/v1/action-plans/{plan_id}/approve": Row("operator policy-admin admin"),
    "POST /api/v1/action-plans/{plan_id}/reject": Row("operator policy-admin admin"),
    "GET /api/v1/policies": Row(ALL, "none"),
    "POST /api/v1/policies": Row(POLICY_ADMINS, "all", {**POLICY, "name": "new"}),
    "POST /api/v1/policies/simulate": Row(ALL, "team-in-body", submission("new")),
    "POST /api/v1/policies/backtest": Row(POLICY_ADMINS, "all", {"policies": [POLICY]}),
    "GET /api/v1/policies/{policy_name}": Row(ALL, "none"),
    "PUT /api/v1/policies/{policy_name}": Row(POLICY_ADMINS, "all", POLICY, ANY),
    "POST /api/v1/policies/{policy_name}/disable": Row(POLICY_ADMINS, "all"),
    "POST /api/v1/policies/{policy_name}/enable": Row(POLICY_ADMINS, "all"),
    "GET /api/v1/policies/{policy_name}/history": Row(ALL, "none"),
    "GET /api/v1/backtests/{backtest_id}": Row(POLICY_ADMINS, "all"),
    "POST /api/v1/backtests/{backtest_id}/cancel": Row(POLICY_ADMINS, "all"),
    "GET /api/v1/clusters": Row(ALL, "none"),
    "POST /api/v1/clusters": Row(OPERATORS, "all", {"name": "new"}),
    "GET /api/v1/clusters/{cluster_name}": Row(ALL, "none"),
    "PUT /api/v1/clusters/{cluster_name}": Row(OPERATORS, "all", {"labels": {}}, ANY),
    "DELETE /api/v1/clusters/{cluster_name}": Row(OPERATORS, "all"),
    "POST /api/v1/clusters/{cluster_name}/cordon": Row(OPERATORS, "all"),
    "POST /api/v1/clusters/{cluster_name}/uncordon": Row(OPERATORS, "all"),
    "GET /api/v1/gpus": Row(ALL, "none"),
    "GET /api/v1/gpus/idle": Row(ALL, "list"),
    "GET /api/v1/nodes": Row(ALL, "none"),
    "GET /api/v1/nodes/{cluster_name}/{node_name}": Row(ALL, "none"),
    "POST /api/v1/nodes/{cluster_name}/{node_name}/exclude": Row(OPERATORS, "all", {"reason": "its fans rattle"}),
    "POST /api/v1/nodes/{cluster_name}/{node_name}/clear": Row(OPERATORS, "all"),
    "GET /api/v1/queue": Row(ALL, "list"),
    "GET /api/v1/reservations": Row(ALL, "list"),
    "GET /api/v1/usage": Row(ALL, "list"),
    "GET /api/v1/cost": Row(ALL, "list"),
    "GET /api/v1/prices": Row(ALL, "none"),
    "PUT /api/v1/prices": Row(POLICY_ADMINS, "all", {"items": [PRICE]}),
    "GET /api/v1/events/dead-letters": Row("operator auditor admin", "all"),
    "GET /api/v1/events/dead-letters/{letter_id}": Row("operator auditor admin", "all"),
    "POST /api/v1/events/dead-letters/{letter_id}/redrive": Row(OPERATORS, "all"),
    "GET /api/v1/events/stream": Row(ALL, "list"),
    "GET /api/v1/users": Row(AUDITORS, "all"),
    "POST /api/v1/users": Row("admin", "all", {"name": "new"}),
    "GET /api/v1/users/{user_id}": Row(AUDITORS, "all"),
    "PATCH /api/v1/users/{user_id}": Row("admin", "all", {"disabled": True}),
    "GET /api/v1/service-accounts": Row(AUDITORS, "all"),
    "POST /api/v1/service-accounts": Row("admin", "all", {"name": "new"}),
    "GET /api/v1/service-accounts/{account_id}": Row(AUDITORS, "all"),
    "PATCH /api/v1/service-accounts/{account_id}": Row("admin", "all", {"disabled": False}),
    "GET /api/v1/service-accounts/{account_id}/tokens": Row(AUDITORS, "all"),
    "POST /api/v1/service-accounts/{account_id}/tokens": Row("admin", "all", {"expiresIn": "1d"}),
    "DELETE /api/v1/service-accounts/{account_id}/tokens/{token_id}": Row("admin", "all"),
    "GET /api/v1/role-bindings": Row(AUDITORS, "list"),
    "POST /api/v1/role-bindings": Row(
        "admin", "team-in-body", {"accountId": "{user_id}", "role": "viewer", "team": TEAM}
    ),
    "GET /api/v1/role-bindings/{binding_id}": Row(AUDITORS, "identity"),
    "DELETE /api/v1/role-bindings/{binding_id}": Row("admin", "identity"),
    "GET /api/v1/source-bindings": Row(AUDITORS, "all"),
    "GET /api/v1/source-bindings/{name}": Row(AUDITORS, "all"),
    "PUT /api/v1/source-bindings/{name}": Row("admin", "all", SOURCE, ANY),
    "DELETE /api/v1/source-bindings/{name}": Row("admin", "all"),
    "GET /api/v1/namespace-bindings": Row(AUDITORS, "all"),
    "GET /api/v1/namespace-bindings/{team}": Row(AUDITORS, "all"),
    "PUT /api/v1/namespace-bindings/{team}": Row("admin", "all", {"namespaces": ["search"]}, ANY),
    "DELETE /api/v1/namespace-bindings/{team}": Row("admin", "all"),
    "GET /api/v1/audit-logs": Row(AUDITORS, "list"),
    "GET /api/v1/audit-logs/verify": Row(AUDITORS, "all"),
    "GET /api/v1/audit-logs/export": Row(AUDITORS, "all"),
}


def test_every_route_has_a_row_and_every_row_a_route(application: tuple[FastAPI, int]) -> None:
    app, _ = application
    routes = [f"{method.upper()} {path}" for path, methods in app.openapi()["paths"].items() for method in methods]
    assert sorted(ROWS) == sorted(routes)


@pytest.fixture
def world(rest: Rest, store: Store, deliver: Deliver) -> dict[str, str]:
    """One object of each kind, by the name of its path parameter."""
    deliver.submit("chat")
    with store.begin() as work:
        work.nodes.keep("local", {"gpu-1": {"H100": 8}})
        user = accounts.create(work, AccountKind.USER, "somebody", None, TESTS)
        robot = accounts.create(work, AccountKind.SERVICE_ACCOUNT, "robot", None, TESTS)
        accounts.bind(work, user, RoleBinding(Role.VIEWER, TEAM), TESTS)
    rest("POST", "/policies", POLICY)
    backtest = rest("POST", "/policies/backtest", {"policies": [POLICY]}).json["id"]
    plan = rest("GET", "/action-plans").json["items"][0]["id"]
    token = rest("POST", f"/service-accounts/{robot.id}/tokens", {"expiresIn": "1d"}).json["id"]
    binding = rest("GET", f"/role-bindings?accountId={user.id}").json["items"][0]["id"]
    return {
        "workload_id": str(id_of("chat")),
        "plan_id": plan,
        "policy_name": "limit",
        "backtest_id": backtest,
        "cluster_name": "local",
        "node_name": "gpu-1",
        "letter_id": keep_letter(store, "given-up"),
        "user_id": str(user.id),
        "account_id": str(robot.id),
        "token_id": token,
        "binding_id": binding,
        "name": "everything",
        "team": "*",
    }


def filled(value: Any, world: dict[str, str]) -> Any:
    """A body with the names of path parameters replaced."""
    text = json.dumps(value)
    for name, known in world.items():
        text = text.replace("{" + name + "}", known)
    return json.loads(text)


def ask(rest: Rest, route: str, row: Row, world: dict[str, str], user: str | None) -> int:
    """The status. A stream is not read to its end, which it has not."""
    method, path = route.split(" ")
    body = None if row.body is None else json.dumps(filled(row.body, world)).encode()
    headers = {"content-type": "application/json", **dict(row.headers)}
    if user is not None:
        headers["authorization"] = f"Bearer {user}"
    connection = http.client.HTTPConnection("127.0.0.1", rest.port, timeout=30)
    try:
        connection.request(method, path.format(**world), body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


def expected(row: Row, role: Role, scope: str | None) -> str:
    """allowed, forbidden or hidden."""
    permitted = role.value in row.roles.split()
    match row.of:
        case "public" | "self" | "none" | "list":
            return "allowed" if permitted else "forbidden"
        case "all":
            return "allowed" if permitted and scope is None else "forbidden"
        case "team-in-body":
            return "allowed" if permitted and scope in (None, TEAM) else "forbidden"
        case "identity":  # who may see no identity at all learns nothing by being told so
            if role.value not in AUDITORS.split():
                return "forbidden"
            return "hidden" if scope == OTHER else "allowed" if permitted else "forbidden"
    if scope == OTHER:
        return "hidden"
    return "allowed" if permitted else "forbidden"


def seen(status: int, *, gone: bool) -> str:
    """What a status says of permission. gone: an earlier request may have deleted the object."""
    match status:
        case 403:
            return "forbidden"
        case 404:
            return "allowed" if gone else "hidden"
        case 401:
            return "unauthenticated"
    return "allowed" if status < 500 else f"a defect: {status}"


@pytest.mark.parametrize("route", ROWS)
def test_who_may_take_the_route(route: str, rest: Rest, world: dict[str, str]) -> None:
    row = ROWS[route]
    if row.of == "public":
        assert ask(rest, route, row, world, None) != 403
        return
    assert ask(rest, route, row, world, None) == ask(rest, route, row, world, "stranger") == 401
    cases = [(role, scope) for role in Role for scope in (TEAM, OTHER, None)]
    wrong, gone = [], False
    # What is refused first, on the object as it is; what is allowed may delete it.
    for role, scope in sorted(cases, key=lambda case: expected(row, *case) == "allowed"):
        user = f"{role.value}-{scope or 'all'}"
        rest.bind(user, role, scope)
        meant = expected(row, role, scope)
        status = ask(rest, route, row, world, user)
        if seen(status, gone=gone) != meant:
            wrong.append(f"{role.value} of {scope or 'all teams'}: {status}, not {meant}")
        gone = gone or (meant == "allowed" and route.startswith("DELETE"))
    assert wrong == []


def test_what_is_hidden_looks_like_what_is_not_there(rest: Rest, world: dict[str, str]) -> None:
    rest.bind("bob", Role.ADMIN, OTHER)
    for route, row in ROWS.items():
        if row.of != "team":
            continue
        method, path = route.split(" ")
        never = world | {name: str(uuid.uuid4()) for name in world if name.endswith("_id")}
        asked = [
            rest(method, "/" + path.format(**found), filled(row.body, found), user="bob", **headers_of(row))
            for found in (world, never)
        ]
        assert [one.status for one in asked] == [404, 404], route
        hidden, absent = (
            one.json["detail"].replace(str(found), "ID")
            for one, found in zip(asked, ids(world, never, path), strict=True)
        )
        assert hidden == absent, route


def ids(world: dict[str, str], never: dict[str, str], path: str) -> tuple[str, str]:
    """The id in a path, in both worlds."""
    name = path.rpartition("{")[2].partition("}")[0]
    return world[name], never[name]


def headers_of(row: Row) -> dict[str, str]:
    """The headers of a row as the client takes them."""
    return {name.replace("-", "_"): value for name, value in row.headers}
