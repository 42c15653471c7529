"""Workloads: what users want to run, and how it stands.

A write is carried out by the chain: it answers 202 with the resource as it is then, and `plan.proposed` goes out with
the commit. What may be done depends on the team of the workload that was read.
"""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Body, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from events.rollout import proposal
from functions.api.idempotency import IDEMPOTENCY, IdempotencyKey
from functions.api.paging import Listing, ListQuery, sorts
from functions.api.preconditions import PRECONDITIONS, MayMatch, MustMatch, Precondition, etag
from functions.api.problems import RequestRefused, responses
from functions.api.requests import router as new_router
from functions.api.session import CurrentSession, Session
from functions.api.waiting import NO_WAIT, Outlook, Wait, WaitQuery
from shared.errors import NotFound
from shared.models import selector
from shared.models.deployment import RecordedRevision
from shared.models.fields import DnsLabel, Wire
from shared.models.identity import Permission
from shared.models.lifecycle import GOOD_PHASES, SETTLED_PHASES, Phase
from shared.models.moments import rfc3339
from shared.models.plan import ActionPlan, PlanFilter
from shared.models.stored import Workload, WorkloadFilter
from shared.models.workload import Replicas, WorkloadSpec
from shared.operations import action_plans, edit
from shared.operations import workloads as operations
from shared.operations.authorize import require, require_of_team
from shared.operations.rollback import RollBackWorkload, roll_back
from shared.operations.submit import SubmitWorkload
from shared.operations.timeline import TimelineEntry, timeline
from shared.operations.withdraw import WithdrawWorkload, withdraw
from shared.operations.workloads import WorkloadReference

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.policy.decision import DecisionRecord
    from shared.store.unit_of_work import UnitOfWork

router = new_router("workloads")

_SORTS = sorts(name=(str, str, str), createdAt=(datetime, uuid.UUID))
_PLAN_SORTS = sorts(createdAt=(datetime, uuid.UUID))
_REVISION_SORTS = sorts(revision=(int,))
_TIMELINE_SORTS = sorts(time=(datetime, str))
_MERGE_PATCH = "application/merge-patch+json"
_CHANGES = ("not-found", *IDEMPOTENCY, PRECONDITIONS[0])


_EXAMPLE = {
    "id": "9403eeb2-8848-53a3-90c2-1095c047864f",
    "name": "chat",
    "team": "search",
    "namespace": "search",
    "type": "inference",
    "phase": "proposed",
    "reason": "",
    "generation": 1,
    "revision": 0,
    "replicas": 2,
    "gpus": 2,
    "usdPerHour": "2.24",
    "cluster": "local",
    "image": "nginx:1.29",
    "plan": "5f0c3f6e-7a53-5c5a-9d57-0e6f6f1b6a11",
    "withdrawn": False,
    "createdAt": "2026-11-29T09:00:00.000Z",
    "updatedAt": "2026-11-29T09:00:00.000Z",
}
_SPEC = {
    "name": "chat",
    "type": "inference",
    "image": "nginx:1.29",
    "team": "search",
    "namespace": "search",
    "replicas": 2,
    "resources": {"cpu": "4", "memory": "8Gi", "gpu": {"count": 1, "sku": "L4"}},
}
_ENTRY = {
    "at": "2026-11-29T09:00:00.000Z",
    "what": "plan.approved",
    "detail": {"plan": "5f0c3f6e-7a53-5c5a-9d57-0e6f6f1b6a11", "policies": ["gpus"], "warnings": []},
}
_PLAN = {
    "id": "5f0c3f6e-7a53-5c5a-9d57-0e6f6f1b6a11",
    "workload": "9403eeb2-8848-53a3-90c2-1095c047864f",
    "team": "search",
    "generation": 1,
    "source": "user",
    "status": "executed",
    "reason": "",
    "verb": "deploy",
    "cluster": "local",
    "replicas": 2,
    "revision": None,
    "gpus": 2,
    "sku": "L4",
    "usdPerHour": "2.24",
    "priority": 0,
    "proposedBy": "user:ada",
    "createdAt": "2026-11-29T09:00:00.000Z",
    "queuedAt": None,
    "waitsFor": [],
    "approval": None,
}
_REVISION = {
    "revision": 1,
    "generation": 1,
    "plan": "5f0c3f6e-7a53-5c5a-9d57-0e6f6f1b6a11",
    "cluster": "local",
    "object": "Deployment search/chat",
    "image": "nginx:1.29",
    "replicas": 2,
    "rollbackOf": None,
    "status": "healthy",
    "reason": "",
    "intendedAt": "2026-11-29T09:00:01.000Z",
    "appliedAt": "2026-11-29T09:00:01.200Z",
    "deadlineAt": "2026-11-29T09:10:01.200Z",
    "readySince": "2026-11-29T09:00:09.000Z",
    "healthyAt": "2026-11-29T09:00:19.000Z",
    "observedAt": "2026-11-29T09:00:19.000Z",
}


