"""Action plans: what is to be done to workloads, what policy decided on it, and what a person says to it."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from fastapi import Response
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, Field

from events.plan import FindingData, PlanDenied, PlanReconsidered
from functions.api.idempotency import IDEMPOTENCY, IdempotencyKey
from functions.api.paging import Listing, ListQuery, sorts
from functions.api.problems import responses
from functions.api.requests import Body
from functions.api.requests import router as new_router
from functions.api.session import CurrentSession
from shared.errors import NotFound
from shared.eventing.event import Outgoing
from shared.models.fields import DnsLabel, without_nul
from shared.models.identity import Permission
from shared.models.lifecycle import PlanStatus
from shared.models.moments import rfc3339
from shared.models.plan import ActionPlan, PlanFilter
from shared.operations import action_plans as operations
from shared.operations import approvals
from shared.operations.approvals import AnswerApproval
from shared.operations.authorize import require_of_team

if TYPE_CHECKING:
    from pydantic import JsonValue

    from shared.operations.action_plans import ExplainedPlan
    from shared.policy.decision import DecisionRecord, Finding
    from shared.policy.explain import Suggestion

router = new_router("action-plans")

_SORTS = sorts(createdAt=(datetime, uuid.UUID))
_MAX_MESSAGE = 1000


class ApprovalAnswer(Body):
    """Why a plan is approved or rejected."""

    reason: Annotated[
        str, Field(max_length=_MAX_MESSAGE, examples=["needed for the launch"]), AfterValidator(without_nul)
    ] = ""


@router.get("/action-plans", response_model=Listing, responses=responses())
def list_action_plans(
    session: CurrentSession,
    page: Annotated[ListQuery, _SORTS],
    team: DnsLabel | None = None,
    status: PlanStatus | None = None,
    workload: uuid.UUID | None = None,
) -> Response:
    """Plans of the teams whose workloads you may read, oldest first."""
    with session.read() as work:
        teams = session.teams(Permission.READ_WORKLOADS, team)
        found = operations.page(work, PlanFilter(team, status, workload, teams), page.request)
    return page.answer(found, ActionPlan.as_json)


@router.get("/action-plans/{plan_id}", responses=responses("not-found", "conflict"))
def read_action_plan(plan_id: uuid.UUID, session: CurrentSession) -> Response:
    """One plan with the decision on it: the facts, the violations, and what would pass instead."""
    with session.read() as work:
        absent = NotFound(f"there is no action plan {plan_id}")
        plan = operations.get(work, plan_id)
        require_of_team(session.principal, Permission.READ_WORKLOADS, Permission.READ_WORKLOADS, plan.team, absent)
        found = operations.explain(work, plan)
    return JSONResponse(_explained(found))


@router.post(
    "/action-plans/{plan_id}/approve", status_code=202, responses=responses("not-found", "conflict", *IDEMPOTENCY)
)
def approve_action_plan(
    plan_id: uuid.UUID, session: CurrentSession, key: IdempotencyKey, body: ApprovalAnswer | None = None
) -> Response:
    """Approves a plan that is `awaiting_approval`; policy then decides it again. Not for who proposed it."""
    with session.begin() as work:
        if (earlier := key.earlier(work, session.principal)) is not None:
            return earlier
        plan = approvals.approve(work, AnswerApproval(plan_id, body.reason if body else ""), session.principal)
        session.tell(work, Outgoing(PlanReconsidered.of(plan), str(plan.workload_id)))
        return key.keep(work, JSONResponse(plan.as_json(), 202, {"location": f"/api/v1/action-plans/{plan.id}"}))


@router.post("/action-plans/{plan_id}/reject", responses=responses("not-found", "conflict", *IDEMPOTENCY))
def reject_action_plan(
    plan_id: uuid.UUID, session: CurrentSession, key: IdempotencyKey, body: ApprovalAnswer | None = None
) -> Response:
    """Denies a plan that is `awaiting_approval`. Not for who proposed it: they withdraw what they submitted."""
    with session.begin() as work:
        if (earlier := key.earlier(work, session.principal)) is not None:
            return earlier
        rejected = approvals.reject(work, AnswerApproval(plan_id, body.reason if body else ""), session.principal)
        plan, finding = rejected.plan, rejected.finding
        violation = FindingData(
            policy=finding.policy,
            rule=finding.rule,
            field=finding.field,
            limit=finding.limit,
            observed=finding.observed,
            message=finding.message,
        )
        session.tell(work, Outgoing(PlanDenied.of(plan, violations=(violation,)), str(plan.workload_id)))
        return key.keep(work, JSONResponse(plan.as_json()))


def finding_as_json(finding: Finding) -> dict[str, JsonValue]:
    """A finding in the words of the plan.denied event."""
    return {
        "policy": finding.policy,
        "rule": finding.rule,
        "field": finding.field,
        "limit": finding.limit,
        "observed": finding.observed,
        "message": finding.message,
        "until": rfc3339(finding.until),
    }


def suggestion_as_json(suggestion: Suggestion) -> dict[str, JsonValue]:
    """A suggestion; a change that it does not make is null."""
    change = suggestion.change
    return {
        "message": suggestion.message,
        "replicas": change.replicas,
        "sku": change.sku,
        "cluster": change.cluster,
        "at": rfc3339(change.at),
    }


def _explained(found: ExplainedPlan) -> dict[str, JsonValue]:
    would_pass: JsonValue = None
    if found.would_pass is not None:
        would_pass = [suggestion_as_json(one) for one in found.would_pass]
    decision = None if found.decision is None else _decision(found.decision)
    return {**found.plan.as_json(), "decision": decision, "wouldPass": would_pass}


def _decision(record: DecisionRecord) -> dict[str, JsonValue]:
    return {
        "approved": record.approved,
        "violations": [dict(one) for one in record.violations],
        "warnings": list(record.warnings),
        "determining": list(record.determining),
        "dryRun": [dict(one) for one in record.dry_run],
        "facts": dict(record.facts),
        "durationMicroseconds": record.duration_us,
        "decidedAt": rfc3339(record.decided_at),
    }
