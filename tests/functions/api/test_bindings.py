"""Source bindings and namespace bindings over REST."""

import pytest

from shared.models.bindings import ALLOW_ALL
from shared.models.identity import Role
from shared.store.unit_of_work import Store
from tests.support.builders import INTAKE, PROPOSED, REJECTED, SUBMITTED, Deliver, submission, told
from tests.support.rest import Rest

CI = {"source": "https://ci.example/*", "teams": ["search"]}
CI_KEPT = {"name": "ci", **CI, "namespaces": ["*"], "actions": ["submit", "withdraw"]}


def test_an_admin_binds_reads_replaces_and_unbinds_a_source(rest: Rest, store: Store) -> None:
    made = rest("PUT", "/source-bindings/ci", CI)
    assert (made.status, made.json) == (201, CI_KEPT)
    read = rest("GET", "/source-bindings/ci")
    assert (read.status, read.json, read.headers["etag"]) == (200, CI_KEPT, made.headers["etag"])
    changed = rest("PUT", "/source-bindings/ci", {**CI, "actions": ["propose"]}, if_match=read.headers["etag"])
    assert (changed.status, changed.json["actions"]) == (200, ["propose"])
    assert rest("PUT", "/source-bindings/ci", CI, if_match=read.headers["etag"]).status == 412
    assert rest("PUT", "/source-bindings/new", CI, if_match=read.headers["etag"]).status == 412
    assert rest("DELETE", "/source-bindings/ci", if_match=read.headers["etag"]).status == 412
    assert rest("DELETE", "/source-bindings/ci").status == 204
    assert [rest(method, "/source-bindings/ci").status for method in ("GET", "DELETE")] == [404, 404]
    with store.begin() as work:
        rows = work.audit_entries("source-binding/ci")
    assert [(row.action, row.actor) for row in rows] == [
        ("source.bound", "user:root"),
        ("source.bound", "user:root"),
        ("source.unbound", "user:root"),
    ]


def test_an_admin_binds_reads_replaces_and_unbinds_namespaces(rest: Rest) -> None:
    made = rest("PUT", "/namespace-bindings/search", {"namespaces": ["search", "ranking-*"]})
    assert (made.status, made.json) == (201, {"team": "search", "namespaces": ["search", "ranking-*"]})
    tag = made.headers["etag"]
    assert rest("GET", "/namespace-bindings/search").headers["etag"] == tag
    assert rest("PUT", "/namespace-bindings/search", {"namespaces": ["*"]}, if_match=tag).status == 200
    assert rest("DELETE", "/namespace-bindings/search", if_match=tag).status == 412
    assert rest("DELETE", "/namespace-bindings/search").status == 204
    assert [rest(method, "/namespace-bindings/search").status for method in ("GET", "DELETE")] == [404, 404]


def test_what_is_bound_counts_for_the_next_event(rest: Rest, deliver: Deliver) -> None:
    assert rest("DELETE", "/source-bindings/everything").status == 204
    assert told(deliver(INTAKE, SUBMITTED, submission(), source="https://ci.example/7")).type == REJECTED
    assert rest("PUT", "/source-bindings/ci", CI).status == 201
    assert told(deliver(INTAKE, SUBMITTED, submission(), source="https://ci.example/7")).type == PROPOSED


def test_bindings_are_listed_in_pages(rest: Rest) -> None:
    for name in "ba":
        rest("PUT", f"/source-bindings/{name}", CI)
    first = rest("GET", "/source-bindings?limit=2")
    assert [one["name"] for one in first.json["items"]] == ["a", "b"]
    second = rest("GET", f"/source-bindings?limit=2&cursor={first.json['next']}")
    assert second.json == {"items": [one.as_json() for one in ALLOW_ALL.sources], "next": None}
    of_teams = rest("GET", "/namespace-bindings?sort=-team")
    assert of_teams.json == {"items": [{"team": "*", "namespaces": ["*"]}], "next": None}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("source-bindings/Not-A-Name", CI, "name"),
        ("source-bindings/a", {**CI, "source": ""}, "source"),
        ("source-bindings/a", {**CI, "source": "a\n"}, "source"),
        ("source-bindings/a", {**CI, "teams": []}, "teams"),
        ("source-bindings/a", {**CI, "teams": ["Search"]}, "teams"),
        ("source-bindings/a", {**CI, "actions": []}, "actions"),
        ("source-bindings/a", {**CI, "actions": ["remove"]}, "actions.0"),
        ("source-bindings/a", {**CI, "role": "admin"}, "role"),
        ("source-bindings/a", {"source": "*"}, "teams"),
        ("namespace-bindings/A", {"namespaces": ["a"]}, "team"),
        ("namespace-bindings/a", {"namespaces": ["a", "kube-system"]}, "namespaces"),
        ("namespace-bindings/a", {"namespaces": []}, "namespaces"),
    ],
)
def test_a_bad_binding_is_refused_with_its_field(rest: Rest, path: str, body: object, field: str) -> None:
    answer = rest("PUT", f"/{path}", body)
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, field)


@pytest.mark.parametrize("kind", ["source-bindings", "namespace-bindings"])
def test_only_admins_of_all_teams_bind_and_auditors_read(rest: Rest, kind: str) -> None:
    rest.bind("ada", Role.ADMIN, "search")
    rest.bind("eve", Role.OPERATOR)
    rest.bind("kim", Role.AUDITOR)
    for user, read in (("ada", 403), ("eve", 403), ("kim", 404)):
        assert rest("GET", f"/{kind}/absent", user=user).status == read
        assert rest("GET", f"/{kind}", user=user).status == (200 if read == 404 else 403)
        assert (
            rest(
                "PUT",
                f"/{kind}/absent",
                {**CI, "namespaces": ["a"]} if "source" in kind else {"namespaces": ["a"]},
                user=user,
            ).status
            == 403
        )
        assert rest("DELETE", f"/{kind}/absent", user=user).status == 403
