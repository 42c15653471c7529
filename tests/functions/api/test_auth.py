"""Logins by HTTP: tokens, refresh, logout, limits, the first admin, and nothing of a secret in any log."""

import logging
from dataclasses import replace
from datetime import datetime
from http.cookies import SimpleCookie
from pathlib import Path

import jwt
import pytest
from fastapi import FastAPI

from functions.api.identity import Identity
from functions.api.routes import auth
from functions.api.session import Services
from shared.errors import Unauthenticated
from shared.identity.oidc import ExternalIssuers, ExternalUser
from shared.models.account import Account, AccountKind
from shared.models.identity import Role, RoleBinding
from shared.operations.identity import accounts, login
from shared.store.unit_of_work import Store
from tests.support.builders import TESTS
from tests.support.rest import Answer, Rest

SECRET = "correct horse battery"


@pytest.fixture
def ada(store: Store, identity: Identity) -> Account:
    """A submitter of the team search."""
    with store.begin() as work:
        made = accounts.create(work, AccountKind.USER, "ada", identity.passwords.hash(SECRET), TESTS)
        return accounts.bind(work, made, RoleBinding(Role.SUBMITTER, "search"), TESTS)


def log_in(rest: Rest, password: str = SECRET, name: str = "ada") -> Answer:
    return rest("POST", "/auth/login", {"name": name, "password": password}, user=None)


def refresh(rest: Rest, token: str) -> Answer:
    return rest("POST", "/auth/refresh", {"refreshToken": token}, user=None)


def test_a_login_gives_an_access_token_and_says_who_it_is(signed_in: Rest, ada: Account) -> None:
    found = log_in(signed_in)
    assert (found.status, found.json["tokenType"], found.json["expiresIn"]) == (200, "Bearer", 900)
    assert found.headers["cache-control"] == "no-store"
    me = signed_in("GET", "/auth/me", user=found.json["accessToken"])
    assert me.json == {"actor": "user:ada", "id": str(ada.id), "roles": [{"role": "submitter", "team": "search"}]}


@pytest.mark.parametrize(("name", "password"), [("ada", "wrong"), ("nobody", SECRET), ("", ""), ("ada\u2028", SECRET)])
def test_a_wrong_name_and_a_wrong_password_are_told_alike(
    name: str, password: str, signed_in: Rest, ada: Account
) -> None:
    answer = log_in(signed_in, password, name)
    assert (answer.status, answer.json["detail"]) == (401, "the user or the password is wrong")


def test_a_refresh_token_counts_once_and_a_second_use_ends_the_login(signed_in: Rest, ada: Account) -> None:
    first = log_in(signed_in).json
    second = refresh(signed_in, first["refreshToken"])
    assert second.status == 200
    assert second.json["refreshExpiresAt"] == first["refreshExpiresAt"]
    assert signed_in("GET", "/auth/me", user=second.json["accessToken"]).status == 200
    assert refresh(signed_in, first["refreshToken"]).status == 401
    assert refresh(signed_in, second.json["refreshToken"]).status == 401
    for token in (first["accessToken"], second.json["accessToken"]):
        assert signed_in("GET", "/auth/me", user=token).status == 401


def test_a_logout_ends_the_login_at_once(signed_in: Rest, ada: Account) -> None:
    found = log_in(signed_in).json
    for _ in range(2):
        assert signed_in("POST", "/auth/logout", {"refreshToken": found["refreshToken"]}, user=None).status == 204
    assert refresh(signed_in, found["refreshToken"]).status == 401
    assert signed_in("GET", "/auth/me", user=found["accessToken"]).status == 401


def test_failed_logins_have_to_wait_and_are_told_for_how_long(signed_in: Rest, ada: Account) -> None:
    for _ in range(login.FREE_FOR_ACCOUNT + 1):
        assert log_in(signed_in, "wrong").status == 401
    refused = log_in(signed_in)
    assert (refused.status, refused.json["type"]) == (429, "/problems/too-many-requests")
    assert 1 <= int(refused.headers["retry-after"]) <= 900


