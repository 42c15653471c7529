"""Role bindings: which role an account has, for one team or for all."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from fastapi import Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from functions.api.paging import Listing, ListQuery, sorts
from functions.api.problems import responses
from functions.api.requests import Body
from functions.api.requests import router as new_router
from functions.api.session import CurrentSession, Session
from shared.errors import NotFound, OperationRefused
from shared.models.account import AccountRole
from shared.models.fields import DnsLabel
from shared.models.identity import Permission, Role, RoleBinding
from shared.operations.authorize import require, require_of_team
from shared.operations.identity import accounts

if TYPE_CHECKING:
    from shared.store.unit_of_work import UnitOfWork

router = new_router("role bindings")

_SORTS = sorts(createdAt=(datetime, uuid.UUID))


class NewRoleBinding(Body):
    """A role for an account. team: null is all teams, and what belongs to no team; it has to be said."""

    account_id: uuid.UUID = Field(examples=["5b8e0c0e-6a0e-4c53-8d3c-0d7f0f8c4a52"])
    role: Role = Field(examples=["submitter"])
    team: DnsLabel | None = Field(examples=["search"])


class RoleBindingAnswer(BaseModel):
    """A role binding, and whom it is of."""

    id: str
    accountId: str  # noqa: N815 - as it is in JSON
    kind: str = Field(examples=["user"])
    name: str = Field(examples=["ada"])
    issuer: str | None
    role: str = Field(examples=["submitter"])
    team: str | None = Field(examples=["search"])
    createdAt: str  # noqa: N815


@router.get("/role-bindings", response_model=Listing, responses=responses())
def list_role_bindings(
    session: CurrentSession,
    page: Annotated[ListQuery, _SORTS],
    account_id: Annotated[uuid.UUID | None, Query(alias="accountId")] = None,
    team: DnsLabel | None = None,
) -> Response:
    """Role bindings for the teams whose identities you may see, the oldest first."""
    with session.read() as work:
        teams = session.teams(Permission.READ_IDENTITY, team)
        found = accounts.list_roles(work, page.request, account_id=account_id, team=team, teams=teams)
    return page.answer(found, AccountRole.as_json)


@router.post("/role-bindings", status_code=201, response_model=RoleBindingAnswer, responses=responses())
def bind_role(body: NewRoleBinding, session: CurrentSession) -> Response:
    """Bind a role to an account. It counts with the next request; one that is bound already stays as it is."""
    binding = RoleBinding(body.role, body.team)
    with session.begin() as work:
        require(session.principal, Permission.WRITE_IDENTITY, body.team)
        account = accounts.find(work, body.account_id)
        if account is None:
            raise OperationRefused("accountId", f"there is no account {body.account_id}")
        accounts.bind(work, account, binding, session.principal.actor)
        found = accounts.role_of(work, account, binding)
    return JSONResponse(found.as_json(), 201, {"location": f"/api/v1/role-bindings/{found.id}"})


@router.get("/role-bindings/{binding_id}", response_model=RoleBindingAnswer, responses=responses("not-found"))
def read_role_binding(binding_id: uuid.UUID, session: CurrentSession) -> Response:
    """One role binding."""
    with session.read() as work:
        found = _readable(work, session, binding_id)
    return JSONResponse(found.as_json())


@router.delete("/role-bindings/{binding_id}", status_code=204, responses=responses("not-found"))
def unbind_role(binding_id: uuid.UUID, session: CurrentSession) -> Response:
    """Take a role away. That counts with the next request. The last admin's role stays."""
    with session.begin() as work:
        found = _readable(work, session, binding_id)
        require(session.principal, Permission.WRITE_IDENTITY, found.binding.team)
        account = accounts.get(work, found.account.kind, found.account.id, lock=True)
        accounts.unbind(work, account, found.binding, session.principal.actor)
    return Response(status_code=204)


def _readable(work: UnitOfWork, session: Session, binding_id: uuid.UUID) -> AccountRole:
    """A role binding, for those who may see identities of its team. To others of another team it is not there."""
    if session.principal.teams(Permission.READ_IDENTITY) == frozenset():
        require(session.principal, Permission.READ_IDENTITY, None)
    found = accounts.get_role(work, binding_id)
    absent, read = NotFound(f"there is no role binding {binding_id}"), Permission.READ_IDENTITY
    require_of_team(session.principal, read, read, found.binding.team, absent)
    return found
