"""Evaluate a plan: hold it against policy, and reserve what an approved plan takes up.

Everything that decides is read in the deciding transaction: the plan and its workload from their rows, usage from the
ledger after the scopes that it counts in were locked, the policy set by its revision, which stays as it is until the
commit. A plan that only quota or capacity refuses waits in the queue, when its workload asks for that. One that would
pass but for a person's approval awaits that, and holds nothing meanwhile.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from shared import tracing
from shared.errors import OperationRefused
from shared.models.lifecycle import ANNOUNCE_AGAIN, UNDECIDED_PLANS, Phase, PlanStatus
from shared.models.reservation import Reservation
from shared.operations import queue
from shared.operations.adopt import adopt
from shared.operations.plan_view import applicable_policies, assess, stored_plan_view
from shared.operations.reservations import lines_to_retain, settle
from shared.operations.supersede import supersede
from shared.policy import recorded
from shared.policy.decision import DecisionRecord, Finding, reason
from shared.policy.queue import QueueEntry, held_back
from shared.policy.resources import released
from shared.tracing import SpanKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from pydantic import JsonValue

    from shared.models.actor import Actor
    from shared.models.plan import ActionPlan
    from shared.models.stored import Workload
    from shared.operations.adopt import OutsidePlan
    from shared.operations.bindings import BindingCache
    from shared.operations.plan_view import Assessment
    from shared.operations.policy_cache import PolicyCache
    from shared.operations.queue import SupersededPlan
    from shared.policy.facts import Facts
    from shared.store.ledger import Changes
    from shared.store.unit_of_work import UnitOfWork

HOLD = timedelta(minutes=10)
"""How long an approved plan may wait for its execution before it is proposed again."""

SUPERSEDED_RULE = "superseded"
"""The rule that a finding names when a newer plan took the place of this one."""


@dataclass(frozen=True)
class EvaluatePlan:
    """Which plan of which workload. cause: names what led to it; the id of the decision's record follows from it.

    outside: what the plan is, when neither intake nor verification made it.
    """

    workload_id: uuid.UUID
    plan_id: uuid.UUID
    cause: str
    outside: OutsidePlan | None = None


class EvaluationOutcome(StrEnum):
    """What became of a plan."""

    APPROVED = "approved"
    DENIED = "denied"
    QUEUED = "queued"
    STILL_QUEUED = "still_queued"
    AWAITING_APPROVAL = "awaiting_approval"
    STILL_AWAITING_APPROVAL = "still_awaiting_approval"
    SUPERSEDED = "superseded"
    DECIDED_BEFORE = "decided_before"


@dataclass(frozen=True)
class Evaluation:
    """An outcome, with the findings that led to it.

    waits_for: what a queued plan waits for; see queue.waits_for. approve_by: until when a person may approve the plan.
    released: what others may take now, with the amount
    where that is known; see shared.policy.resources.released. superseded: other plans that left the queue.
    """

    outcome: EvaluationOutcome
    plan: ActionPlan
    violations: Sequence[Finding] = ()
    warnings: Sequence[str] = ()
    dry_run: Sequence[Finding] = ()
    waits_for: Sequence[str] = ()
    approve_by: datetime | None = None
    released: Mapping[str, int | None] = field(default_factory=dict)
    superseded: Sequence[SupersededPlan] = ()


def evaluate(
    work: UnitOfWork, command: EvaluatePlan, actor: Actor, policies: PolicyCache, bindings: BindingCache
) -> Evaluation:
    """Decides one plan. Raises OperationRefused for a plan that does not exist or is not about this workload."""
    named = {"sentinel.workload.id": str(command.workload_id), "sentinel.plan.id": str(command.plan_id)}
    with tracing.span("decide", SpanKind.INTERNAL, named) as span:
        evaluation = _evaluate(work, command, actor, policies, bindings)
        span.set({"sentinel.verdict": evaluation.outcome.value})
        return evaluation


def _evaluate(
    work: UnitOfWork, command: EvaluatePlan, actor: Actor, policies: PolicyCache, bindings: BindingCache
) -> Evaluation:
    workload = work.workloads.get(command.workload_id, lock=True)
    if workload is None:
        raise OperationRefused("workload", f"there is no workload {command.workload_id}")
    plan, queued = work.plans.get_to_decide(command.plan_id, workload.id)
    if plan is None:
        if command.outside is None:
            raise OperationRefused("plan", f"there is no plan {command.plan_id}")
        plan, workload = adopt(work, command.plan_id, command.outside, workload, bindings.current(work))
    if plan.workload_id != workload.id:
        raise OperationRefused("plan", f"plan {plan.id} is not about workload {workload.id}")
    if plan.status not in UNDECIDED_PLANS:
        return Evaluation(EvaluationOutcome.DECIDED_BEFORE, plan)
    if workload.queued_plan_id == plan.id:  # a rollback goes first
        return Evaluation(EvaluationOutcome.DECIDED_BEFORE, plan)
    if workload.plan_id != plan.id:
        return superseded(queue.SupersededPlan(plan, workload.plan_id, supersede(work, plan, workload, actor)))
    return _decide(work, command, plan, workload, queued, actor, policies)


def superseded(ended: SupersededPlan) -> Evaluation:
    """The outcome for a plan that a newer one replaced."""
    plan = ended.plan
    finding = Finding("", SUPERSEDED_RULE, "plan", str(ended.newer), str(plan.id), ended.reason)
    less = _released_on_leaving(plan)
    return Evaluation(EvaluationOutcome.SUPERSEDED, plan, violations=(finding,), released=less)


def _released_on_leaving(plan: ActionPlan) -> dict[str, None]:
    """What a plan that was starved in the queue leaves to those that it held back."""
    if plan.status is not PlanStatus.QUEUED or plan.queued_at is None:
        return {}
    return QueueEntry.of(plan, plan.queued_at).released_on_leaving


def _decide(
    work: UnitOfWork,
    command: EvaluatePlan,
    plan: ActionPlan,
    workload: Workload,
    queued: Sequence[uuid.UUID],
    actor: Actor,
    policies: PolicyCache,
) -> Evaluation:
    live = work.deployments.live(workload.id) if workload.revision else []
    holdings = work.ledger.holdings(workload.id)
    view = stored_plan_view(work, plan, workload, live, holdings.at(plan.decision.cluster))
    applicable = applicable_policies(work, view, policies.current(work), work.now)
    context = work.facts.decision_context(view, applicable.needs, holdings)
    work.ledger.lock_scopes(applicable.needs.locked)
    # Rows of queued plans come after the scopes: who has locked those may count the plans that it passes.
    others = queue.supersede_others(work, queued, workload, actor)
    left: Changes = {}
    if not live:  # it runs nowhere, so an earlier plan's hold on another cluster is for nothing
        left = work.ledger.release_elsewhere(holdings, workload.spec.team, plan.decision.cluster)
        for lines in holdings.elsewhere(plan.decision.cluster).values():
            context = context.released(lines)
    assessment = assess(work, applicable, context)
    if assessment.decision.approved and (blocking := queue.pass_queue(work, plan, assessment.demand)) is not None:
        assessment = replace(assessment, decision=held_back(assessment.decision, blocking))
    _record(work, command, assessment, context)
    if assessment.decision.approved:
        here = _hold(work, plan, workload, assessment)
        evaluation = _approve(work, plan, workload, assessment, actor)
    else:
        here = settle(work, plan, workload, lines_to_retain(work, live, assessment.view.held))
        evaluation = _refuse(work, plan, workload, assessment, actor)
    less: Mapping[str, int | None] = released({**left, **here}, [workload.id])
    if evaluation.outcome is not EvaluationOutcome.STILL_QUEUED:
        less = {**less, **_released_on_leaving(plan)}
    for one in others:
        less = {**less, **_released_on_leaving(one.plan)}
    return replace(evaluation, superseded=others, released=less)


def _hold(work: UnitOfWork, plan: ActionPlan, workload: Workload, assessment: Assessment) -> Changes:
    if not plan.decision.verb.applies:
        return {}
    view = assessment.view
    reservation = Reservation(workload.id, plan.decision.cluster, workload.spec.team, view.lines)
    return work.ledger.hold(reservation, plan.id, work.now + HOLD, before=view.held)


def _approve(
    work: UnitOfWork, plan: ActionPlan, workload: Workload, assessment: Assessment, actor: Actor
) -> Evaluation:
    view, decision = assessment.view, assessment.decision
    if not view.reduces_harm:
        work.facts.record_action(view, work.now)
    work.plans.approve(plan, work.now + ANNOUNCE_AGAIN)
    work.workloads.advance(workload, Phase.APPROVED)
    work.audit("plan.approved", str(workload.id), actor, plan=str(plan.id), warnings=[*decision.warnings])
    return _evaluation(EvaluationOutcome.APPROVED, plan, assessment)


def _refuse(work: UnitOfWork, plan: ActionPlan, workload: Workload, assessment: Assessment, actor: Actor) -> Evaluation:
    decision, may_queue = assessment.decision, workload.spec.queue
    if (approve_by := decision.approve_by(queue=may_queue)) is not None:
        return _await_approval(work, plan, workload, assessment, approve_by, actor)
    return (_enqueue if decision.waits and may_queue else _deny)(work, plan, workload, assessment, actor)


def _await_approval(
    work: UnitOfWork,
    plan: ActionPlan,
    workload: Workload,
    assessment: Assessment,
    approve_by: datetime,
    actor: Actor,
) -> Evaluation:
    message = reason(assessment.decision.violations)
    work.plans.await_approval(plan, work.now, approve_by, reason=message)
    if plan.status is PlanStatus.AWAITING_APPROVAL:
        return _evaluation(EvaluationOutcome.STILL_AWAITING_APPROVAL, plan, assessment)
    work.workloads.advance(workload, Phase.AWAITING_APPROVAL, reason=message)
    detail: dict[str, JsonValue] = {"plan": str(plan.id), "approve_by": approve_by.isoformat()}
    work.audit("plan.awaiting_approval", str(workload.id), actor, **detail, violations=_messages(assessment))
    return replace(_evaluation(EvaluationOutcome.AWAITING_APPROVAL, plan, assessment), approve_by=approve_by)


def _enqueue(
    work: UnitOfWork, plan: ActionPlan, workload: Workload, assessment: Assessment, actor: Actor
) -> Evaluation:
    findings = assessment.decision.violations
    if plan.status is PlanStatus.QUEUED:
        queue.update_entry(work, plan, findings)
        return _evaluation(EvaluationOutcome.STILL_QUEUED, plan, assessment)
    waits_for, message = queue.waits_for(findings), reason(findings)
    work.plans.enqueue(plan, work.now, waits_for, reason=message)
    work.workloads.advance(workload, Phase.QUEUED, reason=message)
    detail: dict[str, JsonValue] = {"plan": str(plan.id), "waits_for": [*waits_for]}
    work.audit("plan.queued", str(workload.id), actor, **detail, violations=_messages(assessment))
    return replace(_evaluation(EvaluationOutcome.QUEUED, plan, assessment), waits_for=waits_for)


def _deny(work: UnitOfWork, plan: ActionPlan, workload: Workload, assessment: Assessment, actor: Actor) -> Evaluation:
    message = reason(assessment.decision.violations)
    work.plans.deny(plan, message)
    work.workloads.advance(workload, Phase.DENIED, reason=message)
    work.audit("plan.denied", str(workload.id), actor, plan=str(plan.id), violations=_messages(assessment))
    return _evaluation(EvaluationOutcome.DENIED, plan, assessment)


def _messages(assessment: Assessment) -> list[JsonValue]:
    return [finding.message for finding in assessment.decision.violations]


def _evaluation(outcome: EvaluationOutcome, plan: ActionPlan, assessment: Assessment) -> Evaluation:
    decision = assessment.decision
    return Evaluation(outcome, plan, decision.violations, decision.warnings, decision.dry_run)


def _record(work: UnitOfWork, command: EvaluatePlan, assessment: Assessment, context: Facts) -> None:
    """Keeps the decision. A plan may be decided again, so the cause counts in the row's id.

    The facts that it rested on are kept with it, and what else a policy of tomorrow may ask about this moment.
    """
    view, decision, known = assessment.view, assessment.decision, assessment.facts
    awaits = decision.approve_by(queue=view.queue) is not None
    facts = replace(known, usage={**context.usage, **known.usage}, priced_on=known.priced_on or context.priced_on)
    work.plans.record_decision(
        DecisionRecord(
            id=uuid.uuid5(view.plan_id, command.cause),
            plan_id=view.plan_id,
            workload_id=view.workload_id,
            approved=decision.approved,
            violations=[recorded.finding_to_json(finding) for finding in decision.violations],
            warnings=decision.warnings,
            determining=decision.determining,
            dry_run=[recorded.finding_to_json(finding) for finding in decision.dry_run],
            facts=recorded.to_json(view, facts, work.now, waits=decision.waits, awaits_approval=awaits),
            duration_us=assessment.microseconds,
            decided_at=work.now,
        )
    )
