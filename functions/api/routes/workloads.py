"""Workloads: what users want to run, and how it stands."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from fastapi import Query, Response
from fastapi.responses import JSONResponse

from functions.api.paging import Listing, ListQuery, sorts
from functions.api.preconditions import etag
from functions.api.problems import RequestRefused, responses
from functions.api.requests import router as new_router
from functions.api.session import CurrentSession, Session
from shared.errors import NotFound
from shared.models import selector
from shared.models.fields import DnsLabel
from shared.models.identity import Permission
from shared.models.lifecycle import Phase
from shared.models.stored import Workload, WorkloadFilter
from shared.operations import workloads as operations
from shared.operations.authorize import require, require_of_team
from shared.operations.workloads import WorkloadReference

if TYPE_CHECKING:
    from shared.store.unit_of_work import UnitOfWork

router = new_router("workloads")

_SORTS = sorts(name=(str, str, str), createdAt=(datetime, uuid.UUID))


@router.get("/workloads", response_model=Listing, responses=responses())
def list_workloads(
    session: CurrentSession,
    page: Annotated[ListQuery, _SORTS],
    team: DnsLabel | None = None,
    namespace: DnsLabel | None = None,
    name: DnsLabel | None = None,
    phase: Phase | None = None,
    cluster: DnsLabel | None = None,
    label_selector: Annotated[
        str | None, Query(alias="labelSelector", max_length=4000, examples=["app=chat,tier!=web,env in (dev,test)"])
    ] = None,
) -> Response:
    """Workloads of the teams whose workloads you may read. `name` sorts by team, namespace and name."""
    labels = _parsed_selector(label_selector or "")
    with session.read() as work:
        teams = session.principal.teams(Permission.READ_WORKLOADS)
        if teams is not None and not teams:
            require(session.principal, Permission.READ_WORKLOADS, team)
        wanted = WorkloadFilter(team, namespace, name, phase, cluster, labels, teams)
        found = operations.list_workloads(work, wanted, page.request)
    return page.answer(found, Workload.as_json)


@router.get("/workloads/{workload_id}", responses=responses("not-found"))
def read_workload(workload_id: uuid.UUID, session: CurrentSession) -> Response:
    """One workload, with its spec."""
    with session.read() as work:
        workload = _readable(work, session, workload_id)
    return _answer(workload)


def _readable(work: UnitOfWork, session: Session, workload_id: uuid.UUID) -> Workload:
    absent = NotFound(f"there is no workload {workload_id}")
    workload = operations.get(work, WorkloadReference(str(workload_id)))
    require_of_team(session.principal, Permission.READ_WORKLOADS, Permission.READ_WORKLOADS, workload.spec.team, absent)
    return workload


def _answer(workload: Workload) -> Response:
    return JSONResponse(workload.as_json(spec=True), 200, {"etag": _etag(workload)})


def _etag(workload: Workload) -> str:
    return etag(workload.id, workload.updated_at)


def _parsed_selector(text: str) -> tuple[selector.Requirement, ...]:
    try:
        return selector.parse(text)
    except ValueError as error:
        raise RequestRefused("invalid", f"labelSelector: {error}", ("labelSelector", str(error))) from None
