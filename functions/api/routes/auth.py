"""Log in, go on, log out, and see who you are.

A browser asks for its refresh token as a cookie, which no script can read and which goes to these routes alone. It is
sent by pages of the same site only, and the routes take JSON, which another site's page may not send unasked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Cookie, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from functions.api.identity import ClientAddress, CurrentIdentity, Identity
from functions.api.problems import responses
from functions.api.requests import Body
from functions.api.requests import router as new_router
from functions.api.session import CurrentSession, Session
from shared.errors import OperationRefused, Unauthenticated
from shared.identity.oidc import MAX_TOKEN_BYTES
from shared.identity.passwords import problem_of
from shared.models.account import Account, AccountKind
from shared.models.actor import Actor
from shared.operations.identity import accounts, external_login, login
from shared.operations.identity.login import Login

if TYPE_CHECKING:
    from shared.operations.identity.login import LoggedIn

router = new_router("auth")

_API = Actor.function("api")
Secret = Annotated[SecretStr, Field(max_length=1024)]
COOKIE = "sentinel-refresh"
AsCookie = Annotated[bool, Field(description="Give the refresh token as a cookie that no script can read.")]
_COOKIE: Any = {"path": "/api/v1/auth", "httponly": True, "samesite": "strict"}
RefreshCookie = Annotated[str, Cookie(alias=COOKIE, max_length=1024, include_in_schema=False)]


class PasswordBody(Body):
    """A user's name and password."""

    name: str = Field(max_length=256, examples=["admin"])
    password: Secret = Field(examples=["correct horse battery"])
    cookie: AsCookie = False


class IdTokenBody(Body):
    """An ID token of an external OpenID Connect issuer that this server is configured with."""

    id_token: Annotated[SecretStr, Field(max_length=MAX_TOKEN_BYTES)] = Field(examples=["eyJhbGciOiJSUzI1NiIs..."])


class RefreshTokenBody(Body):
    """The refresh token that the last login or refresh gave; null where a cookie has it."""

    refresh_token: Secret | None = Field(None, examples=["mUXX9ZLnpt1v5mTYc0fP6dcTq6Vd0nQmVtw6mDdVb4s"])

    def given(self, cookie: str) -> str:
        """The token of the body, or else that of the cookie. Raises Unauthenticated."""
        if self.refresh_token is not None:
            return self.refresh_token.get_secret_value()
        if not cookie:
            raise Unauthenticated("send the refresh token as refreshToken; a login with `cookie` gives it as a cookie")
        return cookie


class NewPassword(Body):
    """A user's present password, and the one to come."""

    current: Secret = Field(examples=["correct horse battery"])
    new: Secret = Field(examples=["a much better password"])


