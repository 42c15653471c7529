"""What the routes of users and of service accounts share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from functions.api.preconditions import etag
from shared.models.identity import Permission
from shared.operations.authorize import require
from shared.operations.identity import accounts

if TYPE_CHECKING:
    import uuid

    from fastapi import Response

    from functions.api.preconditions import Precondition
    from functions.api.session import Session
    from shared.models.account import Account, AccountKind
    from shared.store.unit_of_work import UnitOfWork


class AccountAnswer(BaseModel):
    """An account. issuer: null for one of this server. roles: a team of null is all teams."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "5b8e0c0e-6a0e-4c53-8d3c-0d7f0f8c4a52",
                    "name": "ada",
                    "issuer": None,
                    "disabled": False,
                    "revision": 2,
                    "roles": [{"role": "submitter", "team": "search"}],
                    "createdAt": "2026-11-29T09:00:00.000Z",
                }
            ]
        }
    )

    id: str
    name: str
    issuer: str | None
    disabled: bool
    revision: int
    roles: list[dict[str, str | None]]
    createdAt: str  # noqa: N815 - as it is in JSON


def readable(work: UnitOfWork, session: Session, kind: AccountKind, account_id: uuid.UUID) -> Account:
    """An account, for those who may see accounts. Raises Forbidden and NotFound."""
    require(session.principal, Permission.READ_IDENTITY, None)
    return accounts.get(work, kind, account_id)


def to_change(
    work: UnitOfWork, session: Session, kind: AccountKind, account_id: uuid.UUID, match: Precondition
) -> Account:
    """An account, locked, for those who may change it. Raises Forbidden, NotFound, and RequestRefused (412)."""
    require(session.principal, Permission.WRITE_IDENTITY, None)
    account = accounts.get(work, kind, account_id, lock=True)
    match.check(etag_of(account))
    return account


def etag_of(account: Account) -> str:
    """The entity tag of an account; its roles count too."""
    return etag(account.id, account.revision)


def answer(account: Account, status: int = 200, location: str | None = None) -> Response:
    """An account as JSON, with its entity tag."""
    headers = {"etag": etag_of(account)} | ({} if location is None else {"location": location})
    return JSONResponse(account.as_json(), status, headers)
