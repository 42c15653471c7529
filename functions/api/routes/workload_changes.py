"""Changes of workloads: create, replace, patch and delete; scale, restart and roll back.

A write is carried out by the chain: it answers 202 with the resource as it is then, and `plan.proposed` goes out with
the commit. What may be done depends on the team of the workload that was read.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Annotated

from fastapi import Body, Request, Response
from pydantic import ConfigDict, Field, JsonValue

from events.rollout import proposal
from functions.api import workload_examples as examples
from functions.api.idempotency import IDEMPOTENCY, IdempotencyKey
from functions.api.preconditions import PRECONDITIONS, MayMatch, MustMatch, Precondition
from functions.api.problems import responses
from functions.api.requests import router as new_router
from functions.api.session import CurrentSession, Session
from functions.api.waiting import NO_WAIT, PollResult, Wait, WaitQuery
from functions.api.workload_access import readable_workload, require_on_workload, workload_answer, workload_etag
from shared.models.fields import Wire
from shared.models.identity import Permission
from shared.models.lifecycle import GOOD_PHASES, SETTLED_PHASES, Phase
from shared.models.plan import ActionPlan
from shared.models.replicas import Replicas
from shared.models.stored import Workload
from shared.models.workload import WorkloadSpec
from shared.operations import edit
from shared.operations import workloads as operations
from shared.operations.authorize import require
from shared.operations.rollback import RollBackWorkload, roll_back
from shared.operations.submit import SubmitWorkload
from shared.operations.withdraw import WithdrawWorkload, withdraw

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.store.unit_of_work import UnitOfWork

router = new_router("workloads")

_MERGE_PATCH = "application/merge-patch+json"
_CHANGES = ("not-found", *IDEMPOTENCY, PRECONDITIONS[0])


class Scale(Wire):
    """How many replicas there should be: a number, or a range in which an autoscaler chooses."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"replicas": 3}]})

    replicas: Replicas


class Rollback(Wire):
    """Which revision to go back to; without one, the newest that was healthy before what runs."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"revision": 1}]})

    revision: Annotated[int, Field(ge=1, le=2**31 - 1, strict=True)] | None = None


@router.post("/workloads", status_code=202, responses=responses(*IDEMPOTENCY) | examples.CHANGED)
def create_workload(
    spec: Annotated[WorkloadSpec, Body(examples=[examples.SPEC])],
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


@router.put(
    "/workloads/{workload_id}",
    status_code=202,
    responses=responses("not-found", *IDEMPOTENCY, *PRECONDITIONS) | examples.CHANGED,
)
def replace_workload(
    workload_id: uuid.UUID,
    spec: Annotated[WorkloadSpec, Body(examples=[examples.SPEC])],
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


@router.patch("/workloads/{workload_id}", status_code=202, responses=responses(*_CHANGES) | examples.CHANGED)
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


@router.delete("/workloads/{workload_id}", status_code=202, responses=responses(*_CHANGES) | examples.CHANGED)
def delete_workload(
    workload_id: uuid.UUID, request: Request, session: CurrentSession, match: MayMatch, key: IdempotencyKey
) -> Response:
    """Removes what runs of a workload; its history stays. 200 when nothing is left of it already."""

    def change(work: UnitOfWork, workload: Workload) -> ActionPlan | None:
        spec = workload.spec
        command = WithdrawWorkload(spec.team, spec.namespace, spec.name, session.cause)
        return withdraw(work, command, session.principal.actor)

    return _changed(request, session, workload_id, Permission.WRITE_WORKLOADS, match, key, NO_WAIT, change)


@router.post("/workloads/{workload_id}/scale", status_code=202, responses=responses(*_CHANGES) | examples.CHANGED)
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


@router.post("/workloads/{workload_id}/restart", status_code=202, responses=responses(*_CHANGES) | examples.CHANGED)
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


@router.post("/workloads/{workload_id}/rollback", status_code=202, responses=responses(*_CHANGES) | examples.CHANGED)
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
            require_on_workload(session, permission, workload)
            match.check(workload_etag(workload))
            answer = key.keep(work, _accepted(work, session, request, workload_id, change(work, workload)))
    return _waited(wait, session, answer, workload_id, reached)


def _accepted(
    work: UnitOfWork, session: Session, request: Request, workload_id: uuid.UUID, plan: ActionPlan | None
) -> Response:
    """202 with the workload as it is with its plan; 200 when nothing is to be done."""
    if plan is not None:
        session.tell(work, proposal(plan))
    answer = workload_answer(operations.lock(work, workload_id), 202 if plan is not None else 200)
    answer.headers["location"] = request.url_for("read_workload", workload_id=str(workload_id)).path
    return answer


def _waited(
    wait: Wait, session: Session, first: Response, workload_id: uuid.UUID, reached: tuple[Phase, ...] = GOOD_PHASES
) -> Response:
    """The answer once the workload has settled. What was submitted later, or withdrawn, is not waited for."""
    if not wait.wanted:
        return first
    generation = json.loads(bytes(first.body))["generation"]

    def poll() -> PollResult:
        with session.read() as work:
            workload = readable_workload(work, session, workload_id)
        overtaken = workload.withdrawn or workload.generation > generation
        done = workload.phase in reached and not overtaken
        settled = overtaken or workload.phase in SETTLED_PHASES
        answer = workload_answer(workload, 200 if done else 202)
        answer.headers["location"] = first.headers["location"]
        return PollResult(answer, settled)

    return wait.answer(first, poll)
