"""Service accounts: programs, with tokens that last for as long as their creator says."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from functions.api.accounts import AccountAnswer, answer, readable, to_change
from functions.api.identity import CurrentIdentity
from functions.api.paging import Listing, ListQuery, sorts
from functions.api.preconditions import MayMatch, Precondition
from functions.api.problems import responses
from functions.api.requests import Body
from functions.api.requests import router as new_router
from functions.api.session import CurrentSession
from shared.models.account import Account, AccountKind
from shared.models.fields import Duration
from shared.models.identity import Permission
from shared.operations.authorize import require
from shared.operations.identity import accounts

router = new_router("service accounts")

_SORTS = sorts(name=(str, str))
_KIND = AccountKind.SERVICE_ACCOUNT
_ANY = Precondition(None)


class NewServiceAccount(Body):
    """A service account."""

    name: str = Field(min_length=1, max_length=128, examples=["ci"])


class ServiceAccountChange(Body):
    """What changes of a service account; what is left out stays."""

    disabled: bool | None = Field(None, examples=[True])


class NewToken(Body):
    """A token. expiresIn: a duration of at most 365d."""

    expires_in: Duration = Field(examples=["30d"])
    description: str = Field("", max_length=accounts.MAX_DESCRIPTION, examples=["the pipeline of the search team"])


class AccountTokenAnswer(BaseModel):
    """A new token. token: shown once and stored nowhere."""

    id: str
    description: str
    expiresAt: str  # noqa: N815 - as it is in JSON
    revokedAt: str | None  # noqa: N815
    createdAt: str | None  # noqa: N815
    token: str = Field(examples=["eyJhbGciOiJFZERTQSIs..."])


class TokenListing(BaseModel):
    """The tokens of a service account, the newest first; next is always null."""

    items: list[dict[str, Any]]
    next: None = None


@router.get("/service-accounts", response_model=Listing, responses=responses())
def list_service_accounts(
    session: CurrentSession,
    page: Annotated[ListQuery, _SORTS],
    name: Annotated[str | None, Query(max_length=256, examples=["ci"])] = None,
) -> Response:
    """Service accounts by name, with their roles."""
    with session.read() as work:
        require(session.principal, Permission.READ_IDENTITY, None)
        found = accounts.list_accounts(work, _KIND, page.request, name)
    return page.answer(found, Account.as_json)


@router.post("/service-accounts", status_code=201, response_model=AccountAnswer, responses=responses("conflict"))
def create_service_account(body: NewServiceAccount, session: CurrentSession) -> Response:
    """Add a service account without any role and without a token."""
    with session.begin() as work:
        require(session.principal, Permission.WRITE_IDENTITY, None)
        account = accounts.create(work, _KIND, body.name, None, session.principal.actor)
    return answer(account, 201, f"/api/v1/service-accounts/{account.id}")


@router.get("/service-accounts/{account_id}", response_model=AccountAnswer, responses=responses("not-found"))
def read_service_account(account_id: uuid.UUID, session: CurrentSession) -> Response:
    """One service account, with its roles."""
    with session.read() as work:
        account = readable(work, session, _KIND, account_id)
    return answer(account)


@router.patch(
    "/service-accounts/{account_id}",
    response_model=AccountAnswer,
    responses=responses("not-found", "precondition-failed"),
)
def change_service_account(
    account_id: uuid.UUID, body: ServiceAccountChange, session: CurrentSession, match: MayMatch
) -> Response:
    """Disable or enable a service account. Its tokens do not count while it is disabled."""
    with session.begin() as work:
        account = to_change(work, session, _KIND, account_id, match)
        if body.disabled is not None:
            account = accounts.set_disabled(work, account, body.disabled, session.principal.actor)
    return answer(account)


@router.get("/service-accounts/{account_id}/tokens", response_model=TokenListing, responses=responses("not-found"))
def list_tokens(account_id: uuid.UUID, session: CurrentSession) -> Response:
    """The tokens that were made for a service account, without the tokens themselves."""
    with session.read() as work:
        found = accounts.list_tokens(work, readable(work, session, _KIND, account_id))
    return JSONResponse({"items": [one.as_json() for one in found], "next": None})


@router.post(
    "/service-accounts/{account_id}/tokens",
    status_code=201,
    response_model=AccountTokenAnswer,
    responses=responses("not-found"),
)
def create_token(account_id: uuid.UUID, body: NewToken, session: CurrentSession, identity: CurrentIdentity) -> Response:
    """Make a token for a service account. It is shown in this answer alone."""
    life: timedelta = body.expires_in
    with session.begin() as work:
        account = to_change(work, session, _KIND, account_id, _ANY)
        made = accounts.create_token(work, account, life, body.description, session.principal.actor)
        token = identity.tokens.sign(account.id, work.now, made.expires_at, token=made.id)
    return JSONResponse({**made.as_json(), "token": token}, 201)


@router.delete("/service-accounts/{account_id}/tokens/{token_id}", status_code=204, responses=responses("not-found"))
def revoke_token(account_id: uuid.UUID, token_id: uuid.UUID, session: CurrentSession) -> Response:
    """Revoke a token: it does not count from now on."""
    with session.begin() as work:
        account = to_change(work, session, _KIND, account_id, _ANY)
        accounts.revoke_token(work, account, token_id, session.principal.actor)
    return Response(status_code=204)
