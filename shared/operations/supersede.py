"""Supersede a plan: a newer one has taken its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.models.actor import Actor
    from shared.models.plan import ActionPlan
    from shared.models.stored import Workload
    from shared.store.unit_of_work import UnitOfWork


def supersede(work: UnitOfWork, plan: ActionPlan, workload: Workload, actor: Actor) -> str:
    """Ends a plan in favour of its workload's newest one. Returns the reason, as it is stored with the plan."""
    reason = f"superseded by plan {workload.plan_id}"
    work.plans.supersede(plan, reason)
    work.audit("plan.superseded", str(workload.id), actor, plan=str(plan.id), by=str(workload.plan_id))
    return reason