_EXPLANATION = {
    "id": "9403eeb2-8848-53a3-90c2-1095c047864f",
    "phase": "denied",
    "reason": "team search would hold 6 H100; the limit is 4",
    "decisions": [
        {
            "plan": "5f0c3f6e-7a53-5c5a-9d57-0e6f6f1b6a11",
            "decidedAt": "2026-11-29T09:00:00.000Z",
            "approved": False,
            "violations": [{"policy": "gpus", "rule": "quota", "message": "team search would hold 6 H100"}],
            "warnings": [],
        }
    ],
    "wouldPass": [{"message": "4 replicas", "replicas": 4, "sku": None, "cluster": None, "at": None}],
}


def _shows(example: object, *statuses: int, **headers: str) -> dict[int | str, dict[str, Any]]:
    """What a route declares of its own answers."""
    described = {name: {"schema": {"type": "string"}, "description": said} for name, said in headers.items()}
    return {
        status: {
            "description": _SAYS[status],
            "content": {"application/json": {"example": example}},
            "headers": described,
        }
        for status in statuses
    }


_SAYS = {200: "As it is now", 202: "Taken in: the chain carries it out"}
_ETAG_IS = "What If-Match takes"
_SHOWN = _shows({**_EXAMPLE, "spec": _SPEC}, 200, ETag=_ETAG_IS)
_TAKEN = _shows({**_EXAMPLE, "spec": _SPEC}, 200, 202, ETag=_ETAG_IS, Location="The workload")


def _lists(example: object) -> dict[int | str, dict[str, Any]]:
    return _shows({"items": [example], "next": None}, 200, Link='The next page, as rel="next"')


class PhaseCounts(BaseModel):
    """Numbers of workloads, a line for each team and phase that has any."""

    items: list[dict[str, Any]] = Field(examples=[[{"team": "search", "phase": "healthy", "workloads": 7}]])


class Scale(Wire):
    """How many replicas there should be: a number, or a range in which an autoscaler chooses."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"replicas": 3}]})

    replicas: Replicas


class Rollback(Wire):
    """Which revision to go back to; without one, the newest that was healthy before what runs."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"revision": 1}]})

    revision: Annotated[int, Field(ge=1, le=2**31 - 1, strict=True)] | None = None


@router.get("/workloads", response_model=Listing, responses=responses() | _lists(_EXAMPLE))
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


@router.post("/workloads", status_code=202, responses=responses(*IDEMPOTENCY) | _TAKEN)
def create_workload(
    spec: Annotated[WorkloadSpec, Body(examples=[_SPEC])],
    request: Request,
    session: CurrentSession,
    key: IdempotencyKey,
    wait: WaitQuery,
) -> Response:
    """Creates a workload. One that there is, is replaced or patched under its id."""
    with session.begin() as work:
        if (earlier := key.earlier(work, session.principal)) is None:
            require(session.principal, Permission.WRITE_WORKLOADS, spec.team)
            bindings = session.bindings(work)
            plan = edit.create(work, SubmitWorkload(spec, session.cause), session.principal.actor, bindings)
            earlier = key.keep(work, _accepted(work, session, request, spec.id, plan))
    return _waited(wait, session, earlier, spec.id)


@router.get("/workloads/{workload_id}", responses=responses("not-found") | _SHOWN)
def read_workload(workload_id: uuid.UUID, session: CurrentSession) -> Response:
    """One workload, with its spec."""
    with session.read() as work:
        workload = _readable(work, session, workload_id)
    return _answer(workload)


@router.get(
    "/workloads/{workload_id}/timeline", response_model=Listing, responses=responses("not-found") | _lists(_ENTRY)
)
def read_timeline(
    workload_id: uuid.UUID, session: CurrentSession, page: Annotated[ListQuery, _TIMELINE_SORTS]
) -> Response:
    """What happened to a workload, oldest first: the audit log, and what plans, decisions and revisions add to it.

    Who may read all teams also sees what became of a submission that was never taken in.
    """
    with session.read() as work:
        try:
            found = timeline(work, _readable(work, session, workload_id).id, page.request)
        except NotFound:
            if session.principal.teams(Permission.READ_WORKLOADS) is not None:
                raise
            found = timeline(work, workload_id, page.request)
            if page.request.after is None and not found.items:
                raise
    return page.answer(found, TimelineEntry.as_json)


