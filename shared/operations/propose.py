"""Propose a plan: it becomes its workload's newest, and waits for policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.models.lifecycle import ANNOUNCE_AGAIN

if TYPE_CHECKING:
    import uuid

    from pydantic import JsonValue

    from shared.models.actor import Actor
    from shared.models.plan import ActionPlan
    from shared.models.stored import Workload
    from shared.store.unit_of_work import UnitOfWork


def propose(
    work: UnitOfWork,
    plan: ActionPlan,
    workload: Workload,
    actor: Actor,
    *,
    withdrawn: bool,
    queued_plan_id: uuid.UUID | None = None,
    **detail: JsonValue,
) -> Workload:
    """Stores a plan for a stored workload, and returns the workload as it is with it. The caller has locked it.

    withdrawn: whether the workload is to be gone once the plan is done. queued_plan_id: a plan that stays in the queue
    until this one has ended. detail: more for the audit log, no secret.
    """
    newest = work.workloads.take_plan(workload, plan.id, withdrawn=withdrawn, queued_plan_id=queued_plan_id)
    record_proposal(work, plan, actor, **detail)
    return newest


def record_proposal(work: UnitOfWork, plan: ActionPlan, actor: Actor, **detail: JsonValue) -> None:
    """Stores a plan whose workload names it as its newest already."""
    work.plans.add(plan, work.now + ANNOUNCE_AGAIN)
    work.audit(
        "plan.proposed",
        str(plan.workload_id),
        actor,
        plan=str(plan.id),
        generation=plan.generation,
        verb=plan.decision.verb,
        cluster=plan.decision.cluster,
        replicas=plan.decision.replicas,
        usd_per_hour=str(plan.amounts.usd_per_hour),
        **detail,
    )
