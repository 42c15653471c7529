"""Propose a plan: it becomes its workload's newest, and waits for policy."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from shared.errors import OperationRefused
from shared.models.lifecycle import ANNOUNCE_AGAIN
from shared.models.plan import PlanSource

if TYPE_CHECKING:
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
) -> tuple[ActionPlan, Workload]:
    """Stores a plan for a stored workload, and returns both as they are then. The caller has locked the workload.

    withdrawn: whether the workload is to be gone once the plan is done. queued_plan_id: a plan that stays in the queue
    until this one has ended. detail: more for the audit log, no secret. Raises OperationRefused as `add_plan` does.
    """
    stored = add_plan(work, replace(plan, team=workload.spec.team), actor, **detail)
    return stored, work.workloads.take_plan(workload, stored.id, withdrawn=withdrawn, queued_plan_id=queued_plan_id)


def add_plan(work: UnitOfWork, plan: ActionPlan, actor: Actor, **detail: JsonValue) -> ActionPlan:
    """Stores a plan and returns it, before the workload names it as its newest.

    Its proposer is the actor, but for one that names another: a plan that is placed again is still its submitter's.

    Its id follows from what led to it, so there may be a plan of this id already. One that a user's event led to shows
    that this event was taken in before, when the inbox knew it: raises OperationRefused, or what was submitted since
    would be undone. Any other takes nobody's place: this plan gets an id of its own.
    """
    until, stored = work.now + ANNOUNCE_AGAIN, replace(plan, proposed_by=plan.proposed_by or str(actor))
    if not work.plans.add(stored, until):
        earlier = work.plans.get(plan.id)
        if earlier is not None and earlier.source is plan.source is PlanSource.USER:
            raise OperationRefused(
                "",
                f"an event with this source and id was taken in before, for generation {earlier.generation}; "
                "send another one under an id of its own",
            )
        stored = replace(stored, id=uuid.uuid4())
        work.plans.add(stored, until)
    work.audit(
        "plan.proposed",
        str(plan.workload_id),
        actor,
        plan=str(stored.id),
        generation=plan.generation,
        verb=plan.decision.verb,
        cluster=plan.decision.cluster,
        replicas=plan.decision.replicas,
        usd_per_hour=str(plan.amounts.usd_per_hour),
        **detail,
    )
    return stored