@router.get("/workloads/{workload_id}/plans", response_model=Listing, responses=responses("not-found") | _lists(_PLAN))
def list_plans(workload_id: uuid.UUID, session: CurrentSession, page: Annotated[ListQuery, _PLAN_SORTS]) -> Response:
    """The action plans of a workload. /action-plans has the decision on each."""
    with session.read() as work:
        workload = _readable(work, session, workload_id)
        found = action_plans.page(work, PlanFilter(workload_id=workload.id), page.request)
    return page.answer(found, ActionPlan.as_json)


@router.get("/workloads/{workload_id}/explain", responses=responses("not-found") | _shows(_EXPLANATION, 200))
def explain_workload(workload_id: uuid.UUID, session: CurrentSession) -> Response:
    """What policy decided on a workload's plans, oldest first, and what would pass instead of a plan that was denied.

    `wouldPass` rests on the facts of now, and is null for a workload that is not denied.
    """
    with session.read() as work:
        workload = _readable(work, session, workload_id)
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
    "/workloads/{workload_id}/deployments", response_model=Listing, responses=responses("not-found") | _lists(_REVISION)
)
def list_revisions(
    workload_id: uuid.UUID, session: CurrentSession, page: Annotated[ListQuery, _REVISION_SORTS]
) -> Response:
    """The revisions of a workload: what was applied where, the verdict on it, and the moments that it rests on."""
    with session.read() as work:
        found = operations.list_revisions(work, _readable(work, session, workload_id), page.request)
    return page.answer(found, RecordedRevision.as_json)


@router.put(
    "/workloads/{workload_id}", status_code=202, responses=responses("not-found", *IDEMPOTENCY, *PRECONDITIONS) | _TAKEN
)
def replace_workload(
    workload_id: uuid.UUID,
    spec: Annotated[WorkloadSpec, Body(examples=[_SPEC])],
    request: Request,
    session: CurrentSession,
    match: MustMatch,
    key: IdempotencyKey,
    wait: WaitQuery,
) -> Response:
    """Replaces a workload as a whole: what the body leaves out gets its default."""

    def change(work: UnitOfWork, workload: Workload) -> ActionPlan | None:
        command = edit.ReplaceWorkload(workload, spec, session.cause)
        return edit.replace(work, command, session.principal.actor, session.bindings(work))

    return _changed(request, session, workload_id, Permission.WRITE_WORKLOADS, match, key, wait, change)


@router.patch("/workloads/{workload_id}", status_code=202, responses=responses(*_CHANGES) | _TAKEN)
def patch_workload(
    workload_id: uuid.UUID,
    patch: Annotated[
        dict[str, JsonValue], Body(media_type=_MERGE_PATCH, examples=[{"image": "nginx:1.29", "replicas": 3}])
    ],
    request: Request,
    session: CurrentSession,
    match: MayMatch,
    key: IdempotencyKey,
    wait: WaitQuery,
) -> Response:
    """Changes what the body names, as a JSON merge patch (RFC 7396): null gives a field its default."""

    def change(work: UnitOfWork, workload: Workload) -> ActionPlan | None:
        command = edit.PatchWorkload(workload, patch, session.cause)
        return edit.patch(work, command, session.principal.actor, session.bindings(work))

    return _changed(request, session, workload_id, Permission.WRITE_WORKLOADS, match, key, wait, change)


@router.delete("/workloads/{workload_id}", status_code=202, responses=responses(*_CHANGES) | _TAKEN)
def delete_workload(
    workload_id: uuid.UUID, request: Request, session: CurrentSession, match: MayMatch, key: IdempotencyKey
) -> Response:
    """Removes what runs of a workload; its history stays. 200 when nothing is left of it already."""

    def change(work: UnitOfWork, workload: Workload) -> ActionPlan | None:
        spec = workload.spec
        command = WithdrawWorkload(spec.team, spec.namespace, spec.name, session.cause)
        return withdraw(work, command, session.principal.actor)

    return _changed(request, session, workload_id, Permission.WRITE_WORKLOADS, match, key, NO_WAIT, change)


@router.post("/workloads/{workload_id}/scale", status_code=202, responses=responses(*_CHANGES) | _TAKEN)
def scale_workload(
    workload_id: uuid.UUID,
    scale: Scale,
    request: Request,
    session: CurrentSession,
    match: MayMatch,
    key: IdempotencyKey,
    wait: WaitQuery,
) -> Response:
    """Sets the replicas, and nothing else."""

    def change(work: UnitOfWork, workload: Workload) -> ActionPlan | None:
        command = edit.PatchWorkload(workload, scale.model_dump(mode="json", by_alias=True), session.cause)
        return edit.patch(work, command, session.principal.actor, session.bindings(work))

    return _changed(request, session, workload_id, Permission.WRITE_WORKLOADS, match, key, wait, change)