def test_a_password_is_changed_by_who_knows_it_and_ends_the_logins_of_before(signed_in: Rest, ada: Account) -> None:
    before = log_in(signed_in).json
    body = {"current": "wrong", "new": "a much better password"}
    assert signed_in("PUT", "/auth/password", body, user=before["accessToken"]).status == 401
    short = signed_in("PUT", "/auth/password", {"current": SECRET, "new": "short"}, user=before["accessToken"])
    assert (short.status, short.json["errors"][0]["field"]) == (422, "new")
    changed = signed_in("PUT", "/auth/password", {**body, "current": SECRET}, user=before["accessToken"])
    assert changed.status == 200
    assert signed_in("GET", "/auth/me", user=before["accessToken"]).status == 401
    assert signed_in("GET", "/auth/me", user=changed.json["accessToken"]).status == 200
    assert (log_in(signed_in).status, log_in(signed_in, "a much better password").status) == (401, 200)


def test_the_first_login_of_the_admin_takes_the_password_of_the_secret(
    application: tuple[FastAPI, int], signed_in: Rest, identity: Identity, tmp_path: Path
) -> None:
    app, _ = application
    services: Services = app.state.services
    secret = tmp_path / "password"
    app.state.services = replace(services, identity=replace(identity, first_password=secret))
    assert log_in(signed_in, SECRET, "admin").status == 401  # nothing is mounted
    secret.write_text(f"{SECRET}\n")
    assert log_in(signed_in, "another one than that", "admin").status == 401
    found = log_in(signed_in, SECRET, "admin")
    me = signed_in("GET", "/auth/me", user=found.json["accessToken"]).json
    assert me["roles"] == [{"role": "admin", "team": None}]
    secret.write_text("a later password")
    assert log_in(signed_in, "a later password", "admin").status == 401


def test_the_public_keys_verify_a_token(signed_in: Rest, ada: Account) -> None:
    token = log_in(signed_in).json["accessToken"]
    answer = signed_in("GET", "//.well-known/jwks.json", user=None)
    kid = jwt.get_unverified_header(token)["kid"]
    (key,) = [jwt.PyJWK(one) for one in answer.json["keys"] if one["kid"] == kid]
    assert jwt.decode(token, key, ["EdDSA"], audience="sentinel", issuer="sentinel")["sub"] == str(ada.id)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "ada"},
        {"name": "ada", "password": SECRET, "role": "admin"},
        {"name": ["ada"], "password": SECRET},
        {"name": "ada", "password": {"$ne": ""}},
        {"name": "ada", "password": "x" * 2000},
        b'{"name": "ada", "name": "bob", "password": "x"}',
        b'{"name": "a\\u0000", "password": "x"}',
        b'{"name": "a\\ud800", "password": "x"}',
        b"[" * 100_000,
    ],
    ids=range(10),
)
def test_a_body_that_is_not_plainly_a_login_is_a_problem_and_says_no_password(
    body: object, signed_in: Rest, ada: Account
) -> None:
    answer = signed_in("POST", "/auth/login", body, user=None)
    assert answer.status in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    assert SECRET.encode() not in answer.body


