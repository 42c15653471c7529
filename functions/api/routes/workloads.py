"""Workloads as they are: what users want to run, how it stands, and what has led there.

See functions.api.routes.workload_changes for the writes.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, JsonValue

from functions.api import workload_examples as examples
from functions.api.paging import Listing, ListQuery, sorts
from functions.api.problems import RequestRefused, responses
from functions.api.requests import router as new_router
from functions.api.session import CurrentSession
from functions.api.workload_access import readable_workload, workload_answer
from shared.errors import NotFound
from shared.models import selector
from shared.models.deployment import RecordedRevision
from shared.models.fields import DnsLabel
from shared.models.identity import Permission
from shared.models.lifecycle import Phase
from shared.models.moments import rfc3339
from shared.models.plan import ActionPlan, PlanFilter
from shared.models.stored import Workload, WorkloadFilter
from shared.operations import action_plans
from shared.operations import workloads as operations
from shared.operations.timeline import TimelineEntry, timeline

if TYPE_CHECKING:
    from shared.policy.decision import DecisionRecord

router = new_router("workloads")

_SORTS = sorts(name=(str, str, str), createdAt=(datetime, uuid.UUID))
_PLAN_SORTS = sorts(createdAt=(datetime, uuid.UUID))
_REVISION_SORTS = sorts(revision=(int,))
_TIMELINE_SORTS = sorts(time=(datetime, str))


class PhaseCounts(BaseModel):
    """Numbers of workloads, a line for each team and phase that has any."""

    items: list[dict[str, Any]] = Field(examples=[[{"team": "search", "phase": "healthy", "workloads": 7}]])


@router.get("/workloads", response_model=Listing, responses=responses() | examples.page(examples.WORKLOAD))
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
        teams = session.teams(Permission.READ_WORKLOADS, team)
        wanted = WorkloadFilter(team, namespace, name, phase, cluster, labels, teams)
        found = operations.list_workloads(work, wanted, page.request)
    return page.answer(found, Workload.as_json)


@router.get("/workloads/phases", response_model=PhaseCounts, responses=responses())
def count_workloads(session: CurrentSession, team: DnsLabel | None = None) -> Response:
    """How many workloads are in each phase, by team; those of the teams that you may read."""
    with session.read() as work:
        teams = session.teams(Permission.READ_WORKLOADS, team)
        if team is not None:
            teams = frozenset({team}) if teams is None else teams & {team}
        found = operations.count_by_phase(work, teams)
    return JSONResponse({"items": [one.as_json() for one in found]})


@router.get("/workloads/{workload_id}", responses=responses("not-found") | examples.READ)
def read_workload(workload_id: uuid.UUID, session: CurrentSession) -> Response:
    """One workload, with its spec."""
    with session.read() as work:
        workload = readable_workload(work, session, workload_id)
    return workload_answer(workload)


@router.get(
    "/workloads/{workload_id}/timeline",
    response_model=Listing,
    responses=responses("not-found") | examples.page(examples.TIMELINE_ENTRY),
)
def read_timeline(
    workload_id: uuid.UUID, session: CurrentSession, page: Annotated[ListQuery, _TIMELINE_SORTS]
) -> Response:
    """What happened to a workload, oldest first: the audit log, and what plans, decisions and revisions add to it.

    Who may read all teams also sees what became of a submission that was never taken in.
    """
    with session.read() as work:
        try:
            found = timeline(work, readable_workload(work, session, workload_id).id, page.request)
        except NotFound:
            if session.principal.teams(Permission.READ_WORKLOADS) is not None:
                raise
            found = timeline(work, workload_id, page.request)
            if page.request.after is None and not found.items:
                raise
    return page.answer(found, TimelineEntry.as_json)


@router.get(
    "/workloads/{workload_id}/plans",
    response_model=Listing,
    responses=responses("not-found") | examples.page(examples.PLAN),
)
def list_plans(workload_id: uuid.UUID, session: CurrentSession, page: Annotated[ListQuery, _PLAN_SORTS]) -> Response:
    """The action plans of a workload. /action-plans has the decision on each."""
    with session.read() as work:
        workload = readable_workload(work, session, workload_id)
        found = action_plans.page(work, PlanFilter(workload_id=workload.id), page.request)
    return page.answer(found, ActionPlan.as_json)


@router.get(
    "/workloads/{workload_id}/explain", responses=responses("not-found") | examples.answer(examples.EXPLANATION, 200)
)
def explain_workload(workload_id: uuid.UUID, session: CurrentSession) -> Response:
    """What policy decided on a workload's plans, oldest first, and what would pass instead of a plan that was denied.

    `wouldPass` rests on the facts of now, and is null for a workload that is not denied.
    """
    with session.read() as work:
        workload = readable_workload(work, session, workload_id)
        decided = operations.get_with_decisions(work, workload.id)
        suggestions = operations.alternatives(work, workload)
    document: dict[str, JsonValue] = {
        "id": str(workload.id),
        "phase": workload.phase.value,
        "reason": workload.reason,
        "decisions": [_decision(one) for one in decided.decisions],
        "wouldPass": None if suggestions is None else [one.as_json() for one in suggestions],
    }
    return JSONResponse(document)


@router.get(
    "/workloads/{workload_id}/deployments",
    response_model=Listing,
    responses=responses("not-found") | examples.page(examples.REVISION),
)
def list_revisions(
    workload_id: uuid.UUID, session: CurrentSession, page: Annotated[ListQuery, _REVISION_SORTS]
) -> Response:
    """The revisions of a workload: what was applied where, the verdict on it, and the moments that it rests on."""
    with session.read() as work:
        found = operations.list_revisions(work, readable_workload(work, session, workload_id), page.request)
    return page.answer(found, RecordedRevision.as_json)


def _decision(one: DecisionRecord) -> dict[str, JsonValue]:
    return {
        "plan": str(one.plan_id),
        "decidedAt": rfc3339(one.decided_at),
        "approved": one.approved,
        "violations": [dict(violation) for violation in one.violations],
        "warnings": [*one.warnings],
    }


def _parsed_selector(text: str) -> tuple[selector.Requirement, ...]:
    try:
        return selector.parse(text)
    except ValueError as error:
        raise RequestRefused("invalid", f"labelSelector: {error}", ("labelSelector", str(error))) from None