class TokenAnswer(BaseModel):
    """Tokens. expiresIn: seconds. refreshToken: counts once, and until refreshExpiresAt; null when it is a cookie."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "accessToken": "eyJhbGciOiJFZERTQSIs...",
                    "tokenType": "Bearer",
                    "expiresIn": 900,
                    "refreshToken": "mUXX9ZLnpt1v5mTYc0fP6dcTq6Vd0nQmVtw6mDdVb4s",
                    "refreshExpiresAt": "2026-12-29T09:00:00.000Z",
                }
            ]
        }
    )

    accessToken: str  # noqa: N815 - as it is in JSON
    tokenType: str  # noqa: N815
    expiresIn: int  # noqa: N815
    refreshToken: str | None  # noqa: N815
    refreshExpiresAt: str  # noqa: N815


class WhoAmI(BaseModel):
    """Who the token stands for, with the roles of now. team null: all teams."""

    actor: str = Field(examples=["user:ada"])
    id: str | None
    roles: list[dict[str, str | None]] = Field(examples=[[{"role": "submitter", "team": "search"}]])


@router.post("/auth/login", response_model=TokenAnswer, responses=responses("too-many-requests"))
def log_in(
    request: Request, body: PasswordBody, session: CurrentSession, identity: CurrentIdentity, address: ClientAddress
) -> Response:
    """Log in with a name and a password. An access token counts for 15 minutes; a refresh token gives the next."""
    attempt = Login(body.name, body.password.get_secret_value(), address)
    if attempt.name == accounts.FIRST_ADMIN:
        _make_first_admin(session, identity)
    account = _checked(session, identity, attempt)
    with session.anonymous() as work:
        found, now = login.succeed(work, attempt, account), work.now
    answer = identity.answer(found, now)
    return _with_cookie(request, answer, found) if body.cookie else JSONResponse(answer)


@router.post("/auth/exchange", response_model=TokenAnswer, responses=responses("too-many-requests"))
def exchange(body: IdTokenBody, session: CurrentSession, identity: CurrentIdentity, address: ClientAddress) -> Response:
    """Log in with an ID token of an external issuer."""
    if identity.issuers is None:
        raise Unauthenticated("no external issuer is configured; log in with a name and a password")
    unknown = Login("", "", address)
    with session.anonymous() as work:
        login.check_limits(work, unknown)
        now = work.now
    try:
        user = identity.issuers.verify(body.id_token.get_secret_value(), now)
    except Unauthenticated:
        with session.anonymous() as work:
            login.fail(work, unknown, None)
        raise
    attempt = Login(user.subject, "", address)
    with session.anonymous() as work:
        found, now = external_login.log_in(work, attempt, user.issuer, may_be_new=user.may_be_new), work.now
    if found is None:
        raise Unauthenticated("the issuer knows you, and this server does not; an admin can add you as a user")
    return JSONResponse(identity.answer(found, now))


@router.post("/auth/refresh", response_model=TokenAnswer, responses=responses())
def refresh(
    request: Request,
    body: RefreshTokenBody,
    session: CurrentSession,
    identity: CurrentIdentity,
    cookie: RefreshCookie = "",
) -> Response:
    """The next tokens of a login. A refresh token that comes a second time ends its login: somebody else has it too."""
    token = body.given(cookie)
    with session.anonymous() as work:
        found = login.refresh(work, token)
        now = work.now
    if found is None:  # the transaction has committed, so the family has ended
        raise login.reused()
    answer = identity.answer(found, now)
    return JSONResponse(answer) if body.refresh_token is not None else _with_cookie(request, answer, found)


@router.post("/auth/logout", status_code=204, responses=responses())
def log_out(body: RefreshTokenBody, session: CurrentSession, cookie: RefreshCookie = "") -> Response:
    """End a login. Its access tokens do not count any more either."""
    token = body.given(cookie)
    with session.anonymous() as work:
        login.log_out(work, token)
    answer = Response(status_code=204)
    if body.refresh_token is None:
        answer.delete_cookie(COOKIE, **_COOKIE)
    return answer


@router.get("/auth/me", response_model=WhoAmI, responses=responses())
def who_am_i(session: CurrentSession) -> Response:
    """Who you are, and the roles that you have now."""
    with session.read():
        principal = session.principal
    roles = [{"role": one.role.value, "team": one.team} for one in principal.bindings]
    found = {"actor": str(principal.actor), "id": None if principal.id is None else str(principal.id), "roles": roles}
    return JSONResponse(found)


@router.put("/auth/password", response_model=TokenAnswer, responses=responses("too-many-requests"))
def change_password(
    body: NewPassword, session: CurrentSession, identity: CurrentIdentity, address: ClientAddress
) -> Response:
    """Change your own password. Every login of before ends, and the answer is a new one."""
    with session.read() as work:
        account = _own(work.identity.account(session.principal.id) if session.principal.id else None)
    new = body.new.get_secret_value()
    if (problem := problem_of(new)) is not None:
        raise OperationRefused("new", problem)
    attempt = Login(account.name, body.current.get_secret_value(), address)
    _checked(session, identity, attempt)
    hashed = identity.passwords.hash(new)
    with session.begin() as work:
        account = accounts.set_password(work, account, hashed, session.principal.actor)
        found, now = login.succeed(work, attempt, account), work.now
    return JSONResponse(identity.answer(found, now))


def _with_cookie(request: Request, answer: dict[str, Any], found: LoggedIn) -> Response:
    """The answer of a login or a refresh, with the refresh token as a cookie and not in the body.

    Over plain HTTP the cookie is not `Secure`, because a browser would drop it.
    """
    made = JSONResponse({**answer, "refreshToken": None})
    secure = request.url.scheme == "https"
    made.set_cookie(COOKIE, str(answer["refreshToken"]), expires=found.refresh_expires_at, secure=secure, **_COOKIE)
    return made


def _own(account: Account | None) -> Account:
    if account is None or account.kind is not AccountKind.USER or account.issuer:
        raise OperationRefused("", "only a user with a password of this server can change it")
    return account


def _checked(session: Session, identity: Identity, attempt: Login) -> Account:
    """The account whose password was given. Passwords are compared outside transactions, because that takes long.

    Raises Unauthenticated and TooManyLogins.
    """
    with session.anonymous() as work:
        account, stored = login.check_attempt(work, attempt)
    if identity.passwords.verify(stored, attempt.password) and account is not None:
        return account
    with session.anonymous() as work:
        login.fail(work, attempt, account)
    raise login.wrong()


def _make_first_admin(session: Session, identity: Identity) -> None:
    """The first login of the admin makes that user, where a file gives the password and there is no account yet."""
    password = identity.first_admin_password()
    if password is None:
        return
    with session.anonymous() as work:
        if accounts.anyone(work):
            return
    hashed = identity.passwords.hash(password)
    with session.anonymous() as work:
        accounts.create_first_admin(work, hashed, _API)