@router.post("/workloads/{workload_id}/restart", status_code=202, responses=responses(*_CHANGES) | _TAKEN)
def restart_workload(
    workload_id: uuid.UUID,
    request: Request,
    session: CurrentSession,
    match: MayMatch,
    key: IdempotencyKey,
    wait: WaitQuery,
) -> Response:
    """Replaces all pods, one after the other. A training or batch workload runs once more."""

    def change(work: UnitOfWork, workload: Workload) -> ActionPlan | None:
        command = edit.RestartWorkload(workload, session.cause)
        return edit.restart(work, command, session.principal.actor, session.bindings(work))

    return _changed(request, session, workload_id, Permission.OPERATE_WORKLOADS, match, key, wait, change)


@router.post("/workloads/{workload_id}/rollback", status_code=202, responses=responses(*_CHANGES) | _TAKEN)
def roll_back_workload(
    workload_id: uuid.UUID,
    request: Request,
    session: CurrentSession,
    match: MayMatch,
    key: IdempotencyKey,
    wait: WaitQuery,
    rollback: Rollback | None = None,
) -> Response:
    """Restores a revision that was healthy. The workload's spec stays what it is."""

    def change(work: UnitOfWork, workload: Workload) -> ActionPlan | None:
        command = RollBackWorkload(workload, session.cause, rollback.revision if rollback else None)
        return roll_back(work, command, session.principal.actor)

    reached = (*GOOD_PHASES, Phase.ROLLED_BACK)
    return _changed(request, session, workload_id, Permission.OPERATE_WORKLOADS, match, key, wait, change, reached)


def _changed(
    request: Request,
    session: Session,
    workload_id: uuid.UUID,
    permission: Permission,
    match: Precondition,
    key: IdempotencyKey,
    wait: Wait,
    change: Callable[[UnitOfWork, Workload], ActionPlan | None],
    reached: tuple[Phase, ...] = GOOD_PHASES,
) -> Response:
    """Carries out a change of a workload: once under its key, by who may, in the state that they have seen."""
    with session.begin() as work:
        if (answer := key.earlier(work, session.principal)) is None:
            workload = operations.lock(work, workload_id)
            _require(session, permission, workload)
            match.check(_etag(workload))
            answer = key.keep(work, _accepted(work, session, request, workload_id, change(work, workload)))
    return _waited(wait, session, answer, workload_id, reached)


def _accepted(
    work: UnitOfWork, session: Session, request: Request, workload_id: uuid.UUID, plan: ActionPlan | None
) -> Response:
    """202 with the workload as it is with its plan; 200 when nothing is to be done."""
    if plan is not None:
        session.tell(work, proposal(plan))
    answer = _answer(operations.lock(work, workload_id), 202 if plan is not None else 200)
    answer.headers["location"] = request.url_for("read_workload", workload_id=str(workload_id)).path
    return answer


def _waited(
    wait: Wait, session: Session, first: Response, workload_id: uuid.UUID, reached: tuple[Phase, ...] = GOOD_PHASES
) -> Response:
    """The answer once the workload has settled. What was submitted later, or withdrawn, is not waited for."""
    if not wait.wanted:
        return first
    generation = json.loads(bytes(first.body))["generation"]

    def look() -> Outlook:
        with session.read() as work:
            workload = _readable(work, session, workload_id)
        overtaken = workload.withdrawn or workload.generation > generation
        done = workload.phase in reached and not overtaken
        settled = overtaken or workload.phase in SETTLED_PHASES
        answer = _answer(workload, 200 if done else 202)
        answer.headers["location"] = first.headers["location"]
        return Outlook(answer, settled)

    return wait.answer(first, look)


def _decision(one: DecisionRecord) -> dict[str, JsonValue]:
    return {
        "plan": str(one.plan_id),
        "decidedAt": rfc3339(one.decided_at),
        "approved": one.approved,
        "violations": [dict(violation) for violation in one.violations],
        "warnings": [*one.warnings],
    }


def _readable(work: UnitOfWork, session: Session, workload_id: uuid.UUID) -> Workload:
    workload = operations.get(work, WorkloadReference(str(workload_id)))
    _require(session, Permission.READ_WORKLOADS, workload)
    return workload


def _require(session: Session, permission: Permission, workload: Workload) -> None:
    absent = NotFound(f"there is no workload {workload.id}")
    require_of_team(session.principal, Permission.READ_WORKLOADS, permission, workload.spec.team, absent)


def _answer(workload: Workload, status: int = 200) -> Response:
    return JSONResponse(workload.as_json(spec=True), status, {"etag": _etag(workload)})


def _etag(workload: Workload) -> str:
    return etag(workload.id, workload.updated_at)


def _parsed_selector(text: str) -> tuple[selector.Requirement, ...]:
    try:
        return selector.parse(text)
    except ValueError as error:
        raise RequestRefused("invalid", f"labelSelector: {error}", ("labelSelector", str(error))) from None
