"""Users, service accounts, their tokens and role bindings by HTTP."""

import random
import uuid
from functools import partial

import pytest

from functions.api.identity import Identity
from shared.models.identity import Role
from shared.operations.identity import accounts
from shared.store.unit_of_work import Store
from tests.support.builders import TESTS
from tests.support.rest import Rest

SECRET = "correct horse battery"


@pytest.fixture
def admin(signed_in: Rest, store: Store, identity: Identity) -> str:
    """A token of an admin who has logged in."""
    with store.begin() as work:
        accounts.create_first_admin(work, identity.passwords.hash(SECRET), TESTS)
    token: str = signed_in("POST", "/auth/login", {"name": "admin", "password": SECRET}, user=None).json["accessToken"]
    return token


def test_a_user_is_added_listed_read_and_disabled(rest: Rest) -> None:
    made = rest("POST", "/users", {"name": "ada", "password": SECRET})
    assert (made.status, made.json["roles"], made.json["disabled"]) == (201, [], False)
    assert SECRET.encode() not in made.body
    path = made.headers["location"].removeprefix("/api/v1")
    read = rest("GET", path)
    assert (read.json, read.headers["etag"]) == (made.json, made.headers["etag"])
    assert [one["name"] for one in rest("GET", "/users").json["items"]] == ["ada"]
    disabled = rest("PATCH", path, {"disabled": True}, if_match=read.headers["etag"])
    assert (disabled.status, disabled.json["disabled"], disabled.json["revision"]) == (200, True, 2)
    assert rest("PATCH", path, {"disabled": False}, if_match=read.headers["etag"]).status == 412


def test_a_name_is_taken_once_and_the_two_kinds_have_names_of_their_own(rest: Rest) -> None:
    assert rest("POST", "/users", {"name": "ci", "password": SECRET}).status == 201
    assert rest("POST", "/users", {"name": "ci", "password": SECRET}).status == 409
    assert rest("POST", "/service-accounts", {"name": "ci"}).status == 201
    user = rest("GET", "/users?name=ci").json["items"][0]
    assert rest("GET", f"/service-accounts/{user['id']}").status == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "Ada"}, "name"),
        ({"name": "ada", "password": "short"}, "password"),
        ({"name": "ada", "password": 7}, "password"),
        ({"name": "ada", "roles": ["admin"]}, "roles"),
        ({"name": "ada", "id": str(uuid.uuid4())}, "id"),
        ({"name": "ada", "revision": 9}, "revision"),
        ({"name": "7", "issuer": "https://issuer.test", "password": SECRET}, "password"),
    ],
)
def test_a_bad_or_unknown_field_is_named(body: dict[str, object], field: str, rest: Rest) -> None:
    answer = rest("POST", "/users", body)
    assert (answer.status, [one["field"] for one in answer.json["errors"]]) == (422, [field])


def test_the_longest_name_of_an_external_user_fits_the_index(rest: Rest) -> None:
    letters = random.Random(7)
    name, issuer = ("".join(chr(letters.randrange(0x20000, 0x2A000)) for _ in range(255)) for _ in range(2))
    assert rest("POST", "/users", {"name": name, "issuer": issuer}).status == 201
    for field in ("name", "issuer"):
        answer = rest("POST", "/users", {"name": name, "issuer": issuer, field: "x" * 256})
        assert (answer.status, answer.json["errors"][0]["field"]) == (422, field)


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.ADMIN])
def test_only_an_admin_of_everything_changes_users_and_an_auditor_reads_them(role: Role, rest: Rest) -> None:
    rest.bind("someone", role)
    rest.bind("of-team", Role.ADMIN, "search")
    ada = rest("POST", "/users", {"name": "ada"}).json["id"]
    for user in ("someone", "of-team"):
        for method, path, body in (
            ("POST", "/users", {"name": "eve", "password": SECRET}),
            ("PATCH", f"/users/{ada}", {"disabled": True}),
            ("POST", "/service-accounts", {"name": "ci"}),
            ("POST", f"/service-accounts/{ada}/tokens", {"expiresIn": "1d"}),
        ):
            assert rest(method, path, body, user=user).status == 403
    reads = 200 if role is Role.AUDITOR else 403
    assert {rest("GET", path, user="someone").status for path in ("/users", f"/users/{ada}")} == {reads}


def test_a_token_of_a_service_account_opens_the_door_until_it_is_revoked(signed_in: Rest, admin: str) -> None:
    with_admin = partial(signed_in, user=admin)
    account = with_admin("POST", "/service-accounts", {"name": "ci"}).json["id"]
    path = f"/service-accounts/{account}/tokens"
    made = with_admin("POST", path, {"expiresIn": "30d", "description": "pipeline"})
    assert made.status == 201
    token = made.json["token"]
    assert signed_in("GET", "/auth/me", user=token).json["actor"] == "service_account:ci"
    listed = with_admin("GET", path)
    assert [one["description"] for one in listed.json["items"]] == ["pipeline"]
    assert token.encode() not in listed.body
    assert with_admin("DELETE", f"{path}/{made.json['id']}").status == 204
    assert with_admin("DELETE", f"{path}/{made.json['id']}").status == 404
    assert signed_in("GET", "/auth/me", user=token).status == 401


@pytest.mark.parametrize("life", ["366d", "0s", "-1d", "P2Y", "soon", 30, None, ""])
def test_a_token_lasts_at_most_a_year(life: object, rest: Rest) -> None:
    account = rest("POST", "/service-accounts", {"name": "ci"}).json["id"]
    answer = rest("POST", f"/service-accounts/{account}/tokens", {"expiresIn": life})
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, "expiresIn")


