"""Users: people, with a password here or a login at an external issuer."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import Query, Response
from pydantic import Field, SecretStr

from functions.api.accounts import AccountAnswer, answer, readable, to_change
from functions.api.identity import CurrentIdentity
from functions.api.paging import Listing, ListQuery, sorts
from functions.api.preconditions import MayMatch
from functions.api.problems import responses
from functions.api.requests import Body
from functions.api.requests import router as new_router
from functions.api.session import CurrentSession
from shared.errors import OperationRefused
from shared.identity.passwords import problem_of
from shared.models.account import Account, AccountKind
from shared.models.identity import Permission
from shared.operations.authorize import require
from shared.operations.identity import accounts

router = new_router("users")

_SORTS = sorts(name=(str, str))
_USER = AccountKind.USER
_Password = Annotated[SecretStr, Field(max_length=1024, examples=["correct horse battery"])]


class NewUser(Body):
    """A user. Either password, or issuer: then `name` is what the issuer's tokens call `sub`."""

    name: str = Field(min_length=1, max_length=255, examples=["ada"])
    password: _Password | None = None
    issuer: str = Field("", max_length=255, examples=[""])


class UserChange(Body):
    """What changes of a user; what is left out stays."""

    disabled: bool | None = Field(None, examples=[True])
    password: _Password | None = None


@router.get("/users", response_model=Listing, responses=responses())
def list_users(
    session: CurrentSession,
    page: Annotated[ListQuery, _SORTS],
    name: Annotated[str | None, Query(max_length=256, examples=["ada"])] = None,
) -> Response:
    """Users by name, with their roles."""
    with session.read() as work:
        require(session.principal, Permission.READ_IDENTITY, None)
        found = accounts.list_accounts(work, _USER, page.request, name)
    return page.answer(found, Account.as_json)


@router.post(
    "/users", status_code=201, response_model=AccountAnswer, responses=responses("conflict", "too-many-requests")
)
def create_user(body: NewUser, session: CurrentSession, identity: CurrentIdentity) -> Response:
    """Add a user without any role. Without a password they cannot log in until they are given one."""
    with session.read():
        require(session.principal, Permission.WRITE_IDENTITY, None)
    if body.issuer and body.password is not None:
        raise OperationRefused("password", "must be left out for a user of an external issuer")
    hashed = None if body.password is None else hash_of(identity, body.password)
    with session.begin() as work:
        require(session.principal, Permission.WRITE_IDENTITY, None)
        account = accounts.create(work, _USER, body.name, hashed, session.principal.actor, body.issuer)
    return answer(account, 201, f"/api/v1/users/{account.id}")


@router.get("/users/{user_id}", response_model=AccountAnswer, responses=responses("not-found"))
def read_user(user_id: uuid.UUID, session: CurrentSession) -> Response:
    """One user, with their roles."""
    with session.read() as work:
        account = readable(work, session, _USER, user_id)
    return answer(account)


@router.patch(
    "/users/{user_id}",
    response_model=AccountAnswer,
    responses=responses("not-found", "precondition-failed", "too-many-requests"),
)
def change_user(
    user_id: uuid.UUID, body: UserChange, session: CurrentSession, identity: CurrentIdentity, match: MayMatch
) -> Response:
    """Disable or enable a user, or give them another password. Either ends every login of theirs, but to enable."""
    with session.read():
        require(session.principal, Permission.WRITE_IDENTITY, None)
    hashed = None if body.password is None else hash_of(identity, body.password)
    with session.begin() as work:
        account = to_change(work, session, _USER, user_id, match)
        if hashed is not None:
            account = accounts.set_password(work, account, hashed, session.principal.actor)
        if body.disabled is not None:
            account = accounts.set_disabled(work, account, body.disabled, session.principal.actor)
    return answer(account)


def hash_of(identity: CurrentIdentity, password: SecretStr) -> str:
    """The hash of a password that may be chosen. Raises OperationRefused and PasswordsBusy."""
    text = password.get_secret_value()
    if (problem := problem_of(text)) is not None:
        raise OperationRefused("password", problem)
    return identity.passwords.hash(text)