def test_no_secret_is_logged_or_audited(
    signed_in: Rest, ada: Account, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    found = log_in(signed_in).json
    typed_wrong = "a password in the field of the name"
    log_in(signed_in, "wrong secret", "ada")
    log_in(signed_in, SECRET, typed_wrong)
    signed_in("GET", "/auth/me", user=found["accessToken"])
    signed_in("GET", "/auth/me", user=found["accessToken"] + "x")
    refresh(signed_in, found["refreshToken"])
    with store.read() as work:
        audited = [*work.audit_entries("login"), *work.audit_entries(f"account/{ada.id}")]
    assert {"login.failed", "login.succeeded"} <= {entry.action for entry in audited}
    for secret in (SECRET, "wrong secret", typed_wrong, found["accessToken"][-40:], found["refreshToken"]):
        assert secret not in caplog.text
        assert secret not in str(audited)


class OneIssuer(ExternalIssuers):
    """An issuer whose tokens are the names of its users."""

    def __init__(self, *, may_be_new: bool) -> None:
        self._may_be_new = may_be_new

    def verify(self, token: str, now: datetime) -> ExternalUser:
        if token == "forged":
            raise Unauthenticated("the ID token does not count")
        return ExternalUser("https://login.test", token, self._may_be_new)


@pytest.mark.parametrize("may_be_new", [True, False])
def test_a_user_of_an_external_issuer_logs_in_without_any_role(
    may_be_new: bool, application: tuple[FastAPI, int], signed_in: Rest, identity: Identity, store: Store
) -> None:
    app, _ = application
    services: Services = app.state.services
    app.state.services = replace(services, identity=replace(identity, issuers=OneIssuer(may_be_new=may_be_new)))

    def exchange(token: str) -> Answer:
        return signed_in("POST", "/auth/exchange", {"idToken": token}, user=None)

    assert exchange("forged").status == 401
    if not may_be_new:
        assert exchange("00u1").status == 401
        with store.begin() as work:
            accounts.create(work, AccountKind.USER, "00u1", None, TESTS, "https://login.test")
    found = exchange("00u1")
    me = signed_in("GET", "/auth/me", user=found.json["accessToken"]).json
    assert (me["actor"], me["roles"]) == ("user:00u1@https://login.test", [])
    assert log_in(signed_in, "", "00u1").status == 401
    with store.begin() as work:
        account = work.identity.account_named(AccountKind.USER, "00u1", "https://login.test")
        assert account is not None
        accounts.set_disabled(work, account, True, TESTS)
    assert exchange("00u1").status == 401


def test_without_an_external_issuer_no_id_token_counts(signed_in: Rest) -> None:
    answer = signed_in("POST", "/auth/exchange", {"idToken": "a.b.c"}, user=None)
    assert (answer.status, answer.json["detail"][:21]) == (401, "no external issuer is")


def cookie_of(answer: Answer) -> str:
    """The refresh token that an answer has set as a cookie."""
    cookie = SimpleCookie(answer.headers["set-cookie"])[auth.COOKIE]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "strict", "/api/v1/auth")
    return cookie.value


def test_a_browser_has_its_refresh_token_as_a_cookie_that_no_script_reads(signed_in: Rest, ada: Account) -> None:
    wanted = {"name": "ada", "password": SECRET, "cookie": True}
    first = signed_in("POST", "/auth/login", wanted, user=None)
    assert first.json["refreshToken"] is None
    assert "secure" not in first.headers["set-cookie"].lower()  # a browser drops such a cookie over plain HTTP

    def sent(path: str, cookie: str) -> Answer:
        return signed_in("POST", path, {}, user=None, cookie=f"{auth.COOKIE}={cookie}")

    second = sent("/auth/refresh", cookie_of(first))
    assert (second.status, second.json["refreshToken"]) == (200, None)
    assert signed_in("GET", "/auth/me", user=second.json["accessToken"]).status == 200
    out = sent("/auth/logout", cookie_of(second))
    assert (out.status, cookie_of(out)) == (204, "")
    assert sent("/auth/refresh", cookie_of(second)).status == 401


def test_the_cookie_goes_over_tls_alone_where_the_login_came_by_it(signed_in: Rest, ada: Account) -> None:
    wanted = {"name": "ada", "password": SECRET, "cookie": True}
    answer = signed_in("POST", "/auth/login", wanted, user=None, x_forwarded_proto="https")
    assert "; secure" in answer.headers["set-cookie"].lower()


def test_a_cookie_alone_is_no_access_and_none_is_set_unless_asked_for(signed_in: Rest, ada: Account) -> None:
    assert "set-cookie" not in log_in(signed_in).headers
    found = signed_in("POST", "/auth/login", {"name": "ada", "password": SECRET, "cookie": True}, user=None)
    cookie = f"{auth.COOKIE}={cookie_of(found)}"
    assert signed_in("GET", "/workloads", user=None, cookie=cookie).status == 401
    assert signed_in("POST", "/auth/refresh", {}, user=None).status == 401
    form = signed_in(
        "POST", "/auth/refresh", b"{}", user=None, cookie=cookie, content_type="application/x-www-form-urlencoded"
    )
    assert form.status in (415, 422)  # what another site's page may send without asking