def test_a_role_counts_with_the_next_request_and_so_does_its_end(signed_in: Rest, admin: str) -> None:
    with_admin = partial(signed_in, user=admin)
    account = with_admin("POST", "/service-accounts", {"name": "ci"}).json["id"]
    token = with_admin("POST", f"/service-accounts/{account}/tokens", {"expiresIn": "1d"}).json["token"]
    assert signed_in("GET", "/users", user=token).status == 403
    bound = with_admin("POST", "/role-bindings", {"accountId": account, "role": "auditor", "team": None})
    assert (bound.status, bound.json["name"], bound.json["team"]) == (201, "ci", None)
    again = with_admin("POST", "/role-bindings", {"accountId": account, "role": "auditor", "team": None})
    assert again.json == bound.json
    assert signed_in("GET", "/users", user=token).status == 200
    path = bound.headers["location"].removeprefix("/api/v1")
    assert with_admin("GET", path).json == bound.json
    assert with_admin("DELETE", path).status == 204
    assert signed_in("GET", "/users", user=token).status == 403
    assert with_admin("GET", path).status == 404


def test_the_admin_of_a_team_binds_roles_of_that_team_and_sees_no_other(rest: Rest) -> None:
    rest.bind("lead", Role.ADMIN, "search")
    ada = rest("POST", "/users", {"name": "ada"}).json["id"]
    mine = rest("POST", "/role-bindings", {"accountId": ada, "role": "submitter", "team": "search"}, user="lead")
    assert mine.status == 201
    for team in ("ads", None):
        body = {"accountId": ada, "role": "admin", "team": team}
        assert rest("POST", "/role-bindings", body, user="lead").status == 403
    theirs = rest("POST", "/role-bindings", {"accountId": ada, "role": "viewer", "team": "ads"}).json["id"]
    assert rest("GET", f"/role-bindings/{theirs}", user="lead").status == 404
    assert rest("DELETE", f"/role-bindings/{theirs}", user="lead").status == 404
    assert [one["team"] for one in rest("GET", "/role-bindings", user="lead").json["items"]] == ["search"]
    assert [one["team"] for one in rest("GET", "/role-bindings").json["items"]] == ["search", "ads"]
    assert [one["team"] for one in rest("GET", f"/role-bindings?team=ads&accountId={ada}").json["items"]] == ["ads"]
    assert rest("DELETE", f"/role-bindings/{mine.json['id']}", user="lead").status == 204


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"role": "root"}, "role"),
        ({"team": "Search"}, "team"),
        ({"accountId": str(uuid.uuid4())}, "accountId"),
        ({"accountId": "ada"}, "accountId"),
        ({"actor": "user:admin"}, "actor"),
    ],
)
def test_a_binding_that_says_nothing_sensible_is_refused(change: dict[str, str], field: str, rest: Rest) -> None:
    ada = rest("POST", "/users", {"name": "ada"}).json["id"]
    answer = rest("POST", "/role-bindings", {"accountId": ada, "role": "viewer", "team": "search", **change})
    assert (answer.status, [one["field"] for one in answer.json["errors"]]) == (422, [field])


def test_a_binding_to_all_teams_has_to_be_said(rest: Rest) -> None:
    ada = rest("POST", "/users", {"name": "ada"}).json["id"]
    answer = rest("POST", "/role-bindings", {"accountId": ada, "role": "viewer"})
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, "team")


def test_the_last_admin_stays(rest: Rest, store: Store) -> None:
    with store.begin() as work:
        admin = accounts.create_first_admin(work, "no hash", TESTS)
    assert admin is not None
    (binding,) = rest("GET", f"/role-bindings?accountId={admin.id}").json["items"]
    assert rest("DELETE", f"/role-bindings/{binding['id']}").status == 422
    assert rest("PATCH", f"/users/{admin.id}", {"disabled": True}).status == 422


def test_every_change_is_audited_with_its_actor_and_without_a_secret(rest: Rest, store: Store) -> None:
    ada = rest("POST", "/users", {"name": "ada", "password": SECRET}).json["id"]
    rest("PATCH", f"/users/{ada}", {"password": "another good password"})
    bound = rest("POST", "/role-bindings", {"accountId": ada, "role": "viewer", "team": "search"}).json["id"]
    rest("DELETE", f"/role-bindings/{bound}")
    rest("PATCH", f"/users/{ada}", {"disabled": True})
    with store.read() as work:
        entries = work.audit_entries(f"account/{ada}")
    expected = ["user.created", "user.password_changed", "role.bound", "role.unbound", "user.disabled"]
    assert [entry.action for entry in entries] == expected
    assert {entry.actor for entry in entries} == {"user:root"}
    assert entries[-1].detail["changes"]["changed"][0] == {"field": "disabled", "before": False, "after": True}
    assert "argon2" not in str(entries)
    assert "password" not in str([entry.detail for entry in entries])


def test_pages_of_users_go_on_behind_the_last(rest: Rest) -> None:
    for name in ("b", "a", "c"):
        rest("POST", "/users", {"name": name})
    first = rest("GET", "/users?limit=2").json
    rest("POST", "/users", {"name": "aa"})
    rest_of_them = rest("GET", f"/users?limit=2&cursor={first['next']}").json
    assert [one["name"] for page in (first, rest_of_them) for one in page["items"]] == ["a", "b", "c"]
    assert rest_of_them["next"] is None
