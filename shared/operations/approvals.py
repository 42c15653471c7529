"""Approve or reject a plan that awaits a person; see shared.policy.rules.approval.

Who may do so has plans:approve for the team of the workload, and did not propose the plan. An approval carries nothing
out: it is recorded with the plan, and policy decides the plan again with it. A rejected plan is denied here and now.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from shared.errors import Forbidden, NotFound, WrongState
from shared.models.identity import Permission
from shared.models.lifecycle import Phase, PlanStatus
from shared.models.plan import Approval
from shared.operations.authorize import require_of_team
from shared.policy.decision import Finding

if TYPE_CHECKING:
    import uuid

    from shared.models.identity import Principal
    from shared.models.plan import ActionPlan
    from shared.models.stored import Workload
    from shared.store.unit_of_work import UnitOfWork

RULE = "approval"
"""The rule that the finding on a rejected plan names."""


@dataclass(frozen=True)
class AnswerApproval:
    """A person's answer on one plan. reason: what they say, for the audit log and for who proposed the plan."""

    plan_id: uuid.UUID
    reason: str = ""


@dataclass(frozen=True)
class RejectedPlan:
    """A plan that a person has denied, with the violation that says so."""

    plan: ActionPlan
    finding: Finding


def approve(work: UnitOfWork, command: AnswerApproval, principal: Principal) -> ActionPlan:
    """Records an approval. The caller announces the plan, which policy decides again.

    Raises NotFound, Forbidden, and WrongState for a plan that awaits no approval.
    """
    plan, workload = _lock(work, command.plan_id, principal)
    approval = _awaited(plan)
    if approval.granted_by:
        raise WrongState(f"plan {plan.id} was approved by {approval.granted_by} already; policy decides it now")
    granted = Approval(approval.requested_at, str(principal.actor), work.now, command.reason)
    work.plans.grant_approval(plan, granted)
    work.audit("approval.granted", str(workload.id), principal.actor, plan=str(plan.id), reason=command.reason)
    return replace(plan, approval=granted, next_attempt_at=work.now)


def reject(work: UnitOfWork, command: AnswerApproval, principal: Principal) -> RejectedPlan:
    """Denies a plan that awaits an approval. It holds nothing, so nothing is released.

    Raises NotFound, Forbidden, and WrongState for a plan that awaits no approval.
    """
    plan, workload = _lock(work, command.plan_id, principal)
    _awaited(plan)
    message = f"{principal.actor} has rejected it"
    message = f"{message}: {command.reason}" if command.reason else message
    work.plans.deny(plan, message)
    if workload.plan_id == plan.id:
        work.workloads.advance(workload, Phase.DENIED, reason=message)
    elif workload.queued_plan_id == plan.id:  # it is behind a rollback, which goes on
        work.workloads.replace(replace(workload, queued_plan_id=None))
    work.audit("approval.rejected", str(workload.id), principal.actor, plan=str(plan.id), reason=command.reason)
    denied = replace(plan, status=PlanStatus.DENIED, reason=message, next_attempt_at=None)
    return RejectedPlan(denied, Finding("", RULE, "approval", "", str(principal.actor), message))


def _lock(work: UnitOfWork, plan_id: uuid.UUID, principal: Principal) -> tuple[ActionPlan, Workload]:
    """A plan as it is while its workload is locked: nobody decides it meanwhile."""
    absent = NotFound(f"there is no action plan {plan_id}")
    found = work.plans.get(plan_id)
    workload = None if found is None else work.workloads.get(found.workload_id, lock=True)
    plan = work.plans.get(plan_id)
    if plan is None or workload is None:
        raise absent
    team = workload.spec.team
    require_of_team(principal, Permission.READ_WORKLOADS, Permission.APPROVE_PLANS, team, absent)
    if plan.proposed_by == str(principal.actor):
        said = "whoever has proposed a plan cannot answer for it: somebody else must approve or reject it"
        raise Forbidden(said, Permission.APPROVE_PLANS.value, plan.team)
    return plan, workload


def _awaited(plan: ActionPlan) -> Approval:
    if plan.status is not PlanStatus.AWAITING_APPROVAL or plan.approval is None:
        raise WrongState(f"plan {plan.id} is {plan.status}: only one that is awaiting_approval can be answered")
    return plan.approval
